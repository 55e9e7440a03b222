"""When the arms must not move on: the conditions by name, each with its fix, and what each of them asks for."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.execution.targets import ArmReading, ArmTarget, Inputs
from robo4d.geometry import se3


class Reaction(enum.IntEnum):
    """What a condition asks for; the greater one wins."""

    PAUSE = 1
    """Come to rest on the path; `resume` goes on."""
    HOLD = 2
    """Come to rest on the path, and give the plan up."""
    FAULT = 3
    """Command nothing more until `reset`."""


class Condition(enum.Enum):
    """Why the arms must not move on: (reaction, how to fix it)."""

    TRACKING_ERROR = (
        Reaction.PAUSE,
        "the arm does not follow its target: look for an obstacle or low stiffness, then resume, stop or take over",
    )
    CONTACT = (
        Reaction.PAUSE,
        "the external force or torque is above its limit: free the arm or take over, then resume; `stop` gives up",
    )
    GRIPPER_FAILED = (
        Reaction.PAUSE,
        "the gripper did not do as told: `resume` goes on regardless, `stop` lets a new plan be made",
    )
    GRIPPER_TIMEOUT = (
        Reaction.PAUSE,
        "the gripper gives no result: check its node and home it; `resume` goes on regardless, `stop` gives up",
    )
    DEADMAN_RELEASED = (Reaction.PAUSE, "the dead-man's switch was released: press it, then resume")
    STATE_MISSING = (Reaction.HOLD, "the arm has told nothing yet: start its driver, and check the topic current_pose")
    STATE_STALE = (
        Reaction.HOLD,
        "the arm's state is late: check its driver and network, and synchronize the clocks of the computers (chrony)",
    )
    STATE_INVALID = (Reaction.HOLD, "the arm's state is not finite or no rigid pose: restart its driver")
    SECOND_PUBLISHER = (
        Reaction.HOLD,
        "another node publishes on a command topic, and the controller may ignore both: end it, or route it through "
        "the executor's teleoperation topics",
    )
    CLOCK_JUMPED = (
        Reaction.HOLD,
        "the clock of the messages jumped: restart what plays /clock, or check NTP; then plan again",
    )
    EXECUTOR_LATE = (
        Reaction.HOLD,
        "the executor was not scheduled in time: take load from its computer, or raise its priority; then plan again",
    )
    HEARTBEAT_LOST = (
        Reaction.HOLD,
        "a process that must watch over the execution is silent: restart it, then plan again",
    )
    INPUT_LATE = (
        Reaction.HOLD,
        "teleoperation input is late: check the device's driver and network; release the switch and press it again",
    )
    CONTROLLER_FAULT = (
        Reaction.FAULT,
        "the arm's controller has stopped: recover the robot, call `reset`, and plan again",
    )

    @property
    def reaction(self) -> Reaction:
        """What it asks for."""
        return self.value[0]


@dataclass(frozen=True)
class Alarm:
    """A condition that is met now."""

    condition: Condition
    detail: str
    """What was found: which arm, which number and its limit."""

    @property
    def code(self) -> str:
        """The condition's name."""
        return self.condition.name.lower()

    @property
    def message(self) -> str:
        """A sentence that says what was found and what to do about it."""
        return f"{self.code}: {self.condition.value[1]} ({self.detail})"


@dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """When to stop."""

    state_timeout_s: float = 0.1
    """An arm's state may be this old [s], by its stamp and by its arrival."""
    tracking_position_m: float = 0.03
    """Between commanded and measured TCP [m]: well below the 0.1 m at which CRISP's controller clips."""
    tracking_rotation_rad: float = 0.2
    force_n: float = 20.0
    """Above the force at the start and after each gripper action [N]."""
    torque_nm: float = 8.0
    """The same for the torque at the TCP [Nm]."""
    clock_jump_s: float = 0.5
    """The clock of the messages may differ this much from the steady clock from one tick to the next [s]."""
    late_tick_s: float = 0.25
    """A tick may follow the one before this late [s]."""
    heartbeats: tuple[str, ...] = ("session",)
    """Who must be alive while a plan is executed, by the names in their heartbeats; one empty name asks for none."""
    heartbeat_timeout_s: float = 0.5
    """How long each may be silent [s]."""

    def __post_init__(self) -> None:
        """Refuse limits that always or never hold."""
        limits = {name: value for name, value in vars(self).items() if name != "heartbeats"}
        if not all(0 < value < np.inf for value in limits.values()):
            raise ValueError(f"limits of the watchdog must be positive, got {limits}")


