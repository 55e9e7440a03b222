"""What the executor does at a tick, and tells about it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from robo4d.execution.targets import ArmTarget, GripperCommand, JointCourse
from robo4d.execution.watchdog import Alarm


class State(enum.Enum):
    """What the executor does."""

    IDLE = "idle"
    """Nothing was commanded yet: nothing is published."""
    READY = "ready"
    """Holds the last command, and takes plans and teleoperation."""
    TELEOP = "teleop"
    EXECUTING = "executing"
    PAUSED = "paused"
    """Comes to rest on the path, and waits there for `resume` or `stop`."""
    STOPPING = "stopping"
    HOLD = "hold"
    """Stopped by a watchdog: holds the last command. Plans and teleoperation are taken once the cause is gone."""
    FAULT = "fault"
    """The arm does not follow: nothing is published until `reset`."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A change of state, or with both states the same, a refusal to change it."""

    previous: State
    state: State
    code: str
    """Name of the request or the condition that caused it."""
    reason: str
    """The same as a sentence."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of an execution."""

    plan_id: str
    success: bool
    """Whether the end of the plan was reached."""
    code: str
    """ "ok", or the name of what ended it."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to do after a tick."""

    state: State
    targets: Mapping[str, ArmTarget]
    """To be commanded now, by arm; empty where nothing is to be commanded."""
    courses: Mapping[str, JointCourse] | None
    """Where the joints go from now until they rest; given whenever that has changed."""
    gripper_commands: tuple[GripperCommand, ...]
    """To be sent once."""
    transitions: tuple[Transition, ...]
    """Since the last tick."""
    finished: Finished | None
    """The execution that ended in this tick."""
    alarms: tuple[Alarm, ...]
    """Conditions met now, the gravest first, whether they matter in this state or not."""
    plan_id: str
    """The plan in execution; empty where there is none."""
    progress: float
    """Share of it that is done."""
    phase: str
    """ "moving", "gripper", "paused", "stopping", or empty."""
