import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robo4d.geometry import Camera, Intrinsics, Pointmap, look_at, se3

cameras = st.builds(
    lambda f, ratio, cx, cy: Intrinsics(fx=f, fy=f * ratio, cx=cx, cy=cy, width=8, height=6),
    st.floats(2, 50),
    st.floats(0.8, 1.25),
    st.floats(0, 8),
    st.floats(0, 6),
)
depths = arrays(float, (6, 8), elements=st.floats(0.1, 5))


@given(cameras, depths)
def test_projection_undoes_backprojection(intrinsics, depth):
    uv, z = intrinsics.project(intrinsics.backproject(depth))
    np.testing.assert_allclose(z, depth)
    u, v = np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5)
    np.testing.assert_allclose(uv, np.stack([u, v], axis=-1), atol=1e-9)


@given(cameras, depths, arrays(float, (6,), elements=st.floats(-1, 1)))
def test_world_points_round_trip_through_a_placed_camera(intrinsics, depth, twist):
    camera = Camera(intrinsics=intrinsics, T_world_camera=se3.exp(twist))
    uv, z = camera.project(camera.backproject(depth))
    np.testing.assert_allclose(z, depth, atol=1e-9)
    np.testing.assert_allclose(uv[0, 0], [0.5, 0.5], atol=1e-6)


@given(cameras, depths)
def test_resizing_leaves_the_points_in_place(intrinsics, depth):
    double = intrinsics.resized(width=16, height=12)
    block_centre = double.backproject(np.repeat(np.repeat(depth, 2, axis=0), 2, axis=1))
    mean = block_centre.reshape(6, 2, 8, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(mean, intrinsics.backproject(depth), atol=1e-9)


def test_the_optical_axis_meets_the_image_centre():
    k = Intrinsics.from_fovy(60.0, width=8, height=6)
    uv, _ = k.project(np.array([0.0, 0.0, 2.0]))
    np.testing.assert_allclose(uv, [4, 3])
    uv, _ = k.project(np.array([0.0, np.tan(np.deg2rad(30.0)), 1.0]))
    np.testing.assert_allclose(uv, [4, 6])


def test_points_behind_the_camera_have_no_image():
    uv, z = Intrinsics.example().project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(uv).all()
    assert (z <= 0).all()


@pytest.mark.parametrize("bad", [{"fx": 0.0}, {"fy": float("nan")}, {"width": 0}, {"cx": float("inf")}])
def test_impossible_intrinsics_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        Intrinsics(**({"fx": 5.0, "fy": 5.0, "cx": 4.0, "cy": 3.0, "width": 8, "height": 6} | bad))


def test_depth_of_another_size_is_refused():
    with pytest.raises(ValueError, match="height, width"):
        Intrinsics.example().backproject(np.ones((3, 3)))


def test_look_at_puts_the_target_on_the_axis_and_up_in_the_image():
    T = look_at(np.array([1.0, 2.0, 1.5]), np.array([0.5, 0.0, 0.2]))
    assert se3.is_valid(T)
    camera = Camera(intrinsics=Intrinsics.example(), T_world_camera=T)
    uv, _ = camera.project(np.array([[0.5, 0.0, 0.2], [0.5, 0.0, 0.3]]))
    np.testing.assert_allclose(uv[0], [4, 3])
    assert uv[1, 1] < uv[0, 1]


def test_looking_along_up_is_refused():
    with pytest.raises(ValueError, match="parallel"):
        look_at(np.array([0.0, 0.0, 1.0]), np.zeros(3))


def test_a_pointmap_in_the_other_frame_is_what_the_other_camera_sees():
    k = Intrinsics.example()
    T_n_m = se3.exp(np.array([0.1, -0.2, 0.05, 0.1, 0.2, -0.1]))
    own = Pointmap.from_depth(np.full((k.height, k.width), 1.5), k, frame="m")
    in_n = own.in_frame(T_n_m, frame="n")
    assert in_n.frame == "n"
    np.testing.assert_allclose(in_n.cloud(), se3.apply(T_n_m, own.cloud()))
    np.testing.assert_allclose(in_n.in_frame(se3.inverse(T_n_m), frame="m").points, own.points, atol=1e-12)


def test_missing_depth_has_no_point():
    depth = np.array([[0.0, np.nan], [-1.0, 2.0]])
    k = Intrinsics.from_fovy(60.0, width=2, height=2)
    pointmap = Pointmap.from_depth(depth, k, frame="camera").in_frame(se3.translation(1, 1, 1), frame="world")
    np.testing.assert_array_equal(pointmap.valid, [[False, False], [False, True]])
    np.testing.assert_array_equal(pointmap.points[~pointmap.valid], 0)
