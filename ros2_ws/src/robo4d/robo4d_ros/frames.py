"""Coordinate frames on /tf and /tf_static, through tf2 where it is installed. The only file that knows tf2."""

import importlib.util
from typing import Protocol

from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from robo4d_ros import conversions
from robo4d_ros.frame_tree import FrameError, FrameTree

TF_QOS = QoSProfile(depth=100)
"""As tf2_ros has it."""
TF_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""As tf2_ros has it: whoever comes later gets the static frames too."""


class Frames(Protocol):
    """Knows where frames are."""

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Float[Array, "4 4"]:
        """T_target_source at a time [ns], or at the newest common one.

        Raises:
            FrameError: the frames are not connected, or not at that time.
        """
        ...


def listen(node: Node) -> Frames:
    """Frames as the node hears of them, from now on."""
    return OwnFrames(node) if importlib.util.find_spec("tf2_ros") is None else Tf2Frames(node)


class OwnFrames:
    """Our own reader of /tf and /tf_static."""

    def __init__(self, node: Node) -> None:
        self._tree = FrameTree()
        self._logger = node.get_logger()
        node.create_subscription(TFMessage, "/tf", lambda message: self._add(message, static=False), TF_QOS)
        node.create_subscription(
            TFMessage, "/tf_static", lambda message: self._add(message, static=True), TF_STATIC_QOS
        )

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Float[Array, "4 4"]:
        """See `Frames.lookup`."""
        return self._tree.lookup(target, source, stamp_ns)

    def _add(self, message: TFMessage, *, static: bool) -> None:
        try:
            self._tree.learn(
                [(transform.header.frame_id, transform.child_frame_id) for transform in message.transforms],
                conversions.matrices_from_transforms([transform.transform for transform in message.transforms]),
                stamps_ns=[conversions.ns_from_time(transform.header.stamp) for transform in message.transforms],
                static=static,
            )
        except ValueError as error:
            self._logger.warning(f"ignored a frame on tf: {error}", throttle_duration_sec=5.0)


class Tf2Frames:
    """tf2's buffer, with its errors as ours."""

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._error: type[Exception] = tf2_ros.TransformException

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Float[Array, "4 4"]:
        """See `Frames.lookup`."""
        try:
            transform = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns or 0))
        except self._error as error:
            raise FrameError(f"transform from {source} to {target}: {error}") from None
        return conversions.matrix_from_transform(transform.transform)
