"""Synchronized pairs of RGB-D frames from the topics of two cameras, with diagnostics."""

import functools
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robo4d.health import Health, Level
from robo4d.observation import Stamped
from robo4d.pairing import ApproximateTime, Pairing
from robo4d.rgbd import RgbdPair
from robo4d.sync import RgbdPairSync, SyncConfig, View
from robo4d_ros import images
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import Frames

IMAGE_QOS = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Of image subscriptions: receives from reliable and best-effort publishers, and prefers new images to all images."""


@dataclass(frozen=True, kw_only=True)
class CameraTopics:
    """Where the messages of one camera are found; names are relative to the node's namespace."""

    colour: str
    """sensor_msgs/Image; with compressed transport the base name, to which /compressed is added."""
    depth: str
    """sensor_msgs/Image, registered to colour; with compressed transport the base name of /compressedDepth."""
    camera_info: str
    """sensor_msgs/CameraInfo of the colour image."""
    rectified: bool = False
    """Whether colour and depth are rectified (image_rect topics), so that camera_info's P describes them."""

    @classmethod
    def of(cls, camera: str) -> "CameraTopics":
        """The topics of realsense2_camera with align_depth, under the camera's name."""
        return cls(
            colour=f"{camera}/color/image_raw",
            depth=f"{camera}/aligned_depth_to_color/image_raw",
            camera_info=f"{camera}/color/camera_info",
        )


@dataclass(frozen=True, kw_only=True)
class RgbdPairSourceConfig:
    """Which cameras, and what counts as a pair."""

    n: CameraTopics = field(default_factory=lambda: CameraTopics.of("camera_n"))
    """The reference camera."""
    m: CameraTopics = field(default_factory=lambda: CameraTopics.of("camera_m"))
    """The second camera."""
    transport: Literal["raw", "compressed"] = "raw"
    """How images travel; compressed means JPEG or PNG for colour and compressedDepth PNG for depth."""
    world_frame: str = "world"
    """Frame in tf that the poses of the cameras are given in."""
    sync: SyncConfig = field(default_factory=SyncConfig)
    """Tolerances."""
    diagnostics_period_s: float = 1.0
    """Time between two messages on /diagnostics [s]; the default is that of diagnostic_updater."""

    def __post_init__(self) -> None:
        """Refuse an unknown transport and a period that never ends."""
        if self.diagnostics_period_s <= 0:
            raise ValueError(f"diagnostics_period_s must be positive, got {self.diagnostics_period_s}")
        if self.transport not in ("raw", "compressed"):
            raise ValueError(f"transport must be 'raw' or 'compressed', got {self.transport!r}")


