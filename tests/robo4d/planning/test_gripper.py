import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.planning.gripper import acting, acting_moment_s, shown_opening_m, transitions
from robo4d.planning.path import PosePath


@pytest.mark.parametrize(
    ("states", "frames"),
    [
        ("ooccc", [2]),
        ("ooccoo", [2, 4]),
        ("ooooo", []),
        ("oocoo", []),  # one frame is a flicker
        ("ooooc", []),  # the end does not show whether it stays
        ("ccoocc", [2, 4]),
        ("cocooo", [3]),
        ("o", []),
    ],
)
def test_a_change_counts_when_it_lasts_two_frames(states, frames):
    assert transitions(np.array([state == "o" for state in states]), 2) == frames


def test_the_fingers_act_where_the_hand_is_slowest():
    heights = np.array([0.3, 0.2, 0.16, 0.16, 0.25])
    path = PosePath(np.arange(5.0), np.stack([se3.translation(0, 0, height) for height in heights]))
    moment = acting_moment_s(path, 1.0, 3.0)
    assert 2.0 <= moment <= 2.9
    assert path.speeds(np.array([moment]))[0] < 0.02


@pytest.mark.parametrize(("drift_m", "at_once"), [(0.004, True), (0.03, False)])
def test_the_fingers_act_at_once_where_the_hand_has_not_left_its_start(drift_m, at_once):
    heights = 0.16 + drift_m * np.array([0, -1, 0, 5, 9])
    path = PosePath(np.arange(5.0), np.stack([se3.translation(0, 0, height) for height in heights]))
    assert (acting_moment_s(path, 0.0, 2.0) == 0.0) == at_once


@pytest.mark.parametrize(
    ("states", "done"),
    [("oooccc", {0.0: "ccc"}), ("oocoooo", {}), ("oocccoo", {}), ("ooccoocc", {0.0: "cc"})],
)
def test_of_changes_of_a_gripper_that_stands_still_only_what_is_left_is_done(states, done):
    times_s = np.arange(float(len(states)))
    path = PosePath(times_s, np.broadcast_to(se3.translation(0, 0, 0.3), (len(states), 4, 4)))
    found = acting(np.array([state == "o" for state in states]), path, times_s, 2)
    assert {moment: states[shown] for moment, shown in found.items()} == done


def test_changes_on_the_way_are_done_each_at_its_own_moment():
    heights = np.array([0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.2, 0.1, 0.1, 0.3])
    path = PosePath(np.arange(10.0), np.stack([se3.translation(0, 0, height) for height in heights]))
    found = acting(np.array([state == "o" for state in "oooccccooo"]), path, np.arange(10.0), 2)
    assert list(found.values()) == [slice(3, 7), slice(7, 10)]
    close_s, open_s = found
    assert 2.0 <= close_s <= 3.0
    assert 6.0 <= open_s <= 7.0


def test_what_the_fingers_hold_is_as_wide_as_the_frames_that_show_it_say():
    assert shown_opening_m(np.array([np.nan, 0.05, 0.04, 0.045])) == 0.045
    assert shown_opening_m(np.array([np.nan, np.nan])) is None
