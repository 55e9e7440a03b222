import dataclasses
import math
import time

import numpy as np
import pytest
from geometry_msgs.msg import Pose, Quaternion
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from robo4d_ros import conversions
from wire import assert_equal, through_the_wire

from robo4d import Intrinsics, PointmapVideo
from robo4d.geometry import se3
from robo4d.rgbd import ArmPosture, RgbdPair
from robo4d.track import GripperTrack
from robo4d.tracking import Reason

TRACK = GripperTrack(
    arm="left",
    stamp_ns=1_700_000_000_123_456_789,
    times_s=0.5 * np.arange(5),
    Ts_world_tcp=np.stack([se3.exp(np.array([0.4, 0.2, 0.3, 3.0, 0.1, 0.1 * i])) for i in range(5)]),
    confidence=np.array([1.0, 0.9, 0.8, 0.7, 0.6]),
    inlier=np.array([True, True, True, False, True]),
    view=np.array([0, 1, -1, 0, 1]),
    opening_m=np.array([0.08, 0.08, 0.02, 0.02, 0.02]),
    open=np.array([True, True, False, False, False]),
    searched_opening_m=np.array([0.08, 0.08, 0.02, np.nan, 0.02]),
    centroids_m=np.array([0.1, np.nan, 0.045, np.nan, 0.05]),
    reasons=("", "", "", "something hides the gripper", ""),
)


@given(arrays(float, (6,), elements=st.floats(-2, 2, allow_subnormal=False)))
def test_poses_and_transforms_round_trip(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(conversions.matrix_from_pose(conversions.pose_from_matrix(T)), T, atol=1e-12)
    np.testing.assert_allclose(conversions.matrix_from_transform(conversions.transform_from_matrix(T)), T, atol=1e-12)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_round_trip_to_the_nanosecond(stamp_ns):
    assert conversions.ns_from_time(conversions.time_from_ns(stamp_ns)) == stamp_ns


@pytest.mark.parametrize("field", ["position.x", "orientation.w"])
def test_poses_that_are_not_finite_are_refused(field):
    pose = conversions.pose_from_matrix(np.eye(4))
    part, axis = field.split(".")
    setattr(getattr(pose, part), axis, math.inf)
    with pytest.raises(ValueError, match="finite"):
        conversions.matrix_from_pose(pose)


def test_a_zero_quaternion_is_refused():
    with pytest.raises(ValueError, match="not zero"):
        conversions.matrix_from_pose(Pose(orientation=Quaternion(w=0.0)))


def test_a_video_comes_back_as_it_was():
    video = PointmapVideo.example()
    rng = np.random.default_rng(0)
    video = dataclasses.replace(
        video,
        rgb=rng.integers(0, 256, video.rgb.shape, np.uint8),
        points=rng.standard_normal(video.points.shape).astype(np.float32),
        valid=rng.random(video.valid.shape) < 0.5,
        stamp_ns=1_700_000_000_123_456_789,
    )
    message = through_the_wire(conversions.message_from_video(video))
    assert_equal(conversions.video_from_message(message), video)
    assert message.cameras[0].k[2] == pytest.approx(video.intrinsics[0].cx - 0.5)  # ROS counts from pixel centres


def test_a_large_video_is_converted_within_a_frame():
    k = Intrinsics.from_fovy(45.0, width=320, height=256)
    shape = (2, 10, 256, 320)
    video = PointmapVideo(
        rgb=np.zeros((*shape, 3), np.uint8),
        points=np.zeros((*shape, 3), np.float32),
        valid=np.ones(shape, bool),
        times_s=np.arange(10, dtype=np.float32),
        intrinsics=(k, k),
        frame="camera",
        stamp_ns=0,
    )
    started = time.process_time()
    conversions.video_from_message(conversions.message_from_video(video))
    assert time.process_time() - started < 1.0  # 26 MB; element by element it takes ten seconds


def test_a_video_of_the_wrong_length_is_refused():
    message = conversions.message_from_video(PointmapVideo.example())
    message.valid.pop()
    with pytest.raises(ValueError, match="pixels, but there are"):
        conversions.video_from_message(message)


def test_a_track_comes_back_as_it_was_also_where_the_gripper_was_lost():
    track = TRACK
    Ts = track.Ts_world_tcp.copy()
    Ts[2] = np.nan
    confidence, opening_m = track.confidence.copy(), track.opening_m.copy()
    confidence[2], opening_m[2] = 0, np.nan
    track = dataclasses.replace(track, Ts_world_tcp=Ts, confidence=confidence, opening_m=opening_m)
    assert_equal(conversions.track_from_message(through_the_wire(conversions.message_from_track(track))), track)


def test_what_nobody_measured_is_nan_in_the_message_and_what_nobody_says_is_empty():
    message = conversions.message_from_track(GripperTrack.example())
    assert len(message.searched_opening) == len(message.centroid_distance) == len(message.times)
    assert np.isnan([*message.searched_opening, *message.centroid_distance]).all()
    assert set(message.reason) == {""}


def test_the_trackers_reasons_are_sent_as_sentences():
    reasons = (Reason.TRUSTED, Reason.JUMP, Reason.LOST, Reason.OCCLUDED, Reason.TRUSTED)
    message = through_the_wire(conversions.message_from_track(dataclasses.replace(TRACK, reasons=reasons)))
    assert message.reason[:2] == ["", "the gripper moved farther than it can between two frames"]
    assert conversions.track_from_message(message).reasons == reasons


def test_what_is_foreseen_comes_back_with_its_pair_and_its_track_and_must_be_finite():
    posture = ArmPosture(joints=np.linspace(-1, 1, 7), opening_m=0.05)
    track = dataclasses.replace(TRACK, foreseen=posture)
    assert_equal(conversions.track_from_message(through_the_wire(conversions.message_from_track(track))), track)
    pair = dataclasses.replace(RgbdPair.example(), foreseen={"left": posture, "right": ArmPosture.example()})
    message = through_the_wire(conversions.message_from_pair(pair))
    assert_equal(conversions.pair_from_message(message).foreseen, pair.foreseen)
    message.foreseen[1].opening = math.nan
    with pytest.raises(ValueError, match="posture of the right arm must be finite"):
        conversions.pair_from_message(message)


def test_a_track_in_another_frame_or_of_unequal_lists_is_refused():
    message = conversions.message_from_track(TRACK)
    message.confidence.pop()
    with pytest.raises(ValueError, match="equally long"):
        conversions.track_from_message(message)
    message.header.frame_id = "camera_n"
    with pytest.raises(ValueError, match="frame_id must be 'world'"):
        conversions.track_from_message(message)
