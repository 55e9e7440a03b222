import dataclasses

import numpy as np
import pytest
from robo4d_models.evaluate import evaluate, tcp_errors_mm

from robo4d.geometry import se3
from robo4d.track import GripperTrack


def test_only_vouched_poses_after_the_observation_count():
    track = GripperTrack.example()
    true = track.Ts_world_tcp @ se3.translation(0.003, 0, 0.004)
    np.testing.assert_allclose(tcp_errors_mm({"left": track}, {"left": true}), np.full((1, 4), 5.0))
    doubtful = dataclasses.replace(track, inlier=np.array([True, True, False, False, True]))
    np.testing.assert_allclose(tcp_errors_mm({"left": doubtful}, {"left": true}), [[5, np.nan, np.nan, 5]])


def test_an_arm_that_rests_does_not_count():
    track = GripperTrack.example()
    rests = np.tile(track.Ts_world_tcp[:1], (len(track.Ts_world_tcp), 1, 1))
    errors = tcp_errors_mm({"left": track, "right": track}, {"left": rests, "right": track.Ts_world_tcp})
    np.testing.assert_allclose(errors, np.zeros((1, 4)), atol=1e-9)


def test_missing_weights_are_named_before_hours_of_simulation(tmp_path):
    with pytest.raises(ValueError, match="robo4d train"):
        evaluate(checkpoint=str(tmp_path / "nowhere"), data=tmp_path / "clips")
    assert not (tmp_path / "clips").exists()
