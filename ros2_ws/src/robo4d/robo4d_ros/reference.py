"""`python -m robo4d_ros.reference`: what every node publishes, takes and can be set to, as Markdown, from the nodes.

Its output is docs/ros_reference.md; a test holds the two together.
"""

import importlib
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.action import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

NODES = ("sim", "generator", "tracker", "planner", "executor", "session", "recorder", "expert")
"""In the order of the data."""
_NOT_OURS = ("rosout", "parameter_events", "use_sim_time", "start_type_description_service")
"""Topics and parameters that every node of rclpy has."""
_SERVICES_NOT_OURS = ("rcl_interfaces", "type_description_interfaces")
"""Packages of the services that every node of rclpy has."""
_HEAD = """# Reference of the nodes

Generated from the nodes by `scripts/with_ros python -m robo4d_ros.reference`. Names without a leading `/` are relative:
a namespace goes before them. Parameters that a running node takes are marked; all others are set at its start.
"""


def reference() -> str:
    """The whole page."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"recorder": [Parameter("path", value=str(Path(folder) / "session.mcap"))]}
        return "\n".join([_HEAD, *(_section(name, given.get(name, [])) for name in NODES)])


def _section(name: str, overrides: Sequence[Parameter]) -> str:
    module = importlib.import_module(f"robo4d_ros.{name}_node")
    make: Callable[..., Node] = next(
        k for _, k in inspect.getmembers(module, inspect.isclass) if k.__module__ == module.__name__ and _is(k)
    )
    node = make(parameter_overrides=list(overrides))
    try:
        given = {parameter.name for parameter in overrides}
        parts = [f"## {name}\n\n{(module.__doc__ or '').strip()}\n", _topics(node), _calls(node), _set(node, given)]
    finally:
        getattr(node, "close", lambda: None)()
        node.destroy_node()
    return "\n".join(part for part in parts if part)


def _is(kind: type) -> bool:
    return issubclass(kind, Node)


def _topics(node: Node) -> str:
    rows = {
        (direction, _relative(end.topic_name, node), _type(end.msg_type), _qos(end.qos_profile))
        for direction, ends in (("out", node.publishers), ("in", node.subscriptions))
        for end in ends
        if end.topic_name.strip("/") not in _NOT_OURS
    }
    return _table(("", "topic", "type", "QoS"), sorted(rows))


def _calls(node: Node) -> str:
    rows = {
        (kind, _relative(end.srv_name, node), _type(end.srv_type))
        for kind, ends in (("service", node.services), ("calls service", node.clients))
        for end in ends
        if not end.srv_type.__module__.startswith(_SERVICES_NOT_OURS)
    }
    for kind, names_and_types in (
        ("action", get_action_server_names_and_types_by_node),
        ("sends goals to", get_action_client_names_and_types_by_node),
    ):
        found = names_and_types(node, node.get_name(), node.get_namespace())
        rows |= {(kind, _relative(name, node), types[0]) for name, types in found}
    return _table(("", "name", "type"), sorted(rows))


def _set(node: Node, given: set[str]) -> str:
    """The table of parameters; where a value was given here, the default is left open."""
    rows: list[tuple[str, ...]] = []
    for name, parameter in node.get_parameters_by_prefix("").items():
        if name not in _NOT_OURS:
            descriptor = node.describe_parameter(name)
            default = "" if name in given else _code(parameter.value)
            mark = "" if descriptor.read_only else " (while running)"
            rows.append((f"`{name}`", default, _legal(descriptor), descriptor.description + mark))
    return _table(("parameter", "default", "legal", "meaning"), rows)


def _legal(descriptor: ParameterDescriptor) -> str:
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    return f"{ranges[0].from_value:g} to {ranges[0].to_value:g}" if ranges else descriptor.additional_constraints


def _code(value: Any) -> str:
    listed = isinstance(value, Iterable) and not isinstance(value, str)
    return f"`{list(value) if listed else value!r}`"


def _qos(profile: QoSProfile) -> str:
    words = ["best effort" if profile.reliability == ReliabilityPolicy.BEST_EFFORT else "reliable"]
    words += ["latched"] if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else []
    return ", ".join([*words, f"depth {profile.depth}"])


def _relative(name: str, node: Node) -> str:
    """Without the root namespace, except where the node asks for an absolute name."""
    absolute = ("/tf", "/tf_static", "/diagnostics")
    return name if name in absolute else name.removeprefix(node.get_namespace())


def _type(kind: type) -> str:
    package, folder, *_ = kind.__module__.split(".")
    return f"{package}/{folder}/{kind.__name__}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""])


def main() -> None:
    """Print the page."""
    rclpy.init()
    with suppress(KeyboardInterrupt):
        sys.stdout.write(reference())
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
