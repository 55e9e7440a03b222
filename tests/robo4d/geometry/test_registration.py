import numpy as np
import pytest

from robo4d import se3
from robo4d.geometry import Camera, Intrinsics, Pointmap, look_at
from robo4d.geometry.registration import Surface, overlap, register

BOXES = ((0.0, 0.0, 0.2), (0.25, 0.1, 0.1), (-0.1, -0.25, 0.15))
"""x, y and half a side [m] of cubes on the plane z = 0."""


def camera(*eye):
    k = Intrinsics.from_fovy(50.0, width=96, height=72)
    return Camera(intrinsics=k, T_world_camera=look_at(np.array(eye), np.array([0.0, 0.0, 0.1])))


def pointmap(camera, noise_m=0.0, seed=0):
    """What a camera sees of the plane and the cubes."""
    rays, eye = camera.intrinsics.rays() @ camera.T_world_camera[:3, :3].T, camera.T_world_camera[:3, 3]
    depth = np.where(rays[..., 2] < 0, -eye[2] / np.minimum(rays[..., 2], -1e-9), 0)
    depth = np.where(depth < 3, depth, 0)
    for x, y, half in BOXES:
        ends = (np.stack([[x - half, y - half, 0], [x + half, y + half, half]])[:, None, None] - eye) / rays
        enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
        hit = (enter < leave) & (enter > 0) & ((depth == 0) | (enter < depth))
        depth = np.where(hit, enter, depth)
    noise = noise_m * np.random.default_rng(seed).standard_normal(depth.shape)
    depth = np.where(depth > 0, depth + noise, 0).astype(np.float32)
    return Pointmap.from_depth(depth, camera.intrinsics, frame="camera")


N, M = camera(1.0, 0.5, 0.8), camera(0.5, 1.0, 0.9)
T_N_M = se3.inverse(N.T_world_camera) @ M.T_world_camera


@pytest.mark.parametrize(("noise_m", "most_m"), [(0.0, 0.004), (0.002, 0.01)])
def test_a_guess_that_is_centimetres_off_is_corrected(noise_m, most_m):
    n, m = (Surface.of_pointmap(pointmap(c, noise_m, seed)) for seed, c in enumerate((N, M)))
    guess = T_N_M @ se3.exp(np.array([0.02, -0.02, 0.01, 0.01, -0.01, 0.015]))
    found = register(n, m, guess)
    metres, radians = se3.distance(found.T_a_b, T_N_M)
    assert metres < most_m
    assert radians < np.deg2rad(0.3)
    assert se3.distance(guess, T_N_M)[0] > 0.025
    assert found.overlap > 0.4


def test_normals_are_those_of_the_plane_and_the_cubes():
    surface = Surface.of_pointmap(pointmap(N)).moved(N.T_world_camera)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=-1), 1)
    assert np.mean(np.abs(surface.normals).max(axis=-1) > 0.999) > 0.9


def test_views_that_share_nothing_do_not_overlap():
    n = Surface.of_pointmap(pointmap(N))
    found = register(n, Surface.of_pointmap(pointmap(M)), T_N_M @ se3.translation(5.0, 0, 0))
    assert found.overlap == 0
    assert overlap(n, Surface.none(), np.eye(4)) == 0
