"""What a session is told, what it asks for, and where it stands."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class State(enum.Enum):
    """Where a session stands; named as in robo4d_msgs/SessionState."""

    IDLE = "idle"
    TELEOP = "teleop"
    """The operator moves the arms."""
    HANDOVER = "handover"
    """Waits until the arms rest, after `start` or `resume`."""
    OBSERVE = "observe"
    """Waits for the generator to take an observation of the resting arms."""
    PLANNING = "planning"
    """A video is made, tracked and planned with."""
    REVIEW = "review"
    """The operator looks at the plan."""
    EXECUTING = "executing"
    PAUSED = "paused"
    HOLD = "hold"
    """Something has failed: `resume` observes again, `stop` gives up."""
    FAULT = "fault"
    """The arms do not follow: see the executor, and reset it."""


class Refused(ValueError):
    """A request that the session's state does not allow. Nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A plan as far as the session must know it."""

    plan_id: str
    stamp_ns: int
    """Exposure of the observation that it follows from [ns]."""
    refusal: str
    """Why it must not be executed, as code and sentence; empty where it may."""
    duration_s: float
    """0 where it holds no motion."""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Have a video made."""

    seed: int
    continues: str = ""
    """The plan at whose predicted end it starts; empty where it starts from the newest images."""


@dataclass(frozen=True, kw_only=True)
class Execute:
    """Have the plan executed."""

    plan_id: str
    speed_scale: float


class Request(enum.Enum):
    """What else is asked of the other parts."""

    CANCEL_GENERATION = "cancel generation"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


Command = Generate | Execute | Request


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A change of state."""

    previous: State
    state: State
    reason: str
    plan_id: str
    """The plan under review or in execution; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the session sees at every step."""

    now_ns: int
    """The present, on a clock that never jumps [ns]."""
    stamp_ns: int
    """The present, on the clock of the messages [ns]."""
    at_rest: bool
    """Whether all arms stand still, as far as they tell."""
    missing: Sequence[str] = ()
    """Names of nodes that are not there."""
