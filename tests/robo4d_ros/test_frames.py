"""One suite for both readers of tf: ours, and tf2's where it is installed."""

import importlib.util

import numpy as np
import pytest
from robo4d_ros import conversions
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import TF_QOS, TF_STATIC_QOS, OwnFrames, Tf2Frames, listen
from ros_probe import Condition
from tf2_msgs.msg import TFMessage

from robo4d.geometry import se3

S = 10**9
needs_tf2 = pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is None, reason="tf2_ros needs a ROS installation")


@pytest.fixture(params=["own", pytest.param("tf2", marks=needs_tf2)])
def frames(request, probe):
    return {"own": OwnFrames, "tf2": Tf2Frames}[request.param](probe.node)


@pytest.fixture
def send(probe):
    """Publish poses to the reader, which must listen already."""
    publishers = {}

    def send(parent, child, T_parent_child, *, stamp_ns=0, is_static=False):
        if not publishers:
            publishers[False] = probe.publisher(TFMessage, "/tf", TF_QOS)
            publishers[True] = probe.publisher(TFMessage, "/tf_static", TF_STATIC_QOS)
        publishers[is_static].publish(conversions.frames_message(parent, {child: T_parent_child}, stamp_ns))

    return send


def eventually(probe, look):
    """The value of a look-up, as soon as it succeeds."""
    condition, result = Condition(), []

    def attempt():
        try:
            result.append(look())
        except FrameError:
            return
        condition.change(lambda: None)

    timer = probe.node.create_timer(0.005, attempt)
    condition.wait(lambda: result, "a transform")
    timer.cancel()
    return result[0]


def test_poses_between_two_stamps_are_interpolated(frames, send, probe):
    send("world", "base", se3.translation(0, 0.35, 0), is_static=True)
    turn = se3.exp(np.array([0, 0, 0, 0, 0, np.pi / 2]))
    send("base", "tcp", np.eye(4), stamp_ns=5 * S)
    send("base", "tcp", se3.translation(1, 0, 0) @ turn, stamp_ns=6 * S)
    T = eventually(probe, lambda: frames.lookup("world", "tcp", round(5.25 * S)))
    np.testing.assert_allclose(T[:3, 3], [0.25, 0.35, 0], atol=1e-9)
    assert se3.distance(T, np.eye(4))[1] == pytest.approx(np.pi / 8)
    np.testing.assert_allclose(frames.lookup("tcp", "base", 6 * S)[:3, 3], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(frames.lookup("base", "tcp")[:3, 3], [1, 0, 0], atol=1e-9)


def test_the_future_is_not_extrapolated(frames, send, probe):
    send("world", "a", np.eye(4), stamp_ns=5 * S)
    eventually(probe, lambda: frames.lookup("world", "a", 5 * S))
    with pytest.raises(FrameError, match="from a to world"):
        frames.lookup("world", "a", 6 * S)


def test_unconnected_frames_are_named(frames, send, probe):
    send("world", "a", np.eye(4), is_static=True)
    send("elsewhere", "b", np.eye(4), is_static=True)
    eventually(probe, lambda: frames.lookup("elsewhere", "b"))
    with pytest.raises(FrameError, match="from b to world"):
        frames.lookup("world", "b")


def test_the_reader_is_tf2_where_it_is_installed(probe):
    expected = OwnFrames if importlib.util.find_spec("tf2_ros") is None else Tf2Frames
    assert isinstance(listen(probe.node), expected)


def test_an_impossible_pose_is_ignored_and_the_node_stays_up(probe, send):
    frames = OwnFrames(probe.node)
    broken = conversions.frames_message("world", {"a": np.eye(4)}, 0)
    broken.transforms[0].transform.translation.x = float("nan")
    probe.publisher(TFMessage, "/tf", TF_QOS).publish(broken)
    send("world", "b", np.eye(4), stamp_ns=1)
    eventually(probe, lambda: frames.lookup("world", "b"))
    with pytest.raises(FrameError, match="from a to world"):
        frames.lookup("world", "a")
