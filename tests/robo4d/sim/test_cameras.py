import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.sim.cameras import CameraShell, sample_cameras


def sample(seed=0, count=50, width=128, height=128, **kwargs):
    return sample_cameras(np.random.default_rng(seed), count, width=width, height=height, **kwargs)


def test_cameras_lie_in_the_upper_half_of_the_shell():
    shell = CameraShell()
    offsets = np.array([camera.T_world_camera[:3, 3] for camera in sample()]) - shell.centre
    radius = np.linalg.norm(offsets, axis=-1)
    elevation_deg = np.rad2deg(np.arcsin(offsets[:, 2] / radius))
    assert radius.min() >= shell.radius[0]
    assert radius.max() <= shell.radius[1]
    assert elevation_deg.min() >= shell.elevation_deg[0]
    assert elevation_deg.max() <= shell.elevation_deg[1]
    # All around: every quarter of the circle has some.
    assert set(np.floor(np.arctan2(offsets[:, 1], offsets[:, 0]) / (np.pi / 2))) == {-2, -1, 0, 1}


def test_every_camera_is_upright_and_rigid():
    for camera in sample():
        assert se3.is_valid(camera.T_world_camera, 1e-9)
        assert camera.T_world_camera[2, 1] < 0, "the image's y axis must point down"
        assert abs(camera.T_world_camera[2, 0]) < 1e-9, "the image's x axis must be level"


@pytest.mark.parametrize(("width", "height"), [(128, 128), (320, 256), (256, 320)])
def test_the_whole_work_area_is_in_the_picture(width, height):
    (x0, y0, z0), (x1, y1, z1) = CameraShell().work_area
    points = np.random.default_rng(1).uniform([x0, y0, z0], [x1, y1, z1], (500, 3))
    for camera in sample(width=width, height=height):
        uv, z = camera.project(points)
        assert (z > 0).all()
        assert ((uv >= 0) & (uv <= [width, height])).all()


def test_a_finger_in_the_middle_is_four_pixels_wide_at_128_pixels():
    for camera in sample():
        middle = camera.T_world_camera[:3, 3] + camera.T_world_camera[:3, 2] * np.linalg.norm(
            camera.T_world_camera[:3, 3] - CameraShell().centre
        )
        edges = middle + np.outer([-0.01, 0.01], camera.T_world_camera[:3, 0])
        uv, _ = camera.project(edges)
        assert np.linalg.norm(uv[1] - uv[0]) == pytest.approx(4.0, rel=1e-6)


def test_the_same_seed_gives_the_same_cameras_at_any_size():
    small, again, large = sample(seed=7), sample(seed=7), sample(seed=7, width=640, height=480)
    other = sample(seed=8)
    for a, b, c in zip(small, again, large, strict=True):
        np.testing.assert_array_equal(a.T_world_camera, b.T_world_camera)
        np.testing.assert_array_equal(a.T_world_camera, c.T_world_camera)
    assert not np.allclose(small[0].T_world_camera, other[0].T_world_camera)


def test_keep_decides_which_cameras_stay():
    kept = sample(keep=lambda camera: bool(camera.T_world_camera[0, 3] < 0.4))
    assert all(camera.T_world_camera[0, 3] < 0.4 for camera in kept)


def test_an_impossible_work_area_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="lower finger_px"):
        sample(shell=CameraShell(finger_px=20))


def test_a_shell_without_room_is_refused():
    with pytest.raises(ValueError, match="nearest <= farthest"):
        CameraShell(radius=(1.4, 1.0))
