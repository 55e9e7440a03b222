"""The source of pairs against two cameras that really publish."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from robo4d_ros import conversions, images
from robo4d_ros.frames import listen
from robo4d_ros.sync import CameraTopics, RgbdPairSource, RgbdPairSourceConfig
from ros_probe import Condition, Probe
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from robo4d.geometry import Intrinsics, se3
from robo4d.health import Level
from robo4d.interfaces import CameraSource
from robo4d.observation import Problem
from robo4d.sync import SyncConfig

INTRINSICS = Intrinsics.example()
RGB = np.tile(np.array([200, 90, 40], np.uint8), (INTRINSICS.height, INTRINSICS.width, 1))
DEPTH = np.full(RGB.shape[:2], 0.8, np.float32)
CONFIG = RgbdPairSourceConfig(sync=SyncConfig(timeout_s=0.4), diagnostics_period_s=0.2)
PERIOD_S = 0.02


class Cameras:
    """Two cameras that publish at 50 Hz; `alter(view, messages, tick)` breaks what they publish."""

    def __init__(self, probe: Probe, config: RgbdPairSourceConfig) -> None:
        self.alter: Callable[[str, dict, int], None] = lambda view, messages, tick: None
        self._tick = 0
        self._probe = probe
        raw = config.transport == "raw"
        kind = Image if raw else CompressedImage
        self._colour = images.image_from_rgb if raw else images.compressed_from_rgb
        self._depth = images.image_from_depth if raw else images.compressed_from_depth
        self._publishers = {
            view: {
                "colour": probe.publisher(kind, topics.colour + ("" if raw else "/compressed"), 5),
                "depth": probe.publisher(kind, topics.depth + ("" if raw else "/compressedDepth"), 5),
                "camera_info": probe.publisher(CameraInfo, topics.camera_info, 5),
            }
            for view, topics in (("n", config.n), ("m", config.m))
        }
        probe.node.create_timer(PERIOD_S, self._expose)

    def _expose(self) -> None:
        self._tick += 1
        stamp = self._probe.node.get_clock().now().to_msg()
        for view, publishers in self._publishers.items():
            header = Header(frame_id=f"camera_{view}_optical", stamp=stamp)
            messages = {
                "camera_info": images.camera_info_from_intrinsics(INTRINSICS, copy.deepcopy(header)),
                "colour": self._colour(RGB, copy.deepcopy(header)),
                "depth": self._depth(DEPTH, copy.deepcopy(header)),
            }
            self.alter(view, messages, self._tick)
            for name, message in messages.items():
                publishers[name].publish(message)


class Bench:
    """A source, its cameras, and what both say."""

    def __init__(self, probe: Probe, consumer: Probe, config=CONFIG, **options) -> None:
        self.diagnostics = probe.listen(DiagnosticArray, "/diagnostics")
        self.pairs = []
        self.arrival = Condition()
        self.source = RgbdPairSource(
            consumer.node,
            config,
            on_pair=lambda pair: self.arrival.change(lambda: self.pairs.append(pair)),
            **options,
        )
        self.cameras = Cameras(probe, config)

    def wait_for_pair(self):
        count = len(self.pairs)
        self.arrival.wait(lambda: len(self.pairs) > count, "a pair")
        return self.pairs[-1]

    def wait_for_status(self, part, accept):
        """The first status of a part, published from now on, that is accepted."""

        def of_part(array):
            return next((s for s in array.status if s.name.endswith(part) and accept(s)), None)

        return of_part(self.diagnostics.next(of_part))


@pytest.fixture
def consumer():
    probe = Probe("consumer")
    yield probe
    probe.close()


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_two_cameras_become_pairs(probe, consumer, transport):
    config = RgbdPairSourceConfig(transport=transport, sync=CONFIG.sync, diagnostics_period_s=0.2)
    bench = Bench(probe, consumer, config)
    source: CameraSource = bench.source
    pair = bench.wait_for_pair()
    assert (pair.n.camera, pair.m.camera) == ("camera_n_optical", "camera_m_optical")
    assert pair.n.stamp_ns == pair.m.stamp_ns
    np.testing.assert_allclose(pair.n.rgb.astype(int), RGB, atol=0 if transport == "raw" else 3)
    np.testing.assert_allclose(pair.m.depth, DEPTH, atol=1e-4)
    assert pair.m.intrinsics == INTRINSICS
    assert source.latest().stamp_ns >= pair.stamp_ns
    status = bench.wait_for_status("consumer: pair", lambda s: s.message == "ok" and len(bench.pairs) > 10)
    assert status.level == bytes([Level.OK])
    values = {pair.key: float(pair.value) for pair in status.values}
    assert values["rate_hz"] > 5
    assert 0 < values["latency_p50_ms"] <= values["latency_max_ms"] < 5000


def of_n(**fields):
    """A fault: camera n's messages get these fields, written as message__field."""

    def alter(view, messages, tick):
        for path, value in fields.items():
            *parents, name = path.split("__")
            target = messages[parents[0]]
            for parent in parents[1:]:
                target = getattr(target, parent)
            if view == "n":
                setattr(target, name, value)

    return alter


def replaced(name, make):
    """A fault: one message of camera n is another."""

    def alter(view, messages, tick):
        if view == "n":
            messages[name] = make(messages[name].header)

    return alter


def missing(name):
    """A fault: one message of camera n is not sent."""

    def alter(view, messages, tick):
        if view == "n":
            del messages[name]

    return alter


