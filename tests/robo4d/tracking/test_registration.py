import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, frame, gripper, path

from robo4d import se3
from robo4d.tracking import GripperRenderer
from robo4d.tracking.judge import Judge
from robo4d.tracking.mechanism import FreeHand
from robo4d.tracking.registration import Registration

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


def test_each_pose_is_refined_for_itself():
    start = T_WORLD_HAND @ se3.exp(TWISTS)
    together = REGISTRATION.refine(start, 0.08, _views())
    np.testing.assert_allclose(REGISTRATION.refine(start[3:4], 0.08, _views())[0], together[3], atol=1e-5)


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
