import array
import dataclasses
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from robo4d_ros import images
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from robo4d.geometry import Intrinsics
from robo4d.observation import BadObservation, Problem

HEADER = Header(frame_id="camera_optical")
rgbs = array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(lambda s: arrays(np.uint8, (*s, 3)))
depths = array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
    lambda s: arrays(np.float32, s, elements=st.one_of(st.just(0.0), st.floats(0.1875, 9.5, width=32)))
)


@pytest.fixture(params=["own", "cv_bridge"])
def read_rgb(request):
    if request.param == "own":
        return images.rgb_from_image
    try:
        images.rgb_by_cv_bridge(image(np.zeros((1, 1, 3), np.uint8), "rgb8"))
    except BadObservation as lacking:
        pytest.skip(f"cv_bridge comes with a ROS installation (ros-jazzy-cv-bridge): {lacking}")
    return images.rgb_by_cv_bridge


def image(pixels, encoding, *, padding=0, big_endian=False):
    """A message with padded rows."""
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    rows = np.hstack([rows, np.full((height, padding), 77, np.uint8)])
    data = array.array("B", rows.tobytes())
    return Image(
        header=HEADER,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=data,
    )


def as_encoding(rgb, encoding):
    alpha = np.full((*rgb.shape[:2], 1), 9, np.uint8)
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=-1),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=-1),
        "mono8": rgb[..., 0],
    }[encoding]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_colours_are_read_in_every_encoding(read_rgb, encoding, padding):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    if encoding == "mono8":
        rgb = np.repeat(rgb[..., :1], 3, axis=-1)
    read = read_rgb(image(as_encoding(rgb, encoding), encoding, padding=padding))
    np.testing.assert_array_equal(read, rgb)
    assert read.flags.c_contiguous


@given(rgbs)
def test_colours_survive_a_message_without_a_copy(rgb):
    message = images.image_from_rgb(rgb, HEADER)
    read = images.rgb_from_image(message)
    np.testing.assert_array_equal(read, rgb)
    assert np.shares_memory(read, np.frombuffer(message.data, np.uint8))
    assert (message.encoding, message.header) == ("rgb8", HEADER)


@given(depths)
def test_depth_survives_a_message(depth):
    np.testing.assert_array_equal(images.depth_from_image(images.image_from_depth(depth, HEADER)), depth)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_depth_is_read_in_metres_in_every_encoding(padding, big_endian):
    millimetres = np.array([[0, 1, 500], [1000, 40000, 65535]], np.uint16)
    read = images.depth_from_image(image(millimetres, "16UC1", padding=padding, big_endian=big_endian))
    np.testing.assert_allclose(read, millimetres / 1000, rtol=1e-6)
    metres = np.array([[0, 0.5, 1.25], [np.nan, np.inf, -1]], np.float32)
    read = images.depth_from_image(image(metres, "32FC1", padding=padding, big_endian=big_endian))
    np.testing.assert_array_equal(read, np.array([[0, 0.5, 1.25], [0, 0, 0]], np.float32))
    assert read.dtype == np.float32


def test_jpeg_keeps_the_colours_and_their_order():
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 200, 40
    message = images.compressed_from_rgb(rgb, HEADER)
    assert message.format == "rgb8; jpeg compressed bgr8"
    np.testing.assert_allclose(images.rgb_from_compressed(message).astype(int), rgb, atol=3)


@given(depths)
def test_compressed_depth_is_as_fine_as_its_quantization(depth):
    message = images.compressed_from_depth(depth, HEADER)
    read = images.depth_from_compressed(message)
    np.testing.assert_array_equal(read == 0, depth == 0)
    step = depth**2 / (100 * 101)
    assert (np.abs(read - depth) <= 1.01 * step + 1e-6).all()


def test_compressed_depth_has_the_layout_of_compressed_depth_image_transport():
    message = images.compressed_from_depth(np.array([[2.0, 0.0, 12.0]], np.float32), HEADER)
    assert message.format == "32FC1; compressedDepth png"
    kind, a, b = struct.unpack("<iff", bytes(message.data[:12]))
    # depth_quantization 100 and depth_max 10: a = 100 * 101, b = 1 - a / 10
    assert (kind, a, b) == (0, 10100.0, -1009.0)
    assert bytes(message.data[12:16]) == b"\x89PNG"
    # 2 m: q = int(10100 / 2 - 1009) = 4041, read as 10100 / (4041 + 1009)
    np.testing.assert_allclose(images.depth_from_compressed(message), [[10100 / 5050, 0, 0]])


