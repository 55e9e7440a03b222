import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robo4d.geometry import se3

numbers = st.floats(-2, 2, allow_subnormal=False)
twists = arrays(float, (3, 6), elements=numbers)
points = arrays(float, (4, 3), elements=numbers)


@given(twists, twists, twists)
def test_composition_is_associative(a, b, c):
    A, B, C = se3.exp(a), se3.exp(b), se3.exp(c)
    np.testing.assert_allclose((A @ B) @ C, A @ (B @ C), atol=1e-12)


@given(twists)
def test_inverse_cancels_from_both_sides(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(T @ se3.inverse(T), np.broadcast_to(np.eye(4), T.shape), atol=1e-12)
    np.testing.assert_allclose(se3.inverse(T) @ T, np.broadcast_to(np.eye(4), T.shape), atol=1e-12)


@given(twists)
def test_exp_gives_valid_rigid_motions(twist):
    assert se3.is_valid(se3.exp(twist)).all()


@given(twists)
def test_exp_undoes_log(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(se3.exp(se3.log(T)), T, atol=1e-9)


@given(arrays(float, (3, 6), elements=st.floats(-1e-5, 1e-5)))
def test_log_undoes_exp_of_tiny_twists(twist):
    np.testing.assert_allclose(se3.log(se3.exp(twist)), twist, atol=1e-14)


@given(twists)
def test_half_the_twist_twice_is_the_twist(twist):
    half = se3.exp(0.5 * twist)
    np.testing.assert_allclose(half @ half, se3.exp(twist), atol=1e-12)


@given(twists)
def test_quaternions_round_trip(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(se3.from_quat_wxyz(3 * se3.to_quat_wxyz(T), T[..., :3, 3]), T, atol=1e-12)


@given(twists, points)
def test_applying_a_product_is_applying_both(twist, p):
    T_a_b, T_b_c = se3.exp(twist)[:2]
    np.testing.assert_allclose(se3.apply(T_a_b @ T_b_c, p), se3.apply(T_a_b, se3.apply(T_b_c, p)), atol=1e-12)


def test_apply_keeps_single_precision():
    assert se3.apply(np.eye(4), np.zeros((2, 3), np.float32)).dtype == np.float32


def test_interpolation_starts_halves_and_ends():
    T0, T1 = se3.translation(1, 0, 0), se3.exp(np.array([0, 0, 0, 0, 0, np.pi / 2]))
    np.testing.assert_allclose(se3.interpolate(T0, T1, 0.0), T0, atol=1e-12)
    np.testing.assert_allclose(se3.interpolate(T0, T1, 1.0), T1, atol=1e-12)
    d0, angle0 = se3.distance(T0, se3.interpolate(T0, T1, 0.5))
    assert d0 == pytest.approx(0.5)
    assert angle0 == pytest.approx(np.pi / 4)


def test_distance_measures_metres_and_radians():
    d, angle = se3.distance(np.eye(4), se3.exp(np.array([0.3, 0, 0, 0.2, 0, 0])))
    assert d == pytest.approx(0.3)
    assert angle == pytest.approx(0.2)


@pytest.mark.parametrize("quat", [[0, 0, 0, 0], [np.nan, 0, 0, 1]])
def test_impossible_quaternions_are_refused(quat):
    with pytest.raises(ValueError, match="finite and not zero"):
        se3.from_quat_wxyz(np.array(quat, float), np.zeros(3))


def test_invalid_motions_are_recognised():
    bad = np.broadcast_to(np.eye(4), (5, 4, 4)).copy()
    bad[0, 0, 3] = np.nan
    bad[1, 0, 0] = -1  # a reflection
    bad[2, 0, 0] = 1.1  # a stretch
    bad[3, 3, 3] = 2
    np.testing.assert_array_equal(se3.is_valid(bad), [False, False, False, False, True])
