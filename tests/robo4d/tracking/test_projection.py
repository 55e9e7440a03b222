import dataclasses

import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, Box, frame, gripper, path

from robo4d import RgbdFrame
from robo4d.tracking import GripperRenderer
from robo4d.tracking.projection import projected_mask

RENDERER = GripperRenderer(MODEL)
T_WORLD_HAND = path(1)[0]
SCENE = [*ROOM, *gripper(T_WORLD_HAND, 0.08)]
WALL = Box((0.2, -0.4, 0.0), (0.22, 0.4, 0.6))


def test_the_projection_is_what_the_gripper_hides_of_the_room():
    with_wrist = frame(SCENE, CAMERAS[0])
    bare = frame([*ROOM, *gripper(T_WORLD_HAND, 0.08)[3:]], CAMERAS[0])  # wrist and forearm alone
    expected = with_wrist.depth < bare.depth - 1e-4
    mask = projected_mask(RENDERER, T_WORLD_HAND, 0.08, with_wrist)
    assert (mask & expected).sum() / (mask | expected).sum() > 0.97


def test_what_is_before_the_gripper_is_left_out():
    assert not projected_mask(RENDERER, T_WORLD_HAND, 0.08, frame([*SCENE, WALL], CAMERAS[0])).any()


def test_pixels_without_depth_are_taken_to_show_it():
    seen = frame(SCENE, CAMERAS[0])
    blind = dataclasses.replace(seen, depth=np.zeros_like(seen.depth))
    whole = projected_mask(RENDERER, T_WORLD_HAND, 0.08, blind)
    assert (whole | ~projected_mask(RENDERER, T_WORLD_HAND, 0.08, seen)).all()


def test_a_camera_that_stands_nowhere_is_refused():
    with pytest.raises(ValueError, match="camera's pose"):
        projected_mask(RENDERER, T_WORLD_HAND, 0.08, RgbdFrame.example())
