import numpy as np
import pytest
from box_scene import CAMERAS, film, path

from robo4d import se3
from robo4d.geometry.procrustes import fit
from robo4d.tracking.degrade import Degradation, degrade_depth, degrade_video

T_N_M = se3.inverse(CAMERAS[0].T_world_camera) @ CAMERAS[1].T_world_camera
VIDEO = film({"left": path(3)})[0]


def _degrade(seed: int = 0, **faults: float):
    return degrade_video(VIDEO, Degradation(**faults), T_n_m=T_N_M, rng=np.random.default_rng(seed))


def test_no_fault_changes_nothing():
    perfect = _degrade()
    np.testing.assert_allclose(perfect.points, VIDEO.points, atol=1e-6)
    np.testing.assert_array_equal(perfect.valid, VIDEO.valid)
    np.testing.assert_array_equal(perfect.rgb, VIDEO.rgb)


def test_noise_has_the_given_size_and_lies_on_the_rays_of_each_camera():
    noisy = _degrade(noise_m=0.01)
    for view, p_n_camera in enumerate((np.zeros(3), T_N_M[:3, 3])):
        moved = (noisy.points[view] - VIDEO.points[view])[VIDEO.valid[view]]
        rays = VIDEO.points[view][VIDEO.valid[view]] - p_n_camera
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        along = (moved * rays).sum(axis=1)
        assert along.std() == pytest.approx(0.01, rel=0.05)
        np.testing.assert_allclose(moved, along[:, None] * rays, atol=1e-5)


def test_bias_is_smooth_over_the_image():
    depth = np.ones((4, 64, 64))
    error = degrade_depth(depth, Degradation(bias_m=0.01), np.random.default_rng(0)) - depth
    assert 0.003 < error.std() < 0.02
    assert np.abs(np.diff(error, axis=2)).mean() < 0.1 * error.std()


def test_flying_pixels_hang_between_the_two_surfaces_beside_an_edge():
    depth = np.ones((2, 8, 8))
    depth[:, :, 4:] = 2.0
    degraded = degrade_depth(depth, Degradation(flying_pixels=1.0), np.random.default_rng(0))
    column = degraded[:, 1:, 4]
    assert ((column >= 1.5) & (column <= 2)).all()
    assert (column < 2).mean() > 0.9
    np.testing.assert_array_equal(np.delete(degraded, [0, 4], axis=2), np.delete(depth, [0, 4], axis=2))


def test_missing_pixels_have_no_point():
    holes = _degrade(missing=0.2)
    assert holes.valid[VIDEO.valid].mean() == pytest.approx(0.8, abs=0.01)
    assert not holes.points[~holes.valid].any()
    assert not holes.valid[~VIDEO.valid].any()


def test_blur_softens_edges_and_keeps_flat_ground():
    blurred = _degrade(blur_px=1.5)
    change = np.abs(blurred.points - VIDEO.points).max(axis=-1)
    assert np.median(change) < 0.003
    assert change.max() > 0.1


def test_misalignment_moves_view_m_rigidly_and_leaves_view_n():
    moved = _degrade(misalignment_m=0.03, misalignment_deg=2.0)
    np.testing.assert_allclose(moved.points[0], VIDEO.points[0], atol=1e-6)
    valid = VIDEO.valid[1]
    T = fit(moved.points[1][valid].astype(float), VIDEO.points[1][valid].astype(float))
    np.testing.assert_allclose(moved.points[1][valid], se3.apply(T, VIDEO.points[1][valid]), atol=1e-4)
    middle = VIDEO.points[1][valid].mean(axis=0).astype(float)
    assert np.linalg.norm(se3.apply(T, middle) - middle) == pytest.approx(0.03, abs=2e-3)
    assert np.rad2deg(np.linalg.norm(se3.log(T)[3:])) == pytest.approx(2.0, abs=0.01)


def test_the_same_seed_gives_the_same_faults():
    faults = {"noise_m": 0.005, "bias_m": 0.004, "flying_pixels": 1.0, "missing": 0.05, "misalignment_m": 0.01}
    np.testing.assert_array_equal(_degrade(1, **faults).points, _degrade(1, **faults).points)
    assert not np.array_equal(_degrade(1, **faults).points, _degrade(2, **faults).points)


def test_a_typical_video_without_noise_has_only_the_faults_that_are_named():
    assert Degradation.typical(0).is_perfect
    assert Degradation.typical(0, blur_px=1.0, misalignment_m=0.02) == Degradation(blur_px=1.0, misalignment_m=0.02)


@pytest.mark.parametrize("fault", [{"noise_m": -1.0}, {"missing": 1.5}])
def test_what_is_no_degradation_is_refused(fault):
    with pytest.raises(ValueError, match="must not be negative"):
        Degradation(**fault)
