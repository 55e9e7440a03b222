import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, Box, film, frame, gripper, path

from robo4d.tracking import GripperRenderer, track_video
from robo4d.tracking.held import Grasp, GraspMemory, HeldObject
from robo4d.tracking.judge import Judge, background

RENDERER = GripperRenderer(MODEL)
WIDTH_M = 0.04
HANDS = path(4, step=(0.0, 0.06, 0.02))
WALLS = [Box((0.2, -0.6, 0.0), (0.21, 0.6, 0.8)), Box((-0.6, -0.5, 0.0), (0.6, -0.49, 0.8))]
"""In front of both cameras."""


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
    return held.watch(list(HANDS[1:]), views[1:]).told


def test_what_moves_with_the_hand_is_held():
    np.testing.assert_array_equal(_told([[_thing(T)] for T in HANDS]), [1, 1, 1])


def test_what_stays_behind_is_not_held_any_more():
    left = [_thing(HANDS[1])]
    np.testing.assert_array_equal(_told([[_thing(HANDS[0])], left, left, left]), [1, 0, 0])


def test_what_came_along_may_have_been_let_go_by_a_hand_that_stands():
    hands = np.stack([HANDS[0], HANDS[1], HANDS[1], HANDS[2]])
    moments = _moments([[_thing(T)] for T in (HANDS[0], HANDS[1], HANDS[1], HANDS[1])], hands)
    views = [Judge(RENDERER, 0.015).views(m) for m in moments]
    held = HeldObject(RENDERER, hands[0], WIDTH_M, views[0], 0.015)
    np.testing.assert_array_equal(held.watch(list(hands[1:]), views[1:]).told, [1, np.nan, 0])


def test_what_is_seen_where_the_hand_had_it_was_left_there():
    far = path(2, start=HANDS[1][:3, 3] + [0, 0.35, 0.1], step=(0.0, 0.06, 0.0))
    hands = np.stack([*HANDS[:2], *far])
    cover = [[Box((-0.2, -0.2, -0.2), (0.2, 0.2, 0.3), T)] for T in far]  # hides what the hand has, or has not
    things = [[_thing(HANDS[0])], [_thing(HANDS[1])], *([_thing(HANDS[1]), *box] for box in cover)]
    moments = _moments(things, hands)
    judge = Judge(RENDERER, 0.015, [background(np.stack([m[v].depth for m in moments])) for v in range(2)])
    views = [judge.views(m) for m in moments]
    held = HeldObject(RENDERER, hands[0], WIDTH_M, views[0], 0.015)
    np.testing.assert_array_equal(held.watch(list(hands[1:]), views[1:]).told, [1, 0, 0])


def test_an_arm_that_reaches_in_after_its_hand_is_not_the_thing():
    """The thing is out of sight in the end, and where the hand had it last, there is the arm now."""
    hands = path(4, step=(0.0, 0.0, -0.07))
    cover = [Box((-0.3, -0.3, 0.065), (0.3, 0.3, 0.07), T) for T in hands]
    arm = [Box((-0.06, -WIDTH_M / 2, -0.3), (0.06, WIDTH_M / 2, 0.06), T) for T in hands]
    hiding = [[], [], *([cover[t], arm[t]] for t in (2, 3))]
    things = [[_thing(T), *more] for T, more in zip(hands, hiding, strict=True)]
    moments = _moments(things, hands)
    views = [Judge(RENDERER, 0.015).views(m) for m in moments]
    held = HeldObject(RENDERER, hands[0], WIDTH_M, views[0], 0.015)
    told = held.watch(list(hands[1:]), views[1:]).told
    assert told[0] == 1
    assert not np.any(told == 0)


def test_what_was_left_at_once_is_not_held_either():
    np.testing.assert_array_equal(_told([[_thing(HANDS[0])]] * 4), [0, 0, 0])


def test_a_hand_that_stays_tells_nothing():
    moments = _moments([[_thing(HANDS[0])]] * 2, HANDS[[0, 0]])
    views = [Judge(RENDERER, 0.015).views(m) for m in moments]
    held = HeldObject(RENDERER, HANDS[0], WIDTH_M, views[0], 0.015)
    assert np.isnan(held.watch([HANDS[0]], views[1:]).told).all()


def test_nothing_is_told_where_nothing_was_seen():
    assert np.isnan(_told([[_thing(T), *WALLS] for T in HANDS])).all()


def test_what_was_seen_before_tells_of_what_is_hidden_now():
    carried = [Judge(RENDERER, 0.015).views(m) for m in _moments([[_thing(T)] for T in HANDS])]
    seen = HeldObject(RENDERER, HANDS[0], WIDTH_M, carried[0], 0.015)
    before = seen.watch(list(HANDS[1:]), carried[1:]).grasp
    # Later, hand and thing are hidden, and the hand comes out alone.
    left = [_thing(HANDS[0])]
    moments = [Judge(RENDERER, 0.015).views(m) for m in _moments([[*WALLS, *left], left, left, left])]
    alone, remembering = (
        HeldObject(RENDERER, HANDS[0], WIDTH_M, moments[0], 0.015, grasp).watch(list(HANDS[1:]), moments[1:]).told
        for grasp in (None, before)
    )
    assert np.isnan(alone).all()
    np.testing.assert_array_equal(remembering, [0, 0, 0])


def test_a_grasp_is_remembered_while_the_gripper_stays_as_it_is():
    memory, grasp = GraspMemory(), Grasp(np.zeros((3, 3)), 0.04)
    memory.keep("left", grasp, np.array([False, False]))
    memory.keep("left", None, np.array([False, True]))  # a release that is foreseen need not happen
    assert memory.recall({"left": 0.042, "right": 0.04}) == {"left": grasp}
    assert memory.recall({"left": 0.08}) == {}
    assert memory.recall({"left": 0.04}) == {}


def test_a_grasp_that_follows_a_release_is_another_one():
    memory = GraspMemory()
    memory.keep("left", Grasp(np.zeros((3, 3)), 0.04), np.array([False, True, False]))
    assert memory.recall({"left": 0.04}) == {}


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
