from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from box_scene import MODEL, film, path

from robo4d.tracking import GripperRenderer, bench


@pytest.mark.parametrize("method", ["joint", "best view", "joint, true masks"])
def test_the_time_of_the_tracker_is_a_part_of_all(monkeypatch, method):
    hands = path(3, step=(0.03, 0.0, 0.0))
    video, pair, priors = film({"left": hands})
    shown = np.ones((2, 3, 128, 128), bool)
    clip = SimpleNamespace(
        video=video,
        pair=pair,
        priors=priors,
        masks={"left": shown},
        fingers={"left": shown},
        Ts_world_tcp={"left": hands @ MODEL.T_hand_tcp},
        opening_m={"left": np.full(3, 0.08)},
    )
    monkeypatch.setattr(bench, "_renderer", lambda: GripperRenderer(MODEL))
    monkeypatch.setattr(bench, "_arm", lambda: None)
    monkeypatch.setattr(bench.TrueClip, "read", lambda folder: clip)
    poses = bench.follow(bench.Job(Path("clip"), 0.0, method), lambda share: None)
    assert len(poses.error_m) == 2
    # The frame of the observation costs, but is none in which `track` is called.
    assert np.all((poses.track_cpu_ms > 0) & (2 * poses.track_cpu_ms < 3 * poses.cpu_ms))
    if "masks" not in method:
        assert poses.error_m.max() < 0.01
        assert poses.figures()["track_cpu_ms_per_frame_and_arm"] == pytest.approx(poses.track_cpu_ms.mean())
