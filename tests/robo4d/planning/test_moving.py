import dataclasses

import numpy as np
import pytest

from robo4d.planning.moving import moving_tracks
from robo4d.track import GripperTrack

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