class Watchdog:
    """Compares what the arms tell with what they were commanded, and the clocks with each other."""

    def __init__(self, arms: Sequence[str], config: WatchdogConfig) -> None:
        """Watch over these arms."""
        self._arms, self._config = tuple(arms), config
        self._clocks_ns: tuple[int, int] | None = None
        self._bias: dict[str, Float[Array, "6"]] = {}

    def start(self, readings: Mapping[str, ArmReading]) -> None:
        """A plan begins: what was late before it did no harm."""
        self._clocks_ns = None
        self.rebias(readings)

    def rebias(self, readings: Mapping[str, ArmReading]) -> None:
        """Count wrenches from the present ones on: at the start, and when a gripper has taken or left an object."""
        self._bias = {arm: r.wrench for arm, r in readings.items() if r.wrench is not None and r.valid}

    def check(self, now_ns: int, inputs: Inputs, commanded: Mapping[str, ArmTarget]) -> list[Alarm]:
        """All conditions met now, the gravest first.

        Args:
            now_ns: The present on the steady clock [ns].
            inputs: What the arms tell.
            commanded: What they were last commanded.
        """
        alarms = [*self._clocks(now_ns, inputs.ros_now_ns), *self._heartbeats(now_ns, inputs)]
        if inputs.other_publishers:
            alarms.append(Alarm(Condition.SECOND_PUBLISHER, ", ".join(inputs.other_publishers)))
        for arm in self._arms:
            reading = inputs.readings.get(arm)
            if reading is None:
                alarms.append(Alarm(Condition.STATE_MISSING, arm))
                continue
            if reading.fault:
                alarms.append(Alarm(Condition.CONTROLLER_FAULT, f"{arm}: {reading.fault}"))
            age_s = 1e-9 * max(now_ns - reading.arrival_ns, inputs.ros_now_ns - reading.stamp_ns)
            if age_s > self._config.state_timeout_s:
                detail = f"{arm}: {1e3 * age_s:.0f} ms old, allowed are {1e3 * self._config.state_timeout_s:.0f} ms"
                alarms.append(Alarm(Condition.STATE_STALE, detail))
            if not reading.valid:
                alarms.append(Alarm(Condition.STATE_INVALID, arm))
                continue
            alarms += [*self._wrench(arm, reading), *self._tracking(arm, reading, commanded.get(arm))]
        return sorted(alarms, key=lambda alarm: -alarm.condition.reaction)

    def _clocks(self, now_ns: int, ros_now_ns: int) -> list[Alarm]:
        before, self._clocks_ns = self._clocks_ns, (now_ns, ros_now_ns)
        if before is None:
            return []
        gap_s, jump_s = 1e-9 * (now_ns - before[0]), 1e-9 * (ros_now_ns - before[1] - (now_ns - before[0]))
        alarms: list[Alarm] = []
        if gap_s > self._config.late_tick_s:
            alarms.append(Alarm(Condition.EXECUTOR_LATE, f"{gap_s:.2f} s from one tick to the next"))
        if abs(jump_s) > self._config.clock_jump_s:
            alarms.append(Alarm(Condition.CLOCK_JUMPED, f"by {jump_s:+.2f} s"))
        return alarms

    def _heartbeats(self, now_ns: int, inputs: Inputs) -> list[Alarm]:
        alarms: list[Alarm] = []
        for name in filter(None, self._config.heartbeats):
            heard_ns = inputs.heartbeats_ns.get(name)
            if heard_ns is None:
                alarms.append(Alarm(Condition.HEARTBEAT_LOST, f"{name}: never heard"))
            elif now_ns - heard_ns > 1e9 * self._config.heartbeat_timeout_s:
                alarms.append(Alarm(Condition.HEARTBEAT_LOST, f"{name}: silent for {1e-9 * (now_ns - heard_ns):.2f} s"))
        return alarms

    def _wrench(self, arm: str, reading: ArmReading) -> list[Alarm]:
        if reading.wrench is None:
            return []
        wrench = reading.wrench - self._bias.get(arm, np.zeros(6))
        force, torque = float(np.linalg.norm(wrench[:3])), float(np.linalg.norm(wrench[3:]))
        if force <= self._config.force_n and torque <= self._config.torque_nm:
            return []
        allowed = f"allowed are {self._config.force_n:g} N and {self._config.torque_nm:g} Nm"
        return [Alarm(Condition.CONTACT, f"{arm}: {force:.1f} N and {torque:.1f} Nm, {allowed}")]

    def _tracking(self, arm: str, reading: ArmReading, commanded: ArmTarget | None) -> list[Alarm]:
        if commanded is None:
            return []
        distance, angle = map(float, se3.distance(commanded.T_world_tcp, reading.T_world_tcp))
        position_m, rotation_rad = self._config.tracking_position_m, self._config.tracking_rotation_rad
        if distance <= position_m and angle <= rotation_rad:
            return []
        allowed = f"allowed are {1e3 * position_m:.0f} mm and {rotation_rad:.2f} rad"
        return [Alarm(Condition.TRACKING_ERROR, f"{arm}: {1e3 * distance:.1f} mm and {angle:.3f} rad, {allowed}")]
