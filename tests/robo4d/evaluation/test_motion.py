import dataclasses

import numpy as np
import pytest

from robo4d.evaluation.motion import lost_share, median_by_step, tcp_errors_mm
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


def test_the_lost_are_those_of_the_frames_after_the_observation():
    track = GripperTrack.example()
    doubtful = dataclasses.replace(track, inlier=np.array([True, True, False, False, True]))
    assert lost_share({"left": track, "right": doubtful}) == pytest.approx(2 / 8)


def test_the_median_of_a_step_is_over_all_clips_and_arms():
    clips = [np.array([[1.0, np.nan], [2.0, np.nan]]), np.zeros((0, 2)), np.array([[9.0, 4.0]])]
    np.testing.assert_array_equal(median_by_step(clips), [2.0, 4.0])
