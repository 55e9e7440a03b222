"""Hears everything that is said on topics, and keeps it."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from robo4d_ros.bag.mcap_file import McapFile

_DEPTH = 100
"""Messages of one topic that may wait to be written."""
_LOOK_PERIOD_S = 0.2
"""How often new topics are looked for [s]. What is said on one before it is found is lost, unless it is latched."""


class Recorder:
    """Subscribes to every topic that has a publisher, with the quality of service that the publishers offer."""

    def __init__(self, node: Node, file: McapFile, *, checkpoint_s: float, leave_out: Sequence[str]) -> None:
        """Record from now on.

        Args:
            node: The node.
            file: Where messages go.
            checkpoint_s: How often they are made safe [s].
            leave_out: Topics whose names end with one of these are not recorded.
        """
        self._node, self._file, self._leave_out = node, file, tuple(leave_out)
        self._topics: set[str] = set()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_LOOK_PERIOD_S, self._look_around, clock=steady)
        node.create_timer(checkpoint_s, file.checkpoint, clock=steady)
        self._look_around()

    def _look_around(self) -> None:
        for topic, types in self._node.get_topic_names_and_types():
            if topic in self._topics or topic.endswith(self._leave_out) or not self._node.count_publishers(topic):
                continue
            self._topics.add(topic)
            try:
                kind = message_class(types[0])
            except (ImportError, AttributeError) as error:
                self._node.get_logger().warning(f"{topic} is not recorded, its type is not installed: {error}")
                continue
            offered = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
            self._node.create_subscription(kind, topic, self._keep(topic, types[0]), compatible_qos(offered), raw=True)

    def _keep(self, topic: str, type_name: str) -> Callable[[bytes], None]:
        def keep(data: bytes) -> None:
            self._file.write(topic, type_name, data, stamp_ns=self._node.get_clock().now().nanoseconds)

        return keep


def compatible_qos(offered: Sequence[QoSProfile]) -> QoSProfile:
    """The best that all publishers of a topic offer."""
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=_DEPTH,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def message_class(type_name: str) -> type[Any]:
    """The class of a type such as "sensor_msgs/msg/Image"."""
    package, _, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
