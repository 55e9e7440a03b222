import numpy as np
import pytest
from ball_world import AWAY, BALL, above, box_surface, poses, views, widths
from robo4d_models.video4d.coding import HELD_WIDTH, OPEN_WIDTH
from robo4d_models.video4d.draft import Draughtsman, compose, splat


def test_a_surface_opens_both_fingers_by_half_the_width():
    surface = box_surface()
    opened = surface.at(np.eye(4), 0.06) - surface.at(np.eye(4), 0.0)
    np.testing.assert_allclose(opened[surface.finger == 1], np.tile([0, 0.03, 0], (300, 1)), atol=1e-12)
    np.testing.assert_allclose(opened[surface.finger == -1], np.tile([0, -0.03, 0], (300, 1)), atol=1e-12)
    np.testing.assert_allclose(opened[surface.finger == 0], 0)


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


@pytest.mark.parametrize("place", [np.array([0.4, 0.2, 0.3]), np.array([0.6, -0.1, 0.2])])
def test_the_gripper_is_drawn_where_the_pose_says(place):
    draughtsman = Draughtsman(views(), box_surface(), poses(AWAY)[0], widths(OPEN_WIDTH)[0])
    for view, draft in zip(views(), draughtsman.draw_last(poses(above(place)), widths(OPEN_WIDTH)), strict=True):
        rows, columns = np.nonzero(draft.gripper[0])
        expected, _ = view.camera.project(box_surface().at(above(place), OPEN_WIDTH))
        centre = np.stack([columns + 0.5, rows + 0.5], axis=-1)
        assert np.abs(centre.min(axis=0) - expected.min(axis=0)).max() < 1
        assert np.abs(centre.max(axis=0) - expected.max(axis=0)).max() < 1
        points = view.camera.backproject(draft.gripper[0])[rows, columns]
        nearest = np.linalg.norm(points[:, None] - box_surface().at(above(place), OPEN_WIDTH)[None], axis=-1).min(
            axis=1
        )
        assert nearest.max() < 0.03  # a pixel is 2 cm wide, and may have the depth of the one beside it
        assert not draft.gripper[1].any()


def test_what_a_gripper_closed_on_moves_with_it():
    grasp, lifted = above(BALL, 0.03), above(BALL, 0.23)
    draughtsman = Draughtsman(views(), box_surface(), poses(above(BALL, 0.3))[0], widths(OPEN_WIDTH)[0])
    drafts = draughtsman.draw(poses(grasp, lifted), widths(HELD_WIDTH / 2, HELD_WIDTH / 2))
    for view, before, after in zip(views(), drafts[0], drafts[1], strict=True):
        rise = [view.camera.backproject(d.object_depth)[d.object_depth > 0].mean(axis=0) for d in (before, after)]
        np.testing.assert_allclose(rise[1] - rise[0], [0, 0, 0.2], atol=0.03)
        red = after.object_rgb[after.object_depth > 0]
        assert (red[:, 0] > red[:, 1]).mean() > 0.7


def test_what_was_let_go_stays_where_it_was_let_go():
    there = above(BALL + np.array([0.0, 0.15, 0.0]))
    draughtsman = Draughtsman(views(), box_surface(), poses(above(BALL))[0], widths(HELD_WIDTH / 2)[0])
    drafts = draughtsman.draw(poses(there, there, AWAY), widths(HELD_WIDTH / 2, OPEN_WIDTH, OPEN_WIDTH))
    for released, left in zip(drafts[1], drafts[2], strict=True):
        np.testing.assert_array_equal(released.object_depth, left.object_depth)


def test_an_idle_plan_composes_to_what_was_seen():
    draughtsman = Draughtsman(views(), box_surface(), poses(AWAY)[0], widths(OPEN_WIDTH)[0])
    for view, draft in zip(views(), draughtsman.draw_last(poses(AWAY), widths(OPEN_WIDTH)), strict=True):
        rgb, depth = compose(view, draft)
        np.testing.assert_array_equal(rgb, view.rgb)
        np.testing.assert_array_equal(depth, view.depth)