def test_compressed_depth_outside_of_its_range_is_invalid_and_not_another_distance():
    message = images.compressed_from_depth(np.array([[1e-30, 0.1, 0.15, 10.0, 1e30, 1.0]], np.float32), HEADER)
    np.testing.assert_allclose(images.depth_from_compressed(message), [[0, 0, 0, 0, 0, 1]], atol=1e-4)


def test_compressed_millimetres_are_exact():
    png = images.compressed_from_depth(np.array([[2.0]], np.float32), HEADER)
    png.format = "16UC1; compressedDepth png"
    np.testing.assert_allclose(images.depth_from_compressed(png), [[4.041]], rtol=1e-6)


BRIDGE = "class CvBridge:\n    def imgmsg_to_cv2(self, message, desired_encoding):\n        "


@pytest.fixture
def cv_bridge(tmp_path, monkeypatch):
    """Put a module in the place of cv_bridge: cv_bridge(SOURCE)."""
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    images._cv_bridge.cache_clear()
    yield (tmp_path / "cv_bridge.py").write_text
    sys.modules.pop("cv_bridge", None)
    images._cv_bridge.cache_clear()


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('numpy.core.multiarray failed to import')",
        "raise AttributeError('_ARRAY_API not found')",
        BRIDGE + "from numpy.core.multiarray import nothing_of_this_name",
    ],
)
def test_a_cv_bridge_for_another_numpy_is_done_without(cv_bridge, source):
    cv_bridge(source)
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(images.rgb_from_image(image(rgb, "rgb8")), rgb)
    with pytest.raises(BadObservation, match=r"bayer_rggb8.*(numpy|_ARRAY_API)") as refusal:
        images.rgb_from_image(image(rgb[..., 0], "bayer_rggb8"))
    assert refusal.value.problem is Problem.UNSUPPORTED_ENCODING


def test_encodings_that_are_not_ours_are_read_by_cv_bridge_where_it_can_be_imported(cv_bridge):
    cv_bridge("import numpy as np\n" + BRIDGE + "return np.full((4, 6, 3), 7, np.uint8)")
    assert (images.rgb_from_image(image(np.zeros((4, 6), np.uint8), "bayer_rggb8")) == 7).all()


RGB = np.zeros((4, 6, 3), np.uint8)
DEPTH = np.ones((4, 6), np.float32)


def changed(message, **fields):
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("read", "message", "problem"),
    [
        (images.rgb_from_image, image(DEPTH, "32FC1"), Problem.UNSUPPORTED_ENCODING),
        (images.depth_from_image, image(RGB, "rgb8"), Problem.UNSUPPORTED_ENCODING),
        (images.rgb_from_image, changed(image(RGB, "rgb8"), step=17), Problem.MALFORMED_IMAGE),
        (images.rgb_from_image, changed(image(RGB, "rgb8"), height=5), Problem.MALFORMED_IMAGE),
        (images.rgb_from_image, changed(image(RGB, "rgb8"), width=2**32 - 1), Problem.MALFORMED_IMAGE),
        (images.rgb_from_image, Image(encoding="rgb8"), Problem.MALFORMED_IMAGE),
        (images.depth_from_image, changed(image(DEPTH, "32FC1"), step=0), Problem.MALFORMED_IMAGE),
        (images.rgb_from_compressed, CompressedImage(format="jpeg"), Problem.MALFORMED_IMAGE),
        (images.rgb_from_compressed, images.compressed_from_depth(DEPTH, HEADER), Problem.UNSUPPORTED_ENCODING),
        (images.depth_from_compressed, images.compressed_from_rgb(RGB, HEADER), Problem.UNSUPPORTED_ENCODING),
        (
            images.depth_from_compressed,
            changed(images.compressed_from_depth(DEPTH, HEADER), format="16UC1; compressedDepth rvl"),
            Problem.UNSUPPORTED_ENCODING,
        ),
        (
            images.depth_from_compressed,
            CompressedImage(format="32FC1; compressedDepth png", data=array.array("B", bytes(12))),
            Problem.MALFORMED_IMAGE,
        ),
    ],
)
def test_what_is_no_image_is_refused_by_name(read, message, problem):
    with pytest.raises(BadObservation) as refusal:
        read(message)
    assert refusal.value.problem is problem


encodings = st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "16UC1", "32FC1", "bayer_rggb8", "", "\x00"])
sizes = st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1))


