import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, Box, film, frame, gripper, path

from robo4d.tracking import GripperRenderer, track_video
from robo4d.tracking.held import HeldObject
from robo4d.tracking.judge import Judge, background

RENDERER = GripperRenderer(MODEL)
WIDTH_M = 0.04
HANDS = path(4, step=(0.0, 0.06, 0.02))


def _thing(T_world_hand):
    return Box((-0.06, -WIDTH_M / 2, 0.08), (0.06, WIDTH_M / 2, 0.19), T_world_hand)


def _moments(things, grippers=HANDS):
    return [
        [frame([*ROOM, *gripper(T, WIDTH_M), *thing], camera) for camera in CAMERAS]
        for T, thing in zip(grippers, things, strict=True)
    ]


def _told(things):
    moments = _moments(things)
    backgrounds = [background(np.stack([m[v].depth for m in moments])) for v in range(2)]
    judge = Judge(RENDERER, 0.015, backgrounds)
    views = [judge.views(m) for m in moments]
    held = HeldObject(RENDERER, HANDS[0], WIDTH_M, views[0], 0.015)
    return held.still_there(list(HANDS[1:]), views[1:])


def test_what_moves_with_the_hand_is_held():
    np.testing.assert_array_equal(_told([[_thing(T)] for T in HANDS]), [1, 1, 1])


def test_what_stays_behind_is_not_held_any_more():
    left = [_thing(HANDS[1])]
    np.testing.assert_array_equal(_told([[_thing(HANDS[0])], left, left, left]), [1, 0, 0])


def test_what_was_left_at_once_is_not_held_either():
    np.testing.assert_array_equal(_told([[_thing(HANDS[0])]] * 4), [0, 0, 0])


def test_a_hand_that_stays_tells_nothing():
    moments = _moments([[_thing(HANDS[0])]] * 2, HANDS[[0, 0]])
    views = [Judge(RENDERER, 0.015).views(m) for m in moments]
    held = HeldObject(RENDERER, HANDS[0], WIDTH_M, views[0], 0.015)
    assert np.isnan(held.still_there([HANDS[0]], views[1:])).all()


def test_nothing_is_told_where_nothing_was_seen():
    wall = [Box((0.2, -0.6, 0.0), (0.21, 0.6, 0.8)), Box((-0.6, -0.5, 0.0), (0.6, -0.49, 0.8))]
    assert np.isnan(_told([[_thing(T), *wall] for T in HANDS])).all()


@pytest.mark.parametrize(("released", "ends_open"), [(False, False), (True, True)])
def test_a_release_that_no_finger_shows_is_noticed(released, ends_open):
    Ts = np.stack([HANDS[0], HANDS[0], HANDS[0], *path(5, start=HANDS[0][:3, 3] + [0, 0.06, 0.03], step=(0, 0.06, 0))])
    # A plate on the hand hides the fingers from above.
    hood = [Box((-0.15, -0.15, 0.055), (0.15, 0.15, 0.058), T) for T in Ts]
    things = [_thing(HANDS[0] if released else T) for T in Ts]
    extra = [[hood[t], things[t]] for t in range(len(Ts))]
    video, pair, priors = film({"left": Ts}, opening_m=WIDTH_M, extra=extra)
    track = track_video(video, pair, priors=priors, renderer=RENDERER).tracks["left"]
    assert track.open[-1] == ends_open
