import numpy as np
import pytest
from scipy.linalg import sqrtm

from robo4d.evaluation.frechet import frechet_distance, paired_distance


def drawn(mean, covariance, count=50, seed=0):
    """Samples whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_gaussians_of_one_orientation_are_apart_by_means_and_standard_deviations():
    a, b = drawn(np.zeros(2), np.diag([4.0, 1.0])), drawn(np.array([3.0, 0.0]), np.eye(2), count=80, seed=1)
    assert frechet_distance(a, b) == pytest.approx(3**2 + (2 - 1) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_gaussians_of_other_orientations_are_apart_as_the_definition_has_it():
    rng = np.random.default_rng(2)
    A, B = (root @ root.T for root in rng.standard_normal((2, 4, 4)))
    expected = np.trace(A + B - 2 * np.real(sqrtm(A @ B)))
    assert frechet_distance(drawn(np.zeros(4), A), drawn(np.zeros(4), B, seed=3)) == pytest.approx(expected)


def test_fewer_videos_than_features_are_no_obstacle():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, 5, 400))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) > 100


def test_a_single_video_has_no_covariance():
    with pytest.raises(ValueError, match="more clips"):
        frechet_distance(np.zeros((1, 3)), np.zeros((1, 3)))


def test_pairs_are_compared_one_by_one():
    a, b = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 1.0]])
    assert paired_distance(a, b) == pytest.approx(12.5)
    assert paired_distance(b, b[::-1]) > 0 == pytest.approx(frechet_distance(b, b[::-1]))
