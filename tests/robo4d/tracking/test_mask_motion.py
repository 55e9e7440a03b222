import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, ROOM, frame, gripper, path

from robo4d import se3
from robo4d.tracking import GripperRenderer
from robo4d.tracking.judge import Judge
from robo4d.tracking.mask_motion import gripper_middle, visible_middles, way

RENDERER = GripperRenderer(MODEL)


def _views(T, shown=lambda rows: rows >= 0):
    frames = [frame([*ROOM, *gripper(T, 0.08)], camera) for camera in CAMERAS]
    parts = [RENDERER.render(se3.inverse(c.T_world_camera) @ T, 0.08, c.intrinsics).part for c in CAMERAS]
    masks = [(part > 0) & (part < 4) & shown(np.indices(part.shape)[0] - np.nonzero(part)[0].mean()) for part in parts]
    return Judge(RENDERER, 0.015).views(frames, masks)


@pytest.mark.parametrize("shown", [lambda rows: rows >= -999, lambda rows: rows < 0])
def test_the_way_between_two_moments_is_exact_to_a_centimetre_also_of_half_a_gripper(shown):
    before, now = path(2, step=(0.03, 0.05, -0.02))
    moved = way(visible_middles(_views(before, shown)), visible_middles(_views(now, shown)))
    np.testing.assert_allclose(moved, now[:3, 3] - before[:3, 3], atol=0.01)


def test_a_view_that_shows_the_gripper_only_once_tells_no_way():
    before, now = path(2, step=(0.03, 0.05, -0.02))
    here, there = visible_middles(_views(before)), visible_middles(_views(now))
    np.testing.assert_allclose(way(here, (None, there[1])), there[1].p_world - here[1].p_world)
    assert way((here[0], None), (None, there[1])) is None


def test_a_mask_of_a_few_pixels_says_nothing():
    (T,) = path(1)
    shown, hardly = (_views(T, lambda rows, least=least: rows > least) for least in (0, 20))
    assert 0 < max(view.mask.sum() for view in hardly) < 20
    assert visible_middles(hardly) == (None, None)
    assert None not in visible_middles(shown)


def test_the_middle_is_inside_the_gripper_and_unknown_without_a_mask():
    (T,) = path(1)
    views = _views(T)
    middle = gripper_middle(views, visible_middles(views))
    assert np.linalg.norm(middle - se3.apply(T, RENDERER.centre_hand)) < 0.05
    unmasked = Judge(RENDERER, 0.015).views([frame(ROOM, camera) for camera in CAMERAS])
    assert visible_middles(unmasked) == (None, None)
    assert gripper_middle(unmasked, (None, None)) is None
