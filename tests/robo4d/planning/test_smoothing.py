import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo4d.geometry import se3
from robo4d.planning.bench import smoothing_errors_mm
from robo4d.planning.smoothing import SmoothingConfig, anchored, smoothed

CONFIG = SmoothingConfig()


def arc(frames: int) -> np.ndarray:
    s = np.linspace(0, 1, frames)
    position = np.stack([0.1 * np.sin(np.pi * s), 0.2 * s, -0.1 * np.sin(np.pi * s)], axis=-1)
    turn = se3.exp(np.c_[np.zeros((frames, 3)), np.outer(s, [0.3, 0.2, 0.6])])
    return se3.pose(turn[:, :3, :3], position)


def test_exact_poses_are_followed_within_millimetres():
    truth = arc(10)
    Ts, outlier = smoothed(0.5 * np.arange(10), truth, np.ones(10), CONFIG)
    distance, angle = se3.distance(Ts, truth)
    assert distance.max() < 0.003
    assert angle.max() < 0.01
    assert not outlier.any()


def test_the_first_pose_is_kept_whatever_the_others_say():
    Ts_noisy = arc(10) @ se3.exp(np.random.default_rng(0).normal(0, 0.02, (10, 6)))
    Ts, _ = smoothed(0.5 * np.arange(10), Ts_noisy, np.ones(10), CONFIG)
    np.testing.assert_allclose(Ts[0], Ts_noisy[0], atol=1e-4)


def test_outliers_are_found_and_not_followed():
    truth = arc(12)
    Ts_tracked, bad = truth.copy(), [4, 8]
    Ts_tracked[bad] = truth[bad] @ se3.exp(np.array([0.1, -0.05, 0.08, 0.4, 0, 0.3]))
    Ts, outlier = smoothed(0.5 * np.arange(12), Ts_tracked, np.ones(12), CONFIG)
    assert np.flatnonzero(outlier).tolist() == bad
    assert se3.distance(Ts, truth)[0].max() < 0.01


def test_a_hand_seen_back_to_front_is_an_outlier():
    truth = arc(10)
    Ts_tracked = truth.copy()
    Ts_tracked[5] = truth[5] @ np.diag([-1.0, -1.0, 1.0, 1.0])
    Ts, outlier = smoothed(0.5 * np.arange(10), Ts_tracked, np.ones(10), CONFIG)
    assert np.flatnonzero(outlier).tolist() == [5]
    assert se3.distance(Ts, truth)[1].max() < 0.1


@pytest.mark.parametrize("bad", [[3, 9], [9], [1, 5]])
def test_an_outlier_with_few_neighbours_does_not_draw_the_path_to_itself(bad):
    truth = arc(10)
    Ts_tracked = truth.copy()
    Ts_tracked[bad] = truth[bad] @ se3.exp(np.array([0.08, -0.05, 0.06, 0.4, 0, 0.3]))
    Ts, outlier = smoothed(0.5 * np.arange(10), Ts_tracked, np.ones(10), CONFIG)
    assert np.flatnonzero(outlier).tolist() == bad
    assert se3.distance(Ts, truth)[0].max() < 0.025


def test_the_worst_frame_stays_near_with_two_outliers_in_ten():
    errors = smoothing_errors_mm(200, np.random.default_rng(7))
    assert errors["worst_frame_p90_mm_robust"] < 25 < errors["worst_frame_mm_least_squares"]
    assert errors["worst_frame_mm_robust"] < 16


def test_lost_frames_are_bridged():
    truth = arc(10)
    Ts_tracked, weights = truth.copy(), np.ones(10)
    Ts_tracked[[3, 4]], weights[[3, 4]] = np.nan, 0
    Ts, outlier = smoothed(0.5 * np.arange(10), Ts_tracked, weights, CONFIG)
    assert np.flatnonzero(outlier).tolist() == [3, 4]
    assert se3.distance(Ts, truth)[0].max() < 0.015


def test_a_trusted_pose_pulls_more_than_a_doubtful_one():
    Ts_tracked = np.stack([np.eye(4)] * 5)
    Ts_tracked[2, 0, 3] = 0.02
    shift = {}
    for confidence in (0.2, 1.0):
        weights = np.ones(5)
        weights[2] = confidence
        Ts, _ = smoothed(0.2 * np.arange(5), Ts_tracked, weights, SmoothingConfig(inlier_bound=1e9))
        shift[confidence] = Ts[2, 0, 3]
    assert 0 < shift[0.2] < shift[1.0] < 0.02


@pytest.mark.parametrize("frames", [2, 3])
def test_the_fewest_poses_are_smoothed(frames):
    Ts, outlier = smoothed(0.5 * np.arange(frames), arc(10)[:frames], np.ones(frames), CONFIG)
    np.testing.assert_allclose(Ts, arc(10)[:frames], atol=2e-3)
    assert not outlier.any()


def test_identical_poses_stay_where_they_are():
    Ts, outlier = smoothed(0.5 * np.arange(6), np.stack([arc(3)[1]] * 6), np.ones(6), CONFIG)
    np.testing.assert_allclose(Ts, np.stack([arc(3)[1]] * 6), atol=1e-9)
    assert not outlier.any()


def test_one_pose_alone_is_refused():
    with pytest.raises(ValueError, match="at least one more"):
        smoothed(0.5 * np.arange(3), arc(3), np.array([1.0, 0, 0]), CONFIG)


def test_scales_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        SmoothingConfig(position_sigma_m=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 32))
def test_the_result_is_always_rigid_motions(seed, frames):
    rng = np.random.default_rng(seed)
    Ts_tracked = se3.exp(rng.normal(size=(frames, 6)))  # no motion at all, only noise
    Ts, _ = smoothed(np.cumsum(rng.uniform(0.05, 1, frames)), Ts_tracked, rng.uniform(0.01, 1, frames), CONFIG)
    assert se3.is_valid(Ts).all()


def test_anchoring_starts_at_the_measured_pose_and_keeps_displacements():
    T_measured = se3.exp(np.array([0.3, 0.1, 0.2, 0.1, -0.2, 0.3]))
    Ts = anchored(arc(5), T_measured)
    np.testing.assert_allclose(Ts[0], T_measured, atol=1e-12)
    np.testing.assert_allclose(np.diff(Ts[:, :3, 3], axis=0), np.diff(arc(5)[:, :3, 3], axis=0), atol=1e-12)
    turn = Ts[-1, :3, :3] @ Ts[0, :3, :3].T
    np.testing.assert_allclose(turn, arc(5)[-1, :3, :3] @ arc(5)[0, :3, :3].T, atol=1e-12)
