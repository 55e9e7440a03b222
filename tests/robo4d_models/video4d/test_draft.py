import dataclasses

import numpy as np
import pytest
from ball_world import AWAY, BALL, above, plates, poses, start, views, widths
from robo4d_models.video4d.coding import HELD_WIDTH, OPEN_WIDTH
from robo4d_models.video4d.draft import Draughtsman, compose, splat
from robo4d_models.video4d.robot_model import gripper_poses
from scipy.ndimage import maximum_filter

from robo4d.geometry import se3


def test_of_two_points_in_a_pixel_the_nearer_one_is_drawn():
    camera = views()[0].camera
    ray = camera.T_world_camera[:3, :3] @ camera.intrinsics.rays()[32, 32]
    near, far = (camera.T_world_camera[:3, 3] + d * ray for d in (0.5, 1.0))
    for points, index in ((np.stack([near, far]), 0), (np.stack([far, near]), 1)):
        drawn = splat(points, camera)
        assert drawn[32, 32] == index
        assert (drawn >= 0).sum() == 1


def test_a_pixel_missed_among_others_shows_its_nearest_neighbour_and_outlines_do_not_grow():
    camera = views()[0].camera
    rays = camera.intrinsics.rays() @ camera.T_world_camera[:3, :3].T
    depth = np.where(np.indices((64, 64))[1] < 32, 0.5, 0.6)[..., None]  # a step in the middle
    points = camera.T_world_camera[:3, 3] + depth * rays
    drawn = np.zeros((64, 64), bool)
    drawn[20:40, 20:40] = True
    drawn[[25, 30, 35], [25, 32, 39]] = False  # two holes, and a dent in the outline
    image = splat(points[drawn], camera)
    assert image[25, 25] >= 0
    assert depth[drawn][image[30, 32], 0] == 0.5
    np.testing.assert_array_equal(np.argwhere((image >= 0) != drawn), [[25, 25], [30, 32]])


def test_a_point_behind_the_camera_is_not_drawn():
    camera = views()[0].camera
    behind = camera.T_world_camera[:3, 3] - camera.T_world_camera[:3, 2]
    assert (splat(behind[None], camera) == -1).all()


def red(view):
    """The ball."""
    return view.rgb[..., 0] > view.rgb[..., 1] + 0.3


def draw(began, motion, opening):
    """Drafts of both views at each moment of a motion of the left arm."""
    draughtsman = Draughtsman(views(), plates(), began, poses(*motion), widths(*opening))
    return [draughtsman.draw(t) for t in range(len(motion))]


@pytest.mark.parametrize("place", [np.array([0.4, 0.2, 0.3]), np.array([0.6, -0.1, 0.2])])
def test_the_gripper_is_drawn_where_the_pose_says(place):
    (drafts,) = draw(start(AWAY), [above(place)], [OPEN_WIDTH])
    for view, draft in zip(views(), drafts, strict=True):
        assert draft.robot.gripper.sum() > 30
        assert set(np.unique(draft.robot.arm)) == {-1, 0}
        points = view.camera.backproject(draft.robot.depth)[draft.robot.gripper]
        at_tcp = se3.apply(se3.inverse(above(place)), points)
        palm = np.abs(at_tcp[:, 2] + 0.12) < 1e-5
        finger = np.abs(np.abs(at_tcp[:, 1]) - OPEN_WIDTH / 2) < 1e-5
        assert (palm | finger).all()
        assert palm.sum() > 20


def test_what_a_gripper_closed_on_moves_with_it():
    grasp, lifted = above(BALL, 0.03), above(BALL, 0.23)
    held = HELD_WIDTH / 2
    drafts = draw(start(above(BALL, 0.3)), [grasp, lifted], [held, held])
    for view, before, after in zip(views(), drafts[0], drafts[1], strict=True):
        rise = [view.camera.backproject(d.object_depth)[d.object_depth > 0].mean(axis=0) for d in (before, after)]
        np.testing.assert_allclose(rise[1] - rise[0], [0, 0, 0.2], atol=0.03)
        red = after.object_rgb[after.object_depth > 0]
        assert (red[:, 0] > red[:, 1]).mean() > 0.7


def test_a_movable_object_moves_as_a_whole_and_nothing_else_does():
    grasp, lifted = above(BALL, 0.06), above(BALL, 0.26)  # by its top
    held, moved = [HELD_WIDTH / 2] * 2, []
    for known in (False, True):
        pair = [dataclasses.replace(view, movable=red(view)) if known else view for view in views()]
        drafts = Draughtsman(tuple(pair), plates(), start(above(BALL, 0.3)), poses(grasp, lifted), widths(*held)).draw(
            1
        )
        moved.append(drafts)
    for view, part, whole in zip(views(), *moved, strict=True):
        assert (part.left_behind & red(view)).sum() < red(view).sum()
        np.testing.assert_array_equal(whole.left_behind, red(view))


def test_an_object_that_is_not_grasped_stays():
    beside = above(BALL + np.array([0.25, 0.2, 0.0]))
    pair = tuple(dataclasses.replace(view, movable=red(view)) for view in views())
    held = widths(HELD_WIDTH / 2)
    for draft in Draughtsman(pair, plates(), start(AWAY), poses(beside), held).draw(0):
        assert not draft.left_behind.any()


def test_what_was_let_go_stays_where_it_was_let_go():
    there = above(BALL + np.array([0.0, 0.15, 0.0]))
    drafts = draw(start(above(BALL), HELD_WIDTH / 2), [there, there, AWAY], [HELD_WIDTH / 2, OPEN_WIDTH, OPEN_WIDTH])
    for released, left in zip(drafts[1], drafts[2], strict=True):
        np.testing.assert_array_equal(released.object_depth, left.object_depth)


def test_an_idle_plan_composes_to_what_was_seen():
    (drafts,) = draw(start(AWAY), [AWAY], [OPEN_WIDTH])
    for view, draft in zip(views(), drafts, strict=True):
        rgb, depth = compose(view, draft)
        np.testing.assert_array_equal(rgb, view.rgb)
        np.testing.assert_array_equal(depth, view.depth)


def test_where_the_first_frame_showed_the_robot_its_outline_is_left_behind_too():
    here, (n, m) = above(np.array([0.5, 0.0, 0.3])), views()
    robot = plates().see(n.camera, [gripper_poses(here, OPEN_WIDTH)])
    wider = maximum_filter(robot.depth, 3)  # a camera calibration is never quite right
    shown, outline = robot.depth > 0, (wider > 0) & (robot.depth == 0)
    first = np.where(shown, robot.depth, np.where(outline, wider, n.depth))
    seen = (dataclasses.replace(n, depth=first), m)
    draft, _ = Draughtsman(seen, plates(), start(here), poses(AWAY), widths(OPEN_WIDTH)).draw(0)
    assert draft.left_behind[shown].all()
    assert draft.left_behind[outline].all()
    assert not draft.left_behind[~shown & ~outline].any()
