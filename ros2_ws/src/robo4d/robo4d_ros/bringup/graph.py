"""The table of nodes: what is started, when, with which parameters, and what happens when it ends."""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ament_index_python import get_package_share_path

from robo4d_ros.parameters import field_docs
from robo4d_ros.transport import NETWORK, THIS_MACHINE

OnExit = Literal["shutdown", "restart", "ignore"]
"""What the end of a node means: the end of all, a new start after a while, or nothing."""
_SIM_PATIENCE: dict[str, dict[str, bool | int | float | str]] = {
    "executor": {
        "executor.period_s": 0.02,
        "executor.watchdog.state_timeout_s": 5.0,
        "executor.watchdog.late_tick_s": 5.0,
        "executor.watchdog.heartbeat_timeout_s": 5.0,
        "executor.watchdog.tracking_position_m": 0.1,
        "executor.watchdog.tracking_rotation_rad": 0.5,
    },
    "generator": {"max_age_s": 5.0, "max_wait_s": 12.0},
    "tracker": {"max_state_age_s": 2.0},
    "planner": {"planner.gates.max_state_age_s": 5.0, "planner.gates.max_observation_age_s": 300.0},
    "session": {"max_state_age_s": 5.0, "max_silence_s": 15.0},
}
"""Simulated arms share their computer with everything else: on a busy one, physics falls behind the clock, and messages
come late. Nobody is hurt; on a robot, all of these would stop it. The cell takes no more than 50 targets a second."""


@dataclass(frozen=True, kw_only=True)
class BringupConfig:
    """The arguments of bringup, given as `name:=value`. Names, defaults and help are written only here."""

    sim: bool = False
    """Start the simulated cell, which stands for cameras and arms."""
    task: str = "store_cereal_box_under_shelf"
    """What the robot shall do; the simulated cell is set up for it."""
    seed: int = 0
    """Start of the simulated episode."""
    expert: bool = False
    """Start the scripted expert, which does the task in simulation."""
    generator: str = ""
    """What imagines the future: oracle (of the simulated cell), tiny (which ships) or a folder of weights. Starts
    tracker, planner, executor and session, too. They work on the cameras and arms that are there, or on sim:=true."""
    readout: Literal["tracker", "plan_head", "fused"] = "tracker"
    """Who tells where the grippers go in a video: the tracker, the generator that drew it, or both."""
    opening: Literal["search", "centroids"] = "search"
    """What the tracker decides on whether a gripper is open: fingers fitted to all points, or the distance of their
    centroids with the paper's threshold for the task."""
    session: bool = True
    """Start the session, which drives the loop from session/start on; false leaves that to somebody else."""
    auto_approve: bool = False
    """Execute accepted plans without a review: in simulation only."""
    robot: Literal["fer", "fr3"] = "fer"
    """Model of the arms: fer (Panda) or fr3."""
    bag: str = ""
    """Record all topics into this MCAP file, which must not be there yet."""
    rviz: bool = False
    """Start RViz, where it is installed."""
    namespace: str = ""
    """Put before all relative names, such as "cell_2"."""
    params_file: str = ""
    """YAML file with ROS parameters of any node, for what differs from the defaults."""
    network: bool = False
    """Let nodes on other machines take part; without it everything stays on loopback."""
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    """Least severity of the log lines to show."""

    def __post_init__(self) -> None:
        """Refuse what could not start."""
        if self.params_file and not Path(self.params_file).is_file():
            raise ValueError(f"params_file:={self.params_file} does not exist")
        if self.expert and not self.sim:
            raise ValueError("expert:=true needs sim:=true: the expert knows where the objects are only in simulation")
        if self.expert and self.generator:
            raise ValueError("expert:=true and generator:= both command the arms: choose one")
        if self.generator == "oracle" and not self.sim:
            raise ValueError("generator:=oracle needs sim:=true: only the simulated cell's future is known")
        if self.auto_approve and not self.sim:
            raise ValueError("auto_approve:=true needs sim:=true: on a robot, every plan is approved by the operator")


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One process."""

    executable: str
    """Name of the executable in the package, and of the node; ours have the module robo4d_ros.<executable>_node."""
    package: str = "robo4d"
    """ROS package that it belongs to."""
    arguments: tuple[str, ...] = ()
    """Before those of ROS."""
    namespace: str = ""
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """What bringup's arguments say; the node has the defaults of all else."""
    params_file: str = ""
    """The user's file of parameters, read after `parameters`."""
    log_level: str = "info"
    on_exit: OnExit = "shutdown"

    @property
    def module(self) -> str:
        """The Python module whose `main` is the node."""
        return f"robo4d_ros.{self.executable}_node"


