from dataclasses import replace

import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, frame, gripper, path

from robo4d import se3
from robo4d.tracking import GripperRenderer
from robo4d.tracking.judge import Judge
from robo4d.tracking.mechanism import FreeHand
from robo4d.tracking.registration import Registration, _Bodies
from robo4d.tracking.view import ViewStack

RENDERER = GripperRenderer(MODEL)
REGISTRATION = Registration(FreeHand(RENDERER))
T_WORLD_HAND = path(1)[0]
TWISTS = np.random.default_rng(0).normal(size=(8, 6)) * [0.006, 0.006, 0.006, 0.06, 0.06, 0.06]


def _views(cameras=CAMERAS):
    frames = [frame([*ROOM, *gripper(T_WORLD_HAND, 0.08)], camera) for camera in cameras]
    return Judge(RENDERER, 0.015).views(frames)


def test_all_poses_nearby_are_drawn_to_the_true_one():
    start = T_WORLD_HAND @ se3.exp(TWISTS)
    metres, radians = se3.distance(REGISTRATION.refine(start, 0.08, _views()), np.broadcast_to(T_WORLD_HAND, (8, 4, 4)))
    assert np.median(metres) < 0.002
    assert metres.max() < 0.006
    assert radians.max() < 0.05


def test_from_farther_away_it_takes_registering_twice():
    far = T_WORLD_HAND @ se3.exp(2 * TWISTS)
    once, twice = (
        se3.distance(REGISTRATION.refine(far, 0.08, _views(), twice=twice), np.broadcast_to(T_WORLD_HAND, far.shape))[0]
        for twice in (False, True)
    )
    assert np.median(twice) < 0.001 < np.median(once)


def test_each_pose_is_refined_for_itself():
    start = T_WORLD_HAND @ se3.exp(TWISTS)
    together = REGISTRATION.refine(start, 0.08, _views())
    np.testing.assert_allclose(REGISTRATION.refine(start[3:4], 0.08, _views())[0], together[3], atol=1e-5)


def test_a_gripper_that_no_image_shows_stays_after_one_look(monkeypatch):
    mechanism, looks = FreeHand(RENDERER), []
    registration, motions = Registration(mechanism), mechanism.motions
    monkeypatch.setattr(mechanism, "motions", lambda states: looks.append(1) or motions(states))
    start, views = T_WORLD_HAND[None], Judge(RENDERER, 0.015).views([frame([], camera) for camera in CAMERAS])
    np.testing.assert_allclose(registration.refine(start, 0.08, views), start, atol=1e-9)
    assert len(looks) == 1


def test_points_are_looked_up_in_all_views_at_once_as_in_each():
    smaller = replace(CAMERAS[1], intrinsics=CAMERAS[1].intrinsics.resized(width=64, height=64))
    (one,) = Judge(RENDERER, 0.015).views([frame(ROOM, CAMERAS[0])])
    image = frame(ROOM, smaller)
    (other,) = Judge(RENDERER, 0.015, [image.depth]).views([image], [np.indices((64, 64))[0] > 30])
    views = (one, other)
    surface, stack = RENDERER.surface(0.08), ViewStack(views)
    T = T_WORLD_HAND @ se3.exp(TWISTS)
    points = np.stack([surface.seen_from(view.T_camera_world @ T)[0] for view in views])
    pixels = stack.pixels(points)
    assert stack.beside is not None
    for view, seen, there in zip(views, points, pixels, strict=True):
        alone = view.pixels(seen)
        np.testing.assert_array_equal(stack.points_camera[:, there], view.points_camera[:, alone])
        np.testing.assert_array_equal(stack.background[there], view.background[alone])
        np.testing.assert_array_equal(stack.beside[there], False if view.beside is None else view.beside[alone])


def test_all_bodies_are_seen_at_once_as_each_is():
    surfaces = (RENDERER.surface(0.08), RENDERER.surface(0.0)[:60])
    Ts = np.stack([se3.inverse(c.T_world_camera) @ T_WORLD_HAND @ se3.exp(TWISTS) for c in CAMERAS], axis=1)
    points, _, facing = _Bodies(surfaces).seen_from(Ts)
    for body, part in enumerate((slice(0, 400), slice(400, 460))):
        expected_points, expected_facing = surfaces[body].seen_from(Ts[:, body])
        np.testing.assert_allclose(points[..., part], expected_points, atol=1e-6)
        np.testing.assert_array_equal(facing[:, part], expected_facing)


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_pose_where_the_image_shows_nothing_near_stays(camera):
    views = Judge(RENDERER, 0.015).views([frame(ROOM, camera)])
    np.testing.assert_allclose(REGISTRATION.refine(T_WORLD_HAND[None], 0.08, views)[0], T_WORLD_HAND, atol=1e-9)


def test_what_is_background_or_beside_the_mask_draws_nothing():
    judge = Judge(RENDERER, 0.015, [np.zeros((128, 128), np.float32)])
    image = frame([*ROOM, *gripper(T_WORLD_HAND, 0.08)], CAMERAS[0])
    start = T_WORLD_HAND @ se3.exp(TWISTS[:1])
    elsewhere = np.zeros((128, 128), bool)
    elsewhere[:3, :3] = True
    (masked,) = judge.views([image], [elsewhere])
    (still,) = Judge(RENDERER, 0.015, [image.depth]).views([image])
    for view in (masked, still):
        np.testing.assert_allclose(REGISTRATION.refine(start, 0.08, (view,)), start, atol=1e-6)
