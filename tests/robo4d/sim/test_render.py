import threading
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robo4d.geometry import Camera, Intrinsics, look_at
from robo4d.sim.cameras import sample_cameras
from robo4d.sim.cross_view import cross_view_errors
from robo4d.sim.labels import Label
from robo4d.sim.render import Renderer

pytestmark = pytest.mark.gl

DESK = str(Path(__file__).parent / "desk.xml")
BOX_CENTRE, BOX_HALF = np.array([0.5, 0.1, 0.1]), np.array([0.05, 0.03, 0.1])


@pytest.fixture(scope="module")
def desk():
    model = mujoco.MjModel.from_xml_path(DESK)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with Renderer(model, objects=["box"]) as renderer:
        yield model, data, renderer


@pytest.fixture
def renderer(desk):
    _, data, renderer = desk
    renderer.update(data)
    return renderer


def camera(intrinsics=None, eye=(0.0, -0.3, 0.8)):
    intrinsics = intrinsics or Intrinsics.from_fovy(50, width=160, height=120)
    return Camera(intrinsics=intrinsics, T_world_camera=look_at(np.array(eye), BOX_CENTRE))


@pytest.mark.parametrize(
    "intrinsics",
    [
        Intrinsics.from_fovy(40, width=128, height=128),
        Intrinsics(fx=300, fy=250, cx=100, cy=140, width=320, height=200),
        Intrinsics(fx=500, fy=520, cx=340, cy=200, width=640, height=480),
    ],
    ids=["centred", "off centre, oblong pixels", "large"],
)
def test_depth_lies_on_the_known_surfaces_for_any_pinhole_camera(renderer, intrinsics):
    view = camera(intrinsics)
    _, depth = renderer.rgbd(view)
    labels = renderer.labels(view)
    points = view.backproject(depth.astype(float))
    on_box = points[labels == Label.OBJECT]
    assert len(on_box) > 100
    np.testing.assert_allclose(np.abs((on_box - BOX_CENTRE) / BOX_HALF).max(axis=-1), 1, atol=2e-3)
    # Only the table is near z = 0 within its edges.
    table = (labels == Label.BACKGROUND) & (np.abs(points[..., 2]) < 0.01) & (points[..., 0] < 0.55)
    assert table.sum() > 1000
    assert np.abs(points[table][:, 2]).mean() < 1e-4


def test_depth_is_zero_where_nothing_is_seen(renderer):
    up = Camera(
        intrinsics=Intrinsics.example(),
        T_world_camera=look_at(np.array([0, 0, 3.0]), np.array([0, 0.1, 9.0])),
    )
    _, depth = renderer.rgbd(up)
    assert (depth == 0).all()


def test_colour_and_labels_show_the_same_pixels_of_the_object(renderer):
    rgb, _ = renderer.rgbd(camera())
    r, g, b = np.moveaxis(rgb.astype(int), -1, 0)
    red = (r > 2.5 * g) & (r > 2.5 * b) & (r > 30)
    assert ((renderer.labels(camera()) == Label.OBJECT) == red).mean() > 0.999


def test_labels_name_hands_fingers_and_arms_by_their_bodies(renderer):
    seen = set(np.unique(renderer.labels(camera(eye=(0.0, 0.5, 0.3)))))
    assert seen == {Label.BACKGROUND, Label.LEFT_HAND, Label.LEFT_LEFT_FINGER, Label.OBJECT, Label.RIGHT_ARM}


def test_a_label_does_not_change_with_time_or_colour(desk):
    assert [label.value for label in Label] == list(range(10))
    assert [label.name for label in Label] == [
        *["BACKGROUND", "LEFT_HAND", "LEFT_LEFT_FINGER", "LEFT_RIGHT_FINGER"],
        *["RIGHT_HAND", "RIGHT_LEFT_FINGER", "RIGHT_RIGHT_FINGER", "OBJECT", "LEFT_ARM", "RIGHT_ARM"],
    ]


def test_one_renderer_gives_identical_images_after_other_sizes_and_other_states(desk):
    model, data, renderer = desk
    renderer.update(data)
    before = renderer.rgbd(camera())
    large = Intrinsics.from_fovy(50, width=1000, height=700)
    assert renderer.rgbd(camera(large))[0].shape == (700, 1000, 3)
    moved = mujoco.MjData(model)
    moved.qpos[:3] = (0.4, -0.1, 0.1)
    mujoco.mj_forward(model, moved)
    renderer.update(moved)
    assert not np.array_equal(renderer.rgbd(camera())[0], before[0])
    renderer.update(data)
    for image, expected in zip(renderer.rgbd(camera()), before, strict=True):
        np.testing.assert_array_equal(image, expected)


def test_a_renderer_made_in_another_thread_gives_identical_pixels(desk):
    model, data, renderer = desk
    images = []

    def draw():
        with Renderer(model) as own:
            own.update(data)
            images.append(own.rgbd(camera())[0])

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    renderer.update(data)
    np.testing.assert_array_equal(images[0], renderer.rgbd(camera())[0])


def cross_view(desk, count, **kwargs):
    """Errors of the true cameras, and of cameras believed to be half a pixel off."""
    model, data, renderer = desk
    renderer.update(data)
    cameras = sample_cameras(np.random.default_rng(0), count, width=128, height=128)
    depths = [renderer.rgbd(view)[1].astype(float) for view in cameras]
    furniture = [(renderer.labels(view) == Label.BACKGROUND) & (z > 0) for view, z in zip(cameras, depths, strict=True)]
    shifted = [
        Camera(intrinsics=replace(k, cx=k.cx + 0.5, cy=k.cy + 0.5), T_world_camera=view.T_world_camera)
        for view in cameras
        for k in [view.intrinsics]
    ]
    return [
        cross_view_errors(model, data, views, depths, furniture, rng=np.random.default_rng(0), **kwargs)
        for views in (cameras, shifted)
    ]


def test_views_agree_to_a_millimetre_over_two_hundred_pairs(desk):
    errors, _ = cross_view(desk, 15, points_per_pair=50)
    assert len(errors) >= 200
    assert errors.mean() < 1e-3


def test_the_cross_view_check_notices_cameras_that_are_off_by_half_a_pixel(desk):
    errors, shifted = cross_view(desk, 4)
    assert shifted.mean() > 20 * errors.mean()


def test_drawing_before_the_first_update_is_refused(desk):
    with Renderer(desk[0]) as fresh, pytest.raises(ValueError, match="call update"):
        fresh.rgbd(camera())


def test_an_unknown_object_is_refused_with_the_names_there_are(desk):
    with pytest.raises(ValueError, match=r"no body `apple`.*shelf.*box"):
        Renderer(desk[0], objects=["apple"])


def test_multisampling_is_refused(desk):
    spec = mujoco.MjSpec.from_file(DESK)
    spec.visual.quality.offsamples = 4
    with pytest.raises(ValueError, match="offsamples"):
        Renderer(spec.compile())


def test_a_renderer_that_is_given_up_leaves_the_others_alone(desk):
    model, data, _ = desk

    def drawn(renderer):
        renderer.update(data)
        return renderer.rgbd(camera())[0]

    first = Renderer(model)
    expected = drawn(first)
    second = Renderer(model)
    del first
    np.testing.assert_array_equal(drawn(second), expected)
    second.close()
    with pytest.raises(ValueError, match="after close"):
        second.rgbd(camera())