def nodes(config: BringupConfig) -> list[NodeSpec]:
    """The nodes to start.

    Raises:
        ValueError: there is none.
    """
    task, robot, opening = {"task": config.task}, {"robot": config.robot}, _opening(config)
    heard = {"heeds_generator": False} if config.generator == "oracle" else {}
    works, patience = bool(config.generator), _SIM_PATIENCE if config.sim else {}
    session = {"session.auto_approve": config.auto_approve, "session.max_attempts": 6 if config.auto_approve else 3}
    table: list[tuple[bool, str, OnExit, dict[str, bool | int | float | str]]] = [
        # started if, executable, when it ends, parameters
        (config.sim, "sim", "shutdown", {**task, "seed": config.seed}),
        (config.expert, "expert", "ignore", task),
        (works, "executor", "shutdown", robot),
        (works, "generator", "restart", {**task, **robot, "generator": config.generator}),
        (works, "tracker", "restart", {**robot, **opening, **heard, "source": config.readout}),
        (works, "planner", "restart", {"cell.robot": config.robot}),
        (bool(config.bag), "recorder", "ignore", {"path": config.bag}),
        (works and config.session, "session", "restart", session),
    ]
    common = {"namespace": config.namespace, "params_file": config.params_file, "log_level": config.log_level}
    specs = [
        NodeSpec(executable=executable, parameters=parameters | patience.get(executable, {}), on_exit=on_exit, **common)
        for started, executable, on_exit, parameters in table
        if started
    ]
    if config.rviz:
        view = ("-d", str(get_package_share_path("robo4d") / "rviz/robo4d.rviz"))
        specs.append(NodeSpec(executable="rviz2", package="rviz2", arguments=view, on_exit="ignore", **common))
    if not specs:
        raise ValueError(
            "nothing to start: generator:=tiny starts the loop on your cameras and arms, sim:=true the simulated cell; "
            "--show-args lists all arguments"
        )
    return specs


def _opening(config: BringupConfig) -> dict[str, bool | int | float | str]:
    if config.opening == "search":
        return {}
    from robo4d.tracking import PAPER_THRESHOLDS_M  # half a second, seldom needed

    if config.task not in PAPER_THRESHOLDS_M:
        raise ValueError(
            f"opening:=centroids: the paper has no threshold for task:={config.task}, only for "
            f"{', '.join(PAPER_THRESHOLDS_M)}; set the tracker's readout.opening and readout.open_rule.threshold_m in "
            "params_file"
        )
    return {"readout.opening": "centroids", "readout.open_rule.threshold_m": PAPER_THRESHOLDS_M[config.task]}


def environment(config: BringupConfig) -> dict[str, str]:
    """Variables of every process: how messages travel, who hears them, how threads wait. What the user set stays.

    Threads of torch and its kind wait for each other in a loop, which costs the other nodes their share of a busy
    processor: a model becomes six times slower. Passive ones sleep.
    """
    wanted = {"OMP_WAIT_POLICY": "PASSIVE"} | _transport(config)
    if config.network:  # asked for now, so it wins over what scripts/env.sh has set before
        return wanted
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _transport(config: BringupConfig) -> dict[str, str]:
    if not os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET" if config.network else "LOCALHOST"}
    return NETWORK | {"FASTRTPS_DEFAULT_PROFILES_FILE": ""} if config.network else THIS_MACHINE


def arguments() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, default, help and legal values (empty: any) of each argument, as text."""
    docs = field_docs(BringupConfig)
    return [(f.name, _text(f.default), docs[f.name], _choices(f)) for f in dataclasses.fields(BringupConfig)]


def parse(values: Mapping[str, str]) -> BringupConfig:
    """The config from texts.

    Raises:
        ValueError: an unknown name, with the nearest known one, or an illegal value.
    """
    fields = {f.name: f for f in dataclasses.fields(BringupConfig)}
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            raise ValueError(f"no argument `{name}`.{hint} Arguments: {', '.join(fields)}")
    return BringupConfig(**{name: _value(fields[name], text) for name, text in values.items()})


def _choices(argument: dataclasses.Field) -> tuple[str, ...]:
    if isinstance(argument.default, bool):
        return ("true", "false")
    return getattr(argument.type, "__args__", ())


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(argument: dataclasses.Field, text: str) -> bool | int | str:
    choices = _choices(argument)
    text = text.lower() if isinstance(argument.default, bool) else text
    if choices and text not in choices:
        raise ValueError(f"{argument.name}:={text} must be one of {', '.join(choices)}")
    if isinstance(argument.default, bool):
        return text == "true"
    try:
        return type(argument.default)(text)
    except ValueError:
        raise ValueError(f"{argument.name}:={text} must be a number") from None
