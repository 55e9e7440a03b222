import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import pytest
import rclpy
from rcl_interfaces.srv import DescribeParameters
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from robo4d_ros import parameters


@dataclass(frozen=True, kw_only=True)
class Limits:
    low: float = 0.0
    high: float = 1.0
    """Upper end [m],
    above the lower."""

    def __post_init__(self):
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A config with every kind of field."""

    rate_hz: float = field(default=30.0, metadata={"range": (1.0, 100.0)})
    """Images a second [Hz]."""
    steps: int = field(default=25, metadata={"range": (1, 200)})
    mode: Literal["fast", "good"] = "fast"
    names: tuple[str, ...] = ("left", "right")
    loop: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)


@pytest.fixture
def make_node(probe):
    """A node that serves its parameters, started with the given ones."""
    made = []

    def make(**given):
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in given.items()]
        node = rclpy.create_node("configured", context=probe.context, parameter_overrides=overrides)
        made.append(node)
        return node

    yield make
    for node in made:
        node.destroy_node()


@pytest.fixture
def serve(probe):
    """Let a node answer while the test asks."""
    import threading

    executor = SingleThreadedExecutor(context=probe.context)
    thread = threading.Thread(target=executor.spin, daemon=True)

    def serve(node):
        executor.add_node(node)
        thread.start()

    yield serve
    executor.shutdown()
    thread.join()


def test_defaults_are_the_dataclass_and_given_values_win(make_node):
    node = make_node(rate_hz=50.0, names=["right"], limits__high=2.0)
    config = parameters.declare(node, Config())
    assert config == Config(rate_hz=50.0, names=("right",), limits=Limits(high=2.0))
    assert node.get_parameter("limits.low").value == 0.0


def test_other_nodes_read_and_set_what_the_node_then_uses(make_node, serve, probe):
    changes = []
    node = make_node()
    parameters.declare(node, Config(), prefix="video.", on_change=changes.append)
    serve(node)
    assert probe.get_parameters("configured", "video.mode", "video.names") == ["fast", ["left", "right"]]
    assert probe.set_parameter("configured", "video.limits.high", 3.0).successful
    assert probe.set_parameter("configured", "video.mode", "good").successful
    assert probe.get_parameters("configured", "video.limits.high") == [3.0]
    assert changes[-1] == Config(mode="good", limits=Limits(high=3.0))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("rate_hz", 500.0, "range"),
        ("steps", 0, "range"),
        ("mode", "best", "one of fast, good"),
        ("limits.low", 1.0, "low must be below high"),
        ("loop", "yes", "type"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason_and_changes_nothing(make_node, serve, probe, name, value, reason):
    changes = []
    node = make_node()
    parameters.declare(node, Config(), on_change=changes.append)
    before = node.get_parameter(name).value
    serve(node)
    result = probe.set_parameter("configured", name, value)
    assert not result.successful
    assert reason in result.reason
    assert probe.get_parameters("configured", name) == [before]
    assert changes == []


def test_without_a_listener_parameters_are_read_only(make_node, serve, probe):
    node = make_node()
    parameters.declare(node, Config())
    serve(node)
    result = probe.set_parameter("configured", "steps", 10)
    assert not result.successful
    assert "read-only" in result.reason


def test_descriptions_and_ranges_come_from_the_dataclass(make_node, serve, probe):
    node = make_node()
    parameters.declare(node, Config())
    serve(node)
    request = DescribeParameters.Request(names=["rate_hz", "steps", "mode", "limits.high"])
    rate, steps, mode, high = probe.call(DescribeParameters, "configured/describe_parameters", request).descriptors
    assert rate.description == "Images a second [Hz]."
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (1.0, 100.0)
    assert (steps.integer_range[0].from_value, steps.integer_range[0].to_value) == (1, 200)
    assert mode.additional_constraints == "one of fast, good"
    assert high.description == "Upper end [m], above the lower."


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"rate_hz": 1e6}, InvalidParameterValueException),
        ({"rate_hz": "fast"}, InvalidParameterTypeException),
        ({"mode": "best"}, ValueError),
        ({"limits__high": -1.0}, ValueError),
    ],
)
def test_a_node_with_impossible_parameters_does_not_start(make_node, given, error):
    with pytest.raises(error):
        parameters.declare(make_node(**given), Config())


def test_a_field_that_no_parameter_can_hold_is_named(make_node):
    @dataclass(frozen=True)
    class Wrong:
        table: dict = field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Wrong\.table"):
        parameters.declare(make_node(), Wrong())