class RgbdPairSource:
    """A `robo4d.interfaces.CameraSource` that subscribes to two cameras.

    All its callbacks are in one group of their own: they exclude each other, but not the node's other work.
    """

    def __init__(
        self,
        node: Node,
        config: RgbdPairSourceConfig,
        *,
        on_pair: Callable[[RgbdPair], None] = lambda pair: None,
        frames: Frames | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: The node whose executor delivers the messages.
            config: Topics and tolerances.
            on_pair: Called with every new pair, from the executor.
            frames: Where the poses of the cameras are looked up. A camera that they do not know has no pose.
        """
        self._node, self._on_pair, self._frames, self._world_frame = node, on_pair, frames, config.world_frame
        self._sync = RgbdPairSync(
            config.sync,
            now_ns=time.monotonic_ns(),
            T_world_camera=self._T_world_camera,
            pairing=installed_pairing(),
        )
        self._latency_ms: list[float] = []
        self.problem = "see /diagnostics, and check that the camera drivers run"
        """What kept pairs from coming, as of the last report, for people."""
        group = MutuallyExclusiveCallbackGroup()
        for view, topics in (("n", config.n), ("m", config.m)):
            self._subscribe(view, topics, config.transport, group)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On the steady clock, so that it also reports when simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(config.diagnostics_period_s, self._report, callback_group=group, clock=steady)

    def latest(self) -> RgbdPair | None:
        """The newest complete pair, or None before the first."""
        return self._sync.latest()

    def _T_world_camera(self, camera: str, stamp_ns: int) -> Float[Array, "4 4"] | None:
        if self._frames is None:
            return None
        try:
            return self._frames.lookup(self._world_frame, camera, stamp_ns)
        except FrameError:
            return None

    def _subscribe(
        self, view: View, topics: CameraTopics, transport: str, group: MutuallyExclusiveCallbackGroup
    ) -> None:
        subscribe = functools.partial(self._node.create_subscription, qos_profile=IMAGE_QOS, callback_group=group)
        raw = transport == "raw"
        read_colour = images.rgb_from_image if raw else images.rgb_from_compressed
        read_depth = images.depth_from_image if raw else images.depth_from_compressed
        colour, depth = (
            (topics.colour, topics.depth)
            if raw
            else (
                f"{topics.colour}/compressed",
                f"{topics.depth}/compressedDepth",
            )
        )
        kind = Image if raw else CompressedImage
        subscribe(kind, colour, lambda message: self._take(self._sync.add_colour, view, message, read_colour))
        subscribe(kind, depth, lambda message: self._take(self._sync.add_depth, view, message, read_depth))
        read_info = functools.partial(images.intrinsics_from_camera_info, rectified=topics.rectified)
        subscribe(
            CameraInfo,
            topics.camera_info,
            lambda message: self._sync.add_camera_info(view, _stamped(message, read_info)),
        )

    def _take(
        self,
        add: Callable[..., RgbdPair | None],
        view: View,
        message: Image | CompressedImage,
        read: Callable[[Any], Array],
    ) -> None:
        pair = add(view, _stamped(message, read), now_ns=time.monotonic_ns())
        if pair is not None:
            self._latency_ms.append(1e-6 * (self._node.get_clock().now().nanoseconds - pair.stamp_ns))
            self._on_pair(pair)

    def _report(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        reports = self._sync.report(time.monotonic_ns())
        troubles = [f"{health.name}: {health.message}" for health in reports if health.level is not Level.OK]
        self.problem = "; ".join(troubles) or "the cameras deliver pairs now, try again"
        if self._latency_ms:
            reports[-1].values["latency_p50_ms"] = float(np.median(self._latency_ms))
            reports[-1].values["latency_max_ms"] = max(self._latency_ms)
        self._latency_ms = []
        message = DiagnosticArray(status=[status_from_health(health, node_name=name) for health in reports])
        message.header.stamp = stamp
        self._diagnostics.publish(message)


def status_from_health(health: Health, *, node_name: str) -> DiagnosticStatus:
    """What a part says of itself, as diagnostic_msgs has it."""
    return DiagnosticStatus(
        name=f"{node_name}: {health.name}",
        hardware_id=health.name,
        level=bytes([health.level]),
        message=health.message,
        values=[KeyValue(key=key, value=f"{value:.6g}") for key, value in health.values.items()],
    )


def installed_pairing() -> Callable[[int, int], Pairing[Any]]:
    """The pairing of message_filters where it is installed, else our own."""
    return ApproximateTime if importlib.util.find_spec("message_filters") is None else MessageFiltersPairing


class MessageFiltersPairing:
    """A `robo4d.pairing.Pairing` by message_filters.ApproximateTimeSynchronizer.

    That emits whatever fits when a message arrives, also pairs that go back in time; these are left out.
    """

    def __init__(self, slop_ns: int, queue_size: int) -> None:
        """Allow stamps to differ by `slop_ns` [ns], and `queue_size` items of each stream to wait."""
        self._slop_ns, self._queue_size = slop_ns, queue_size
        self._pairs: list[tuple[Any, Any]] = []
        self.reset()

    def add(self, stream: int, stamp_ns: int, item: Any) -> list[tuple[Any, Any]]:
        """See `Pairing.add`."""
        header = SimpleNamespace(stamp=Time(nanoseconds=stamp_ns))
        self._inputs[stream].signalMessage(SimpleNamespace(header=header, item=item))
        pairs, self._pairs = self._pairs, []
        return pairs

    def reset(self) -> None:
        """See `Pairing.reset`."""
        from message_filters import ApproximateTimeSynchronizer, SimpleFilter

        self._inputs = SimpleFilter(), SimpleFilter()
        # It takes seconds, cuts them off to nanoseconds, and excludes the slop itself.
        slop_s = 1e-9 * (self._slop_ns + 1.5)
        self._synchronizer = ApproximateTimeSynchronizer(self._inputs, self._queue_size, slop_s)
        self._synchronizer.registerCallback(self._take)
        self._newest_ns = (-1, -1)

    def _take(self, first: Any, second: Any) -> None:
        stamps_ns = first.header.stamp.nanoseconds, second.header.stamp.nanoseconds
        if stamps_ns[0] > self._newest_ns[0] and stamps_ns[1] > self._newest_ns[1]:
            self._pairs.append((first.item, second.item))
            self._newest_ns = stamps_ns


def _stamped(message: Image | CompressedImage | CameraInfo, read: Callable[[Any], Any]) -> Stamped[Any]:
    stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
    return Stamped(stamp_ns=stamp_ns, frame_id=message.header.frame_id, read=functools.partial(read, message))