@given(encodings, sizes, sizes, sizes, st.integers(0, 255), st.binary(max_size=300))
def test_no_raw_message_does_anything_but_give_an_image_or_be_refused(
    encoding, height, width, step, is_bigendian, data
):
    message = Image(
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        is_bigendian=is_bigendian,
        data=array.array("B", data),
    )
    for read in (images.rgb_from_image, images.depth_from_image):
        try:
            pixels = read(message)
        except BadObservation:
            continue
        assert pixels.shape[:2] == (height, width)
        assert np.isfinite(pixels).all()


formats = st.sampled_from(
    ["jpeg", "", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "32FC1; compressedDepth", "32FC1", ";;"]
)
GOOD = [
    bytes(message.data)
    for message in (
        images.compressed_from_rgb(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), HEADER),
        images.compressed_from_depth(np.linspace(0.3, 9, 16, dtype=np.float32).reshape(4, 4), HEADER),
    )
]


@given(formats, st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=20))
def test_no_compressed_message_does_anything_but_give_an_image_or_be_refused(encoding, good, changes):
    data = bytearray(good)
    for place, value in changes:
        data[place % len(data)] = value
    message = CompressedImage(format=encoding, data=array.array("B", bytes(data)))
    for read in (images.rgb_from_compressed, images.depth_from_compressed):
        try:
            pixels = read(message)
        except BadObservation:
            continue
        assert np.isfinite(pixels).all()


def test_a_png_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    depth = images.compressed_from_depth(np.ones((2, 2), np.float32), HEADER)
    data = bytearray(depth.data)
    data[12 + 16 : 12 + 24] = struct.pack(">II", 60_000, 60_000)
    depth.data = array.array("B", bytes(data))
    with pytest.raises(BadObservation) as refusal:
        images.depth_from_compressed(depth)
    assert refusal.value.problem is Problem.MALFORMED_IMAGE


def calibration(**fields):
    return changed(images.camera_info_from_intrinsics(Intrinsics.example(), HEADER), **fields)


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0, 640), st.floats(0, 480))
def test_intrinsics_survive_a_message(fx, fy, cx, cy):
    intrinsics = Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=640, height=480)
    message = images.camera_info_from_intrinsics(intrinsics, HEADER)
    for rectified in (False, True):
        read = images.intrinsics_from_camera_info(message, rectified=rectified)
        np.testing.assert_allclose(dataclasses.astuple(read), dataclasses.astuple(intrinsics), atol=1e-12)


def test_ros_puts_the_centre_of_the_first_pixel_at_zero():
    assert images.camera_info_from_intrinsics(Intrinsics.example(), HEADER).k[2] == 3.5


def test_a_rectified_image_is_described_by_p_whatever_the_lens():
    p = np.array([5.0, 0, 3, 0, 0, 6, 2, 0, 0, 0, 1, 0])
    message = calibration(d=[0.1, -0.2, 0.0, 0.0, 0.0], p=p)
    assert images.intrinsics_from_camera_info(message, rectified=True) == Intrinsics(
        fx=5, fy=6, cx=3.5, cy=2.5, width=8, height=6
    )


@pytest.mark.parametrize(
    ("message", "rectified", "problem"),
    [
        (calibration(k=np.zeros(9)), False, Problem.UNCALIBRATED),
        (calibration(p=np.zeros(12)), True, Problem.UNCALIBRATED),
        (calibration(k=np.full(9, np.nan)), False, Problem.UNCALIBRATED),
        (calibration(width=0), False, Problem.UNCALIBRATED),
        (CameraInfo(), False, Problem.UNCALIBRATED),
        (calibration(d=[0.1, 0.0, 0.0, 0.0, 0.0]), False, Problem.DISTORTED),
        (calibration(d=[0.0] * 7 + [1e-3], distortion_model="rational_polynomial"), False, Problem.DISTORTED),
        (calibration(binning_x=2), False, Problem.CROPPED),
        (calibration(roi=RegionOfInterest(x_offset=1, width=4, height=6)), False, Problem.CROPPED),
    ],
)
def test_a_calibration_that_does_not_describe_the_image_is_refused_by_name(message, rectified, problem):
    with pytest.raises(BadObservation) as refusal:
        images.intrinsics_from_camera_info(message, rectified=rectified)
    assert refusal.value.problem is problem


def test_a_region_of_interest_that_is_the_whole_image_is_none():
    whole = calibration(roi=RegionOfInterest(width=8, height=6))
    assert images.intrinsics_from_camera_info(whole) == Intrinsics.example()
