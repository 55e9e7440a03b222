import sys

import box_scene
import numpy as np
import pytest
from robo4d_ros import tracking_engine
from robo4d_ros.tracking_engine import EngineChoice, TrackingEngine

from robo4d.tracking import GripperRenderer, ReadoutConfig, embedded_tracker, track_video

RENDERER = GripperRenderer(box_scene.MODEL)


def test_projected_masks_are_those_of_the_embedded_engine_and_given_to_the_other_one(monkeypatch):
    video, pair, priors = box_scene.film({"left": box_scene.path(3)})
    found, asked = track_video(video, pair, priors=priors, renderer=RENDERER), []

    def track(*_, config, make_tracker=embedded_tracker, masks=None, **__):
        asked.append((make_tracker, masks, config.fusion))
        return found

    monkeypatch.setattr(tracking_engine, "track_video", track)
    choice = EngineChoice(name="foundationpose_nvidia", python=sys.executable, segmenter="projection")
    engine = TrackingEngine(choice, RENDERER, None, ReadoutConfig())
    engine.read(video, pair, priors)
    engine.close()
    assert asked[0] == (embedded_tracker, None, "joint")
    other, masks, fusion = asked[1]
    assert other is not embedded_tracker
    assert fusion == "best_view"
    hand = np.array(
        [box_scene.depth_image(box_scene.gripper(T, 0.08), box_scene.CAMERAS[0]) for T in box_scene.path(3)]
    )
    assert np.all(masks["left"].sum(axis=(2, 3)) > 100)
    assert np.mean((hand > 0)[masks["left"][0]]) > 0.97


def test_the_embedded_engine_is_not_judged_by_its_own_masks():
    with pytest.raises(ValueError, match="segmenter projection is for FoundationPose"):
        EngineChoice(segmenter="projection")
