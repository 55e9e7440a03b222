import dataclasses

import numpy as np
import pytest

from robo4d.planning.moving import moving_tracks
from robo4d.track import GripperTrack, Reason

TRACK = GripperTrack.example()
STILL = dataclasses.replace(
    TRACK,
    arm="right",
    Ts_world_tcp=np.tile(TRACK.Ts_world_tcp[0], (5, 1, 1)),
    opening_m=np.full(5, 0.08),
    open=np.ones(5, bool),
)
LOST = dataclasses.replace(STILL, Ts_world_tcp=np.full((5, 4, 4), np.nan), confidence=np.zeros(5))
STRAYS = dataclasses.replace(TRACK, arm="right", inlier=np.array([True, True, False, False, True]))
ACTS = dataclasses.replace(STILL, open=np.array([True, True, True, False, False]))


@pytest.mark.parametrize(
    ("right", "arms"),
    [(STILL, {"left"}), (LOST, {"left"}), (STRAYS, {"left"}), (ACTS, {"left", "right"})],
    ids=["still", "lost", "strays", "acts"],
)
def test_arms_that_rest_are_left_out(right, arms):
    assert set(moving_tracks({"left": TRACK, "right": right}, still_m=0.02, still_rad=0.2)) == arms


def test_where_nothing_moves_a_lost_arm_is_left_to_the_planners_refusal():
    left = dataclasses.replace(STILL, arm="left")
    assert moving_tracks({"left": left, "right": STILL}, still_m=0.02, still_rad=0.2) == {}
    assert set(moving_tracks({"left": left, "right": LOST}, still_m=0.02, still_rad=0.2)) == {"right"}


def test_an_arm_beside_the_images_rests_with_those_that_are_seen_to_rest():
    left = dataclasses.replace(STILL, arm="left")
    beside = dataclasses.replace(LOST, reasons=(Reason.OUT_OF_VIEW,) * 5)
    gone = dataclasses.replace(LOST, reasons=(Reason.OUT_OF_VIEW,) * 4 + (Reason.LOST,))
    assert moving_tracks({"left": left, "right": beside}, still_m=0.02, still_rad=0.2) == {}
    assert set(moving_tracks({"left": left, "right": gone}, still_m=0.02, still_rad=0.2)) == {"right"}
    both = {"left": dataclasses.replace(beside, arm="left"), "right": beside}
    assert set(moving_tracks(both, still_m=0.02, still_rad=0.2)) == {"left", "right"}


def until_lost(track, *found):
    return dataclasses.replace(track, inlier=np.array(found, bool))


def test_a_motion_is_followed_to_where_its_arm_is_lost_and_by_all_arms_alike():
    left = dataclasses.replace(until_lost(TRACK, 1, 0, 1, 1, 0), reasons=("", "hidden", "", "", "hidden"))
    right = dataclasses.replace(TRACK, arm="right")
    tracks = moving_tracks({"left": left, "right": right}, still_m=0.02, still_rad=0.2)
    assert set(tracks) == {"left", "right"}
    for track in tracks.values():
        np.testing.assert_array_equal(track.times_s, TRACK.times_s[:4])
        assert len(track.Ts_world_tcp) == len(track.open) == 4
    assert tracks["right"].arm == "right"
    assert tracks["left"].reasons == ("", "hidden", "", "")


def test_where_nothing_moves_an_arm_lost_on_its_way_goes_as_far_as_it_was_seen():
    right = dataclasses.replace(STILL, inlier=np.array([1, 1, 1, 1, 0], bool))
    tracks = moving_tracks({"left": LOST, "right": right}, still_m=0.02, still_rad=0.2)
    assert set(tracks) == {"right"}
    assert len(tracks["right"].times_s) == 4


def test_a_motion_that_is_lost_at_once_is_left_to_the_planners_refusal():
    left = until_lost(TRACK, 1, 1, 1, 0, 0)
    tracks = moving_tracks({"left": left, "right": STILL}, still_m=0.02, still_rad=0.2)
    assert tracks == {"left": left}


def test_of_lost_arms_the_planner_gets_the_one_that_moved_and_not_the_one_that_rests_unseen():
    right = dataclasses.replace(until_lost(TRACK, 1, 1, 1, 0, 0), arm="right")
    glimpsed = until_lost(dataclasses.replace(STILL, arm="left"), 1, 0, 0, 0, 0)
    for left in (LOST, glimpsed):
        assert list(moving_tracks({"left": left, "right": right}, still_m=0.02, still_rad=0.2)) == ["right"]
    assert list(moving_tracks({"left": glimpsed, "right": LOST}, still_m=0.02, still_rad=0.2)) == ["left"]


def test_a_motion_is_followed_though_its_arm_is_hidden_in_the_observation():
    tracks = moving_tracks({"left": until_lost(TRACK, 0, 1, 1, 1, 1), "right": STILL}, still_m=0.02, still_rad=0.2)
    assert set(tracks) == {"left"}
    assert len(tracks["left"].times_s) == 5