def shifted(view_of_fault, seconds, *names):
    """A fault: messages of one camera have other times."""

    def alter(view, messages, tick):
        if view == view_of_fault:
            for name in names:
                messages[name].header.stamp.sec += seconds

    return alter


def jumping_back(view, messages, tick):
    """A fault: the time of both cameras begins again, over and over."""
    for message in messages.values():
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(10**9 + (tick % 10) * 20_000_000, 10**9)


FAULTS = {
    "depth in another frame": (Problem.DEPTH_NOT_REGISTERED, of_n(depth__header__frame_id="camera_n_depth")),
    "depth of another size": (
        Problem.DEPTH_NOT_REGISTERED,
        replaced("depth", lambda header: images.image_from_depth(np.ones((3, 4), np.float32), header)),
    ),
    "depth in millimetres as 32FC1": (
        Problem.DEPTH_UNIT_DOUBTFUL,
        replaced("depth", lambda header: images.image_from_depth(1000 * DEPTH, header)),
    ),
    "no depth at all": (
        Problem.NO_VALID_DEPTH,
        replaced("depth", lambda header: images.image_from_depth(np.nan * DEPTH, header)),
    ),
    "no camera_info": (Problem.CAMERA_INFO_MISSING, missing("camera_info")),
    "camera_info of another size": (Problem.CAMERA_INFO_OF_ANOTHER_IMAGE, of_n(camera_info__width=7)),
    "uncalibrated": (Problem.UNCALIBRATED, of_n(camera_info__k=np.zeros(9))),
    "distorted": (Problem.DISTORTED, of_n(camera_info__d=[0.1, 0.0, 0.0, 0.0, 0.0])),
    "binned": (Problem.CROPPED, of_n(camera_info__binning_x=2)),
    "unknown encoding": (Problem.UNSUPPORTED_ENCODING, of_n(depth__encoding="64FC1")),
    "too few bytes": (Problem.MALFORMED_IMAGE, of_n(colour__step=100)),
    "colour frozen": (Problem.STREAM_FROZEN, of_n(colour__header__stamp=Header().stamp)),
    "time jumps back": (Problem.CLOCK_JUMPED_BACK, jumping_back),
    "depth stops": (Problem.STREAM_STOPPED, missing("depth")),
    "depth at another time": (Problem.DEPTH_AND_COLOUR_APART, shifted("n", 10, "depth")),
}


@pytest.mark.parametrize(("problem", "alter"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_a_camera_is_named_with_its_fix_and_its_images_are_not_used(probe, consumer, problem, alter):
    bench = Bench(probe, consumer)
    bench.cameras.alter = alter
    status = bench.wait_for_status("consumer: camera n", lambda s: f"{problem.name}: " in s.message)
    assert problem.value in status.message
    assert any(pair.key == f"{problem.name.lower()}_count" and float(pair.value) > 0 for pair in status.values)
    if problem is not Problem.CLOCK_JUMPED_BACK:
        status = bench.wait_for_status("consumer: camera n", lambda s: s.level == bytes([Level.ERROR]))
        pairs = len(bench.pairs)
        bench.wait_for_status("consumer: pair", lambda s: Problem.CAMERA_WITHOUT_FRAMES.name in s.message)
        assert len(bench.pairs) == pairs


def test_cameras_with_different_clocks_are_named(probe, consumer):
    bench = Bench(probe, consumer)
    bench.cameras.alter = shifted("m", 10, "colour", "depth")
    status = bench.wait_for_status("consumer: pair", lambda s: f"{Problem.CAMERAS_APART.name}: " in s.message)
    assert status.level == bytes([Level.ERROR])


def test_frames_carry_the_pose_that_tf_has(probe, consumer):
    T_world_camera = se3.exp(np.array([1.0, 2.0, 0.5, 0.1, 0.2, 0.3]))
    bench = Bench(probe, consumer, frames=listen(consumer.node))
    pair = bench.wait_for_pair()
    assert pair.n.T_world_camera is None
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    message = conversions.frames_message("world", {"camera_n_optical": T_world_camera}, stamp_ns=0)
    probe.publisher(TFMessage, "/tf_static", qos).publish(message)
    bench.arrival.wait(lambda: bench.pairs[-1].n.T_world_camera is not None, "a pair with a pose")
    np.testing.assert_allclose(bench.pairs[-1].n.T_world_camera, T_world_camera, atol=1e-9)
    assert bench.pairs[-1].m.T_world_camera is None


def test_the_source_outlives_a_fault(probe, consumer):
    bench = Bench(probe, consumer)
    bench.wait_for_pair()
    bench.cameras.alter = of_n(colour__encoding="what?")
    bench.wait_for_status("consumer: camera n", lambda s: s.level == bytes([Level.ERROR]))
    bench.cameras.alter = lambda view, messages, tick: None
    bench.wait_for_pair()
    bench.wait_for_status("consumer: camera n", lambda s: s.message == "ok")


def test_rectified_images_are_described_by_p(probe, consumer):
    topics = CameraTopics.of("camera_n")
    rectified = CameraTopics(colour=topics.colour, depth=topics.depth, camera_info=topics.camera_info, rectified=True)
    bench = Bench(probe, consumer, RgbdPairSourceConfig(n=rectified))
    bench.cameras.alter = of_n(camera_info__d=[0.1, 0.0, 0.0, 0.0, 0.0], camera_info__k=np.full(9, 99.0))
    assert bench.wait_for_pair().n.intrinsics == INTRINSICS


def test_an_unknown_transport_is_refused():
    with pytest.raises(ValueError, match="'raw' or 'compressed'"):
        RgbdPairSourceConfig(transport="theora")
