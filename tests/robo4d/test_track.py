from dataclasses import replace

import numpy as np
import pytest

from robo4d.track import GripperTrack


@pytest.mark.parametrize("times", [[0, 0.5, 0.5, 1, 1.5], [0.1, 0.5, 1, 1.5, 2], [0, np.nan, 1, 2, 3]])
def test_times_start_at_the_observation_and_increase(times):
    with pytest.raises(ValueError, match="times must be 0"):
        replace(GripperTrack.example(), times_s=np.array(times))


def test_confidences_are_shares():
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        replace(GripperTrack.example(), confidence=np.array([0.5, 0.5, np.nan, 0.5, 0.5]))


def test_each_pose_has_a_reason_where_there_are_any():
    with pytest.raises(ValueError, match="each of 5 poses has a reason"):
        replace(GripperTrack.example(), reasons=("", ""))


def test_lost_distrusted_and_broken_poses_are_not_usable():
    track = GripperTrack.example()
    Ts = track.Ts_world_tcp.copy()
    Ts[1] = np.nan
    Ts[2, 0, 0] = 2.0  # a stretch
    inlier = np.array([True, True, True, False, True])
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.0])
    usable = replace(track, Ts_world_tcp=Ts, inlier=inlier, confidence=confidence).usable
    np.testing.assert_array_equal(usable, [True, False, False, False, False])
