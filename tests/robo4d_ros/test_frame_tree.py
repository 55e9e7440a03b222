import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from robo4d_ros.frame_tree import FrameError, FrameTree

from robo4d.geometry import se3

twists = arrays(float, (6,), elements=st.floats(-1, 1, allow_subnormal=False))
S = 10**9


def put(tree, parent, child, T_parent_child, *, stamp_ns, static=False):
    tree.learn([(parent, child)], T_parent_child[None], stamps_ns=[stamp_ns], static=static)


@given(twists, twists, twists)
def test_lookups_go_up_and_down_the_tree(world_a, a_b, world_c):
    tree = FrameTree()
    put(tree, "world", "a", se3.exp(world_a), stamp_ns=0, static=True)
    put(tree, "a", "b", se3.exp(a_b), stamp_ns=0, static=True)
    put(tree, "world", "c", se3.exp(world_c), stamp_ns=0, static=True)
    T_world_b, T_world_c = se3.exp(world_a) @ se3.exp(a_b), se3.exp(world_c)
    np.testing.assert_allclose(tree.lookup("world", "b"), T_world_b, atol=1e-9)
    np.testing.assert_allclose(tree.lookup("c", "b"), se3.inverse(T_world_c) @ T_world_b, atol=1e-9)
    np.testing.assert_allclose(tree.lookup("b", "c") @ tree.lookup("c", "b"), np.eye(4), atol=1e-9)
    np.testing.assert_array_equal(tree.lookup("b", "b"), np.eye(4))


def test_the_newest_pose_is_at_a_time_that_all_frames_know():
    tree = FrameTree()
    for stamp in (1 * S, 2 * S, 3 * S):
        put(tree, "world", "a", se3.translation(stamp / S, 0, 0), stamp_ns=stamp)
    put(tree, "a", "b", se3.translation(0, 1, 0), stamp_ns=2 * S)
    np.testing.assert_allclose(tree.lookup("world", "b")[:3, 3], [2, 1, 0])


def test_moving_frames_forget_and_out_of_order_poses_find_their_place():
    tree = FrameTree(history_s=2.0)
    for stamp in (1, 4, 3):
        put(tree, "world", "a", se3.translation(stamp, 0, 0), stamp_ns=stamp * S)
    np.testing.assert_allclose(tree.lookup("world", "a", round(3.5 * S))[:3, 3], [3.5, 0, 0])
    with pytest.raises(FrameError, match="before the oldest"):
        tree.lookup("world", "a", 2 * S)


def test_a_frame_that_moves_to_another_parent_forgets_the_first():
    tree = FrameTree()
    put(tree, "world", "a", np.eye(4), stamp_ns=0)
    put(tree, "table", "a", se3.translation(1, 0, 0), stamp_ns=S)
    with pytest.raises(FrameError, match="no transform from a to world"):
        tree.lookup("world", "a")
    np.testing.assert_allclose(tree.lookup("table", "a")[:3, 3], [1, 0, 0])


def test_frames_that_are_each_others_parents_are_named():
    tree = FrameTree()
    put(tree, "a", "b", np.eye(4), stamp_ns=0)
    put(tree, "b", "a", np.eye(4), stamp_ns=0)
    with pytest.raises(FrameError, match="each other's parents"):
        tree.lookup("a", "world")


@pytest.mark.parametrize("T", [np.full((4, 4), np.nan), np.diag([2.0, 1, 1, 1])])
def test_what_is_no_pose_is_refused(T):
    with pytest.raises(ValueError, match="no rigid motion"):
        put(FrameTree(), "world", "a", T, stamp_ns=0)


def test_what_is_wrong_does_not_keep_the_rest_of_a_message_from_being_learned():
    tree = FrameTree()
    Ts = np.stack([np.eye(4), np.full((4, 4), np.nan), se3.translation(0, 0, 1)])
    with pytest.raises(ValueError, match="the pose of b in world is no rigid motion"):
        tree.learn([("world", "a"), ("world", "b"), ("a", "c")], Ts, stamps_ns=[0, 0, 0], static=True)
    np.testing.assert_allclose(tree.lookup("world", "c")[:3, 3], [0, 0, 1])
