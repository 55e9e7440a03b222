import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, depth_image, gripper, path

from robo4d import se3
from robo4d.tracking import GripperRenderer, Part
from robo4d.tracking.rendering import DIRECTIONS

RENDERER = GripperRenderer(MODEL)
T_WORLD_HAND = path(4)[3]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("opening_m", [0.0, 0.04, 0.08])
def test_the_rendering_is_what_independent_ray_casting_gives(camera, opening_m):
    expected = depth_image(gripper(T_WORLD_HAND, opening_m, forearm=False), camera)
    T_camera_hand = se3.inverse(camera.T_world_camera) @ T_WORLD_HAND
    rendering = RENDERER.render(T_camera_hand, opening_m, camera.intrinsics)
    both = (expected > 0) & (rendering.depth > 0)
    assert np.mean((expected > 0) != (rendering.depth > 0)) < 2e-4  # a ray through an edge may go either way
    np.testing.assert_allclose(rendering.depth[both], expected[both], atol=1e-5)
    assert set(np.unique(rendering.part)) <= set(Part)
    np.testing.assert_array_equal(rendering.part > 0, rendering.depth > 0)


def test_a_gripper_behind_the_camera_or_outside_the_image_gives_an_empty_rendering():
    for position in ([0, 0, -0.5], [0.9, 0, 1.0], [0, 0, 0.01]):
        rendering = RENDERER.render(se3.translation(*position), 0.08, CAMERAS[0].intrinsics)
        assert not rendering.depth.any()
        assert not rendering.part.any()


def test_points_of_the_surface_lie_on_it_and_are_seen_where_they_claim_to_be():
    surface = RENDERER.surface(0.08)
    assert len(surface.points) == 400
    camera = CAMERAS[0]
    T_hand_camera = se3.inverse(T_WORLD_HAND) @ camera.T_world_camera
    towards_camera = T_hand_camera[:3, 3] / np.linalg.norm(T_hand_camera[:3, 3])
    facing = surface.facing[np.argmax(DIRECTIONS @ towards_camera)]
    np.testing.assert_array_equal(surface.seen_from(se3.inverse(T_hand_camera)[None])[1][0], facing)
    np.testing.assert_allclose(facing[facing > 0], np.abs(surface.normals @ towards_camera)[facing > 0], atol=0.12)
    seen = facing > 0
    points_camera = se3.apply(se3.inverse(T_hand_camera), surface.points)
    uv, z = camera.intrinsics.project(points_camera)
    rendered = RENDERER.render(se3.inverse(T_hand_camera), 0.08, camera.intrinsics).depth
    depth = rendered[uv[:, 1].astype(int), uv[:, 0].astype(int)]
    assert np.mean(np.abs(depth - z)[seen] < 0.006) > 0.8  # but for edges, and directions 11 degrees apart
    assert np.mean(np.abs(depth - z)[~seen] < 0.006) < 0.15


def test_no_point_lies_on_surface_that_is_hidden_inside_the_cad():
    points = RENDERER.surface(0.0).points  # closed: the inner sides of the fingers touch
    inside = (
        (np.abs(points[:, 1]) < 0.001) & (points[:, 2] > 0.07) & (points[:, 2] < 0.11) & (np.abs(points[:, 0]) < 0.009)
    )
    assert not inside.any()


def test_the_same_call_gives_the_same_points():
    np.testing.assert_array_equal(
        GripperRenderer(MODEL).surface(0.04).points, GripperRenderer(MODEL).surface(0.04).points
    )
