"""The state machine that decides, at every tick, what the arms are commanded. The only source of commands."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.execution import admission
from robo4d.execution.admission import AdmissionConfig, AdmittedPlan, ForwardKinematics, Refused
from robo4d.execution.grippers import Grippers
from robo4d.execution.jog import JogConfig
from robo4d.execution.outputs import Finished, Outputs, State, Transition
from robo4d.execution.run import PlanRun, RateConfig
from robo4d.execution.targets import ArmTarget, GripperCommand, Inputs
from robo4d.execution.teleop import TeleopConfig, Teleoperation
from robo4d.execution.watchdog import Alarm, Condition, Reaction, Watchdog, WatchdogConfig
from robo4d.plan import Plan

MIN_SPEED = 0.1
"""Slowest passage along a plan, as a share of its own speed."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """All that can be chosen."""

    period_s: float = 0.01
    """From tick to tick [s]."""
    gripper_timeout_s: float = 5.0
    """How long a plan waits for a gripper [s]; a Franka hand takes about 1 s."""
    pause_on_gripper_failure: bool = True
    """Pause when a gripper fails or does not answer; otherwise go on with the plan."""
    hold_to_run: bool = False
    """Execute plans only while the operator holds the switch `run`: wise for the first sessions with a robot."""
    rate: RateConfig = field(default_factory=RateConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    teleop: TeleopConfig = field(default_factory=TeleopConfig)
    jog: JogConfig = field(default_factory=JogConfig)

    def __post_init__(self) -> None:
        """Refuse a clock that stands still."""
        if not 0 < self.period_s <= 0.1 or self.gripper_timeout_s <= 0:
            raise ValueError(f"period_s must be in (0, 0.1] and gripper_timeout_s positive, got {self}")


class Executor:
    """Executes plans and teleoperation.

    Requests (`execute`, `pause` ...) are answered at once and take effect with the next `step`. It has no clock and no
    threads of its own.
    """

    def __init__(
        self,
        arms: Sequence[str],
        config: ExecutorConfig,
        *,
        forward: Mapping[str, ForwardKinematics] | None = None,
        with_courses: bool = False,
    ) -> None:
        """Command nothing yet.

        Args:
            arms: Their names.
            config: All that can be chosen.
            forward: Kinematics by which what an arm's controller tells is checked before the first command.
            with_courses: Whether `Outputs.courses` are needed.
        """
        self._arms, self._config, self._forward = tuple(arms), config, dict(forward or {})
        self._with_courses = with_courses
        self._watchdog = Watchdog(arms, config.watchdog)
        self._grippers = Grippers(config.gripper_timeout_s)
        self._state = State.IDLE
        self._speed = self._speed_scale = 1.0
        self._commanded: dict[str, ArmTarget] = {}
        self._emitted: dict[str, deque[Float[Array, "4 4"]]] = {}
        self._executed: dict[str, int] = {}
        self._run: PlanRun | None = None
        self._plan_id = ""
        self._teleop: Teleoperation | None = None
        self._pressed = False
        self._ending = _Ending(State.READY, success=False, code="", reason="")
        self._course_due = False
        self._transitions: list[Transition] = []
        self._finished: Finished | None = None
        self._inputs = Inputs(ros_now_ns=0, readings={})
        self._alarms: list[Alarm] = [Alarm(Condition.STATE_MISSING, arm) for arm in arms]

    @property
    def state(self) -> State:
        """What it does now."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether the arms move, or may move by themselves."""
        return self._run is not None or self._teleop is not None

    def admit(self, plan: Plan) -> AdmittedPlan:
        """Prepare a plan for `execute`. Takes a tenth of a second, and may be called from another thread.

        Raises:
            Refused: the plan may never be executed.
        """
        return admission.admit(plan, self._arms, self._config.admission, self._config.rate)

    def execute(self, plan: AdmittedPlan, plan_id: str, *, speed_scale: float = 1.0) -> None:
        """Begin an approved plan with the next tick.

        Args:
            plan: What `admit` gave.
            plan_id: Its name, never used twice.
            speed_scale: Pass along it at this share of its own speed, 0.1 to 1.

        Raises:
            Refused: the plan or the present situation does not allow it.
        """
        if self._state not in (State.IDLE, State.READY, State.HOLD):
            raise Refused("busy", f"the executor is {self._state.value}: wait, call `stop`, or `reset` a fault")
        if plan_id in self._executed:
            raise Refused("executed_before", f"plan {plan_id} was executed before: observe and plan again")
        if grave := [alarm for alarm in self._alarms if alarm.condition.reaction >= Reaction.HOLD]:
            raise Refused(grave[0].code, grave[0].message)
        if self._config.hold_to_run and not self._inputs.switches.run:
            raise Refused(
                "deadman_released", "hold the switch `run` while a plan is executed, or set hold_to_run false"
            )
        _check_speed(speed_scale)
        ros_now_ns, limits = self._inputs.ros_now_ns, self._config.admission
        admission.check_age(plan.stamp_ns, ros_now_ns, limits)
        admission.check_start(plan.path, self._inputs.readings, limits)
        self._arm(tolerance=1.0)
        start = {name: self._commanded[name] for name in plan.path.arms}
        self._run = PlanRun(plan.path, plan.events, start, config=self._config.rate, period_s=self._config.period_s)
        # Older plans are refused for their age, so that their names need not be kept.
        oldest_ns = ros_now_ns - round(1e9 * limits.max_observation_age_s)
        self._executed = {name: stamp_ns for name, stamp_ns in self._executed.items() if stamp_ns >= oldest_ns}
        self._executed[plan_id] = plan.stamp_ns
        self._plan_id, self._speed_scale = plan_id, speed_scale
        self._watchdog.start(self._inputs.readings)
        self._course_due = True
        self._go(State.EXECUTING, "execute", f"plan {plan_id}")

    def pause(self) -> None:
        """Come to rest on the path; Refused where no plan is executed."""
        if self._state is not State.EXECUTING:
            raise Refused("not_executing", f"nothing to pause: the executor is {self._state.value}")
        self._pause("pause", "paused by the operator")

    def resume(self) -> None:
        """Go on with a paused plan; Refused where there is none, or the cause persists."""
        if self._state is not State.PAUSED:
            raise Refused("not_paused", f"nothing to resume: the executor is {self._state.value}")
        if self._alarms:
            raise Refused(self._alarms[0].code, self._alarms[0].message)
        self._course_due = True
        self._go(State.EXECUTING, "resume", "resumed by the operator")

    def stop(self, code: str = "stop", reason: str = "stopped by the operator") -> None:
        """Come to rest, on the path where there is one, and give up what is being done. Never refused."""
        if self._state in (State.EXECUTING, State.PAUSED, State.TELEOP):
            self._stop(State.READY, code, reason)

    def reset(self) -> None:
        """Forget the last commands, so that the next ones start from where the arms are; Refused while they move."""
        if self._state not in (State.READY, State.HOLD, State.FAULT, State.IDLE):
            raise Refused("busy", f"the executor is {self._state.value}: call `stop` first")
        if faults := [alarm for alarm in self._alarms if alarm.condition.reaction is Reaction.FAULT]:
            raise Refused(faults[0].code, faults[0].message)
        self._commanded, self._emitted = {}, {}
        self._go(State.IDLE, "reset", "reset by the operator")

    def set_speed(self, scale: float) -> None:
        """Slow down everything that is executed from now on, on top of its own scale; Refused outside of 0.1 to 1."""
        _check_speed(scale)
        self._course_due |= self._state is State.EXECUTING and scale != self._speed
        self._speed = scale

    def step(self, now_ns: int, inputs: Inputs) -> Outputs:
        """One tick.

        Args:
            now_ns: The present on a clock that never jumps [ns].
            inputs: The newest of everything.
        """
        self._inputs = inputs
        self._alarms = self._watchdog.check(now_ns, inputs, self._commanded)
        self._switches(now_ns)
        gripper_alarms = self._grippers.check(now_ns, inputs.gripper_outcomes)
        self._react([*self._alarms, *gripper_alarms, *self._operator_alarms(now_ns)])
        due, self._course_due = self._course_due and self._with_courses, False
        courses = self._run.course(self._target_speed) if due and self._run else None
        try:
            gripper_commands = self._move(now_ns)
        except ValueError as error:  # nothing that is no finite rigid pose is ever commanded
            self._fault("invalid_target", f"{error}; reset, observe and plan again")
            gripper_commands = ()
        if self._state in (State.IDLE, State.FAULT):
            self._commanded, self._emitted = {}, {}
        for arm, target in self._commanded.items():
            self._emitted[arm].append(target.T_world_tcp)
        transitions, self._transitions = tuple(self._transitions), []
        finished, self._finished = self._finished, None
        return Outputs(
            state=self._state,
            targets=dict(self._commanded),
            courses=courses,
            gripper_commands=gripper_commands,
            transitions=transitions,
            finished=finished,
            alarms=(*self._alarms, *gripper_alarms),
            plan_id=self._plan_id,
            progress=self._run.progress if self._run else 0.0,
            phase=self._phase(),
        )

    def _arm(self, tolerance: float) -> None:
        """Know what all arms are commanded: what they last were, or where they are."""
        watchdog = self._config.watchdog
        for arm in self._arms:
            reading, commanded = self._inputs.readings[arm], self._commanded.get(arm)
            if commanded is not None:
                admission.check_following(
                    commanded,
                    reading,
                    arm,
                    position_m=tolerance * watchdog.tracking_position_m,
                    rotation_rad=tolerance * watchdog.tracking_rotation_rad,
                )
            elif arm in self._forward:
                admission.check_kinematics(arm, reading, self._forward[arm], self._config.admission)
        for arm in set(self._arms) - set(self._commanded):
            reading = self._inputs.readings[arm]
            self._commanded[arm] = ArmTarget(T_world_tcp=reading.T_world_tcp, joints=reading.joints)
            self._emitted[arm] = deque([reading.T_world_tcp], maxlen=3)

    def _switches(self, now_ns: int) -> None:
        """Take over when the dead-man's switch of teleoperation is pressed."""
        switches, before = self._inputs.switches, self._pressed
        self._pressed = switches.teleop
        fresh = now_ns - switches.arrival_ns <= 1e9 * self._config.teleop.deadline_s
        if before or not switches.teleop or not fresh or self._state in (State.TELEOP, State.FAULT):
            return
        if grave := [alarm for alarm in self._alarms if _stops_teleop(alarm)]:
            self._go(self._state, grave[0].code, grave[0].message)
            return
        try:
            self._arm(tolerance=2.0)  # twice as far as where it keeps the command: the operator can always back off
        except Refused as refusal:
            self._go(self._state, refusal.code, str(refusal))
            return
        self._end(_Ending(State.TELEOP, success=False, code="taken_over", reason="the operator took over"))
        watchdog = self._config.watchdog
        self._teleop = Teleoperation(
            self._emitted,
            now_ns=now_ns,
            config=self._config.teleop,
            jog=self._config.jog,
            leash=(watchdog.tracking_position_m, watchdog.tracking_rotation_rad),
            period_s=self._config.period_s,
        )
        self._go(State.TELEOP, "teleop", "the operator took over")

    def _operator_alarms(self, now_ns: int) -> list[Alarm]:
        """Of switches and inputs that are needed now."""
        switches, deadline_ns = self._inputs.switches, 1e9 * self._config.teleop.deadline_s
        if self._state is State.EXECUTING and self._config.hold_to_run:
            held = switches.run and now_ns - switches.arrival_ns <= deadline_ns
            return [] if held else [Alarm(Condition.DEADMAN_RELEASED, "hold_to_run is set")]
        if self._teleop and self._state is State.TELEOP and switches.teleop:
            late = self._teleop.late(now_ns, self._inputs)
            return [Alarm(Condition.INPUT_LATE, f"{name}: for more than {1e-6 * deadline_ns:.0f} ms") for name in late]
        return []

    def _react(self, alarms: Sequence[Alarm]) -> None:
        """Do what the gravest alarm asks for in this state."""
        for alarm in sorted(alarms, key=lambda alarm: -alarm.condition.reaction):
            reaction = alarm.condition.reaction
            if reaction is Reaction.FAULT:
                if self._state not in (State.IDLE, State.FAULT):
                    self._fault(alarm.code, alarm.message)
            elif reaction is Reaction.HOLD and (
                self._state in (State.EXECUTING, State.PAUSED) or (self._state is State.TELEOP and _stops_teleop(alarm))
            ):
                self._stop(State.HOLD, alarm.code, alarm.message)
            elif (
                reaction is Reaction.PAUSE
                and self._state is State.EXECUTING
                and (self._config.pause_on_gripper_failure or alarm.condition not in _GRIPPER)
            ):
                self._pause(alarm.code, alarm.message)
        if self._state is State.TELEOP and not self._inputs.switches.teleop:
            self._stop(State.READY, "released", "the dead-man's switch was released")

    def _move(self, now_ns: int) -> tuple[GripperCommand, ...]:
        """Command what the state asks for; gives the gripper commands that are due."""
        commands: tuple[GripperCommand, ...] = ()
        if self._run:
            commands = self._follow_plan(now_ns, self._run)
        elif self._teleop:
            commands = self._follow_operator(now_ns, self._teleop)
        motion = self._run or self._teleop
        if self._state is State.STOPPING and (motion is None or motion.at_rest):
            self._end(self._ending)
            self._go(self._ending.state, self._ending.code, self._ending.reason)
        return commands

    def _follow_plan(self, now_ns: int, run: PlanRun) -> tuple[GripperCommand, ...]:
        if run.waiting and not self._grippers.busy:
            run.release()
            self._watchdog.rebias(self._inputs.readings)
            self._course_due = True
        events = run.tick(self._target_speed)
        self._commanded |= run.targets()
        if run.done and self._state is State.EXECUTING:
            self._end(_Ending(State.READY, success=True, code="ok", reason="the end of the plan was reached"))
            self._go(State.READY, "ok", "the end of the plan was reached")
        return tuple(self._grippers.command(e.arm, to_open=e.open, now_ns=now_ns, awaited=True) for e in events)

    def _follow_operator(self, now_ns: int, teleop: Teleoperation) -> tuple[GripperCommand, ...]:
        follows = self._state is State.TELEOP
        poses = teleop.tick(self._inputs) if follows else teleop.brake()
        self._commanded |= {arm: ArmTarget(T_world_tcp=T_world_tcp) for arm, T_world_tcp in poses.items()}
        changes = teleop.gripper_changes(self._inputs) if follows else {}
        return tuple(
            self._grippers.command(arm, to_open=to_open, now_ns=now_ns, awaited=False)
            for arm, to_open in changes.items()
        )

    @property
    def _target_speed(self) -> float:
        return max(MIN_SPEED, self._speed * self._speed_scale) if self._state is State.EXECUTING else 0.0

    def _pause(self, code: str, reason: str) -> None:
        self._course_due = True
        self._go(State.PAUSED, code, reason)

    def _stop(self, then: State, code: str, reason: str) -> None:
        self._ending = _Ending(then, success=False, code=code, reason=reason)
        self._course_due = True
        self._go(State.STOPPING, code, reason)

    def _fault(self, code: str, reason: str) -> None:
        self._end(_Ending(State.FAULT, success=False, code=code, reason=reason))
        self._go(State.FAULT, code, reason)

    def _end(self, ending: "_Ending") -> None:
        """Let go of the plan, if there is one, and of the motion."""
        if self._run:
            self._finished = Finished(
                plan_id=self._plan_id, success=ending.success, code=ending.code, reason=ending.reason
            )
        self._run, self._plan_id, self._teleop = None, "", None
        self._grippers.forget()

    def _go(self, state: State, code: str, reason: str) -> None:
        self._transitions.append(Transition(previous=self._state, state=state, code=code, reason=reason))
        self._state = state

    def _phase(self) -> str:
        if self._state is State.EXECUTING:
            return "gripper" if self._run and self._run.waiting else "moving"
        return self._state.value if self._state in (State.PAUSED, State.STOPPING) else ""


_GRIPPER = (Condition.GRIPPER_FAILED, Condition.GRIPPER_TIMEOUT)


@dataclass(frozen=True)
class _Ending:
    """How what is being stopped will have ended."""

    state: State
    success: bool
    code: str
    reason: str


def _check_speed(scale: float) -> None:
    if not MIN_SPEED <= scale <= 1:
        raise Refused("speed_scale", f"speed_scale must be in [{MIN_SPEED}, 1], got {scale}")


def _stops_teleop(alarm: Alarm) -> bool:
    """Whether an operator must not move the arms either; nobody else need be alive for that."""
    return alarm.condition.reaction >= Reaction.HOLD and alarm.condition is not Condition.HEARTBEAT_LOST
