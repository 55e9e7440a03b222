"""ROS parameters from a frozen dataclass, the only place where names, defaults, documentation and checks are written.

The text under a field becomes the parameter's description, `metadata={"range": (lowest, highest)}` its range, a
`Literal` its list of legal values, and `__post_init__` refuses what does not fit together. Nested dataclasses give
dotted names, tuples arrays.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

T = TypeVar("T")


def declare(node: Node, default: T, *, prefix: str = "", on_change: Callable[[T], None] | None = None) -> T:
    """Declare every field of a config as a parameter.

    Args:
        node: The node that gets the parameters.
        default: An instance of a frozen dataclass, whose fields are bool, int, float, str, tuples of one of these, or
            dataclasses of such fields.
        prefix: Put before every name, such as "camera.".
        on_change: Called with the new config when parameters have been set at run time; without it they are
            read-only. What `__post_init__` refuses is refused to the caller, with its reason.

    Returns:
        The config with the values that were given to the node at its start.

    Raises:
        ValueError: a given value, or their combination, is refused.
        rclpy.exceptions.InvalidParameterException: a given value has the wrong type or is out of range.
    """
    values = {
        name: node.declare_parameter(prefix + name, field.ros_value, _descriptor(field, read_only=on_change is None))
        for name, field in _fields(default)
    }
    config = _replaced(default, {name: parameter.value for name, parameter in values.items()})
    if on_change is None:
        return config
    current = config

    def changed(parameters: list[Parameter]) -> T:
        given = {p.name.removeprefix(prefix): p.value for p in parameters if p.name.removeprefix(prefix) in values}
        return _replaced(current, given) if given else current

    def check(parameters: list[Parameter]) -> SetParametersResult:
        try:
            changed(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def apply(parameters: list[Parameter]) -> None:
        nonlocal current
        config = changed(parameters)
        if config != current:
            current = config
            on_change(config)

    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(apply)
    return config


@dataclasses.dataclass(frozen=True)
class _Field:
    """One field as a parameter."""

    value: Any
    doc: str
    hint: Any
    range: tuple[float, float] | None

    @property
    def ros_value(self) -> Any:
        """The value as rclpy takes it."""
        return list(self.value) if isinstance(self.value, tuple) else self.value


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, _Field]]:
    """All fields with their dotted names, those of nested dataclasses included."""
    hints, docs = get_type_hints(type(config)), field_docs(type(config))
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{name}.")
            continue
        sample = value[0] if isinstance(value, tuple) and value else value
        if not isinstance(sample, bool | int | float | str):
            raise TypeError(f"{type(config).__name__}.{field.name} = {value!r} cannot be a ROS parameter")
        yield name, _Field(value, docs.get(field.name, ""), hints[field.name], field.metadata.get("range"))


def _replaced(config: T, values: dict[str, Any]) -> T:
    """The config with the fields of these dotted names replaced."""
    own: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            nested = {name.split(".", 1)[1]: v for name, v in values.items() if name.startswith(f"{field.name}.")}
            own[field.name] = _replaced(value, nested)
        elif field.name in values:
            own[field.name] = tuple(values[field.name]) if isinstance(value, tuple) else values[field.name]
    _check_literals(config, own)
    return dataclasses.replace(config, **own)


def _check_literals(config: Any, values: dict[str, Any]) -> None:
    hints = get_type_hints(type(config))
    for name, value in values.items():
        if get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
            raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(hints[name])))}, got {value!r}")


def _descriptor(field: _Field, *, read_only: bool) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=field.doc, read_only=read_only)
    if get_origin(field.hint) is Literal:
        descriptor.additional_constraints = f"one of {', '.join(map(str, get_args(field.hint)))}"
    if field.range is None:
        return descriptor
    lowest, highest = field.range
    sample = field.value[0] if isinstance(field.value, tuple) else field.value
    if isinstance(sample, int):
        descriptor.integer_range = [IntegerRange(from_value=int(lowest), to_value=int(highest))]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(lowest), to_value=float(highest))]
    return descriptor


def field_docs(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass, on one line."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    except OSError:  # defined where there is no file, such as in an interactive session
        return {}
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
