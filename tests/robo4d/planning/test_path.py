import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.planning.path import PosePath

TIMES = np.array([0.0, 0.4, 1.0, 1.7, 2.0])
POSES = se3.exp(np.random.default_rng(0).normal(0, 0.3, (5, 6)))


def test_the_path_passes_its_poses():
    np.testing.assert_allclose(PosePath(TIMES, POSES).poses(TIMES), POSES, atol=1e-9)


def test_derivatives_are_those_of_the_poses_in_world_axes():
    path, step = PosePath(TIMES, POSES), 1e-5
    at = np.array([0.2, 0.7, 1.3, 1.9])
    before, (Ts, first, second), after = path.poses(at - step), path.derivatives(at), path.poses(at + step)
    np.testing.assert_allclose(Ts, path.poses(at), atol=1e-12)
    spin = se3.log(se3.pose(after[:, :3, :3] @ np.swapaxes(before[:, :3, :3], 1, 2), np.zeros((4, 3))))[:, 3:] / (
        2 * step
    )
    np.testing.assert_allclose(first[:, :3], (after - before)[:, :3, 3] / (2 * step), atol=1e-6)
    np.testing.assert_allclose(first[:, 3:], spin, atol=1e-6)
    slopes = path.derivatives(at + step)[1] - path.derivatives(at - step)[1]
    np.testing.assert_allclose(second, slopes / (2 * step), atol=1e-4)


def test_velocity_and_acceleration_are_continuous_at_the_poses():
    path, inner = PosePath(TIMES, POSES), TIMES[1:-1]
    for before, after in zip(path.derivatives(inner - 1e-7), path.derivatives(inner + 1e-7), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-4)


def test_the_speed_is_that_of_the_position():
    path = PosePath(TIMES, POSES)
    np.testing.assert_allclose(path.speeds(TIMES), np.linalg.norm(path.derivatives(TIMES)[1][:, :3], axis=1))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_poses_make_no_path(count):
    with pytest.raises(ValueError, match="two or more"):
        PosePath(TIMES[:count], POSES[:count])


def test_a_path_through_a_lost_pose_is_refused():
    broken = POSES.copy()
    broken[2] = np.nan
    with pytest.raises(ValueError, match="rigid motions"):
        PosePath(TIMES, broken)
