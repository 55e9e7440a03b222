import numpy as np
import pytest

from robo4d import Pointmap, se3
from robo4d.geometry.procrustes import DegenerateAlignment, calibrate, fit, fit_robust

T_A_B = se3.exp(np.array([0.3, -0.8, 1.1, 0.4, 2.0, -0.9]))


def _cloud(n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 3))


def test_the_motion_of_clean_points_is_recovered_exactly():
    points_b = _cloud()
    np.testing.assert_allclose(fit(se3.apply(T_A_B, points_b), points_b), T_A_B, atol=1e-12)


def test_a_mirrored_cloud_is_never_answered_with_a_reflection():
    points_b = _cloud()
    assert se3.is_valid(fit(points_b * [1, 1, -1], points_b))


def test_points_of_zero_weight_do_not_count():
    points_b = _cloud()
    points_a = se3.apply(T_A_B, points_b)
    points_a[:100] += 5
    np.testing.assert_allclose(fit(points_a, points_b, np.r_[np.zeros(100), np.ones(300)]), T_A_B, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_gross_outliers_is_ignored(seed):
    rng = np.random.default_rng(seed)
    points_b = _cloud(600, seed)
    points_a = se3.apply(T_A_B, points_b) + rng.normal(0, 0.005, points_b.shape)
    wrong = rng.random(600) < 0.3
    points_a[wrong] += rng.normal([0.4, 0, 0.2], 0.3, (wrong.sum(), 3))  # they even agree on a direction
    alignment = fit_robust(points_a, points_b)
    metres, radians = se3.distance(alignment.T_a_b, T_A_B)
    assert metres < 0.003
    assert radians < np.deg2rad(0.3)
    assert alignment.inlier_share == pytest.approx(np.mean(~wrong), abs=0.05)
    assert alignment.inlier_rms_m == pytest.approx(0.005 * np.sqrt(3), rel=0.15)
    assert se3.distance(fit(points_a, points_b), T_A_B)[0] > 0.03  # the plain fit is not up to it


def test_points_that_agree_on_no_motion_have_hardly_an_inlier():
    assert fit_robust(_cloud(seed=1), _cloud(seed=2)).inlier_share < 0.05


@pytest.mark.parametrize("points", [_cloud(2), np.outer(np.linspace(0, 1, 50), [1.0, 2, 3]), np.ones((50, 3))])
def test_what_fixes_no_motion_is_refused_by_name(points):
    with pytest.raises(DegenerateAlignment, match=r"at least 3|one line"):
        fit_robust(points, points)


def test_points_that_are_not_finite_are_refused_by_name():
    points = _cloud()
    points[3, 1] = np.nan
    with pytest.raises(DegenerateAlignment, match="finite"):
        fit(points, _cloud())


def test_a_view_without_any_valid_pixel_is_refused_by_name():
    own = Pointmap(points=np.zeros((4, 5, 3)), valid=np.zeros((4, 5), bool), frame="m")
    with pytest.raises(DegenerateAlignment, match="all pixels invalid"):
        calibrate(own, np.zeros((4, 5, 3)), np.ones((4, 5), bool))


def test_the_second_camera_is_calibrated_from_pointmaps_although_something_moved():
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.5, -0.5, 0.5], [0.5, 0.5, 1.5], (48, 64, 3))
    own = Pointmap(points=points, valid=rng.random((48, 64)) < 0.9, frame="m")
    predicted = own.in_frame(T_A_B, frame="n").points + rng.normal(0, 0.004, (48, 64, 3))
    predicted[20:40, 10:30] += [0.1, 0, 0.05]
    predicted[~own.valid] = np.nan  # never looked at
    alignment = calibrate(own, predicted, np.ones((48, 64), bool))
    metres, radians = se3.distance(alignment.T_a_b, T_A_B)
    assert metres < 0.001
    assert radians < np.deg2rad(0.1)
    shifted = calibrate(own, predicted + np.array([0.02, 0, 0]), np.ones((48, 64), bool))
    assert se3.distance(shifted.T_a_b, alignment.T_a_b)[0] == pytest.approx(0.02, abs=1e-3)  # the drift alarm's signal
