"""The executor and the simulated robot in one process: what their two nodes do over ROS, on the cell's own clock."""

from collections import deque
from collections.abc import Callable, Mapping

from robo4d.execution.admission import Refused
from robo4d.execution.executor import Executor, ExecutorConfig
from robo4d.execution.outputs import Finished, Outputs, State
from robo4d.execution.targets import (
    ArmReading,
    ArmTarget,
    GripperCommand,
    GripperOutcome,
    Inputs,
    JointCourse,
)
from robo4d.execution.watchdog import WatchdogConfig
from robo4d.plan import Plan
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import MountedArm, RobotState
from robo4d.sim.cell import Cell
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, MAX_WIDTH, ArmCommand, ArmState, CellState

_HELD_WIDTH = 0.002
"""Fingers that stop farther apart than this hold something [m]."""
_OPENED_WIDTH = MAX_WIDTH - 0.002
"""Fingers this far apart are open [m]."""
_STILL_TICKS, _STILL = 15, 0.0002
"""The fingers have come to rest when they moved less than this [m] in so many control ticks (0.3 s)."""
_REST_RAD_S, _REST_TICKS = 0.01, 10
"""An arm rests when no joint has been faster than this in so many control ticks (0.2 s)."""
_LONGEST_REST_S = 3.0
"""An arm that has not come to rest by then pushes against something."""
EXECUTOR = ExecutorConfig(watchdog=WatchdogConfig(heartbeats=("",)))
"""As in the lab, but with no other process to watch over."""


class CellGripper:
    """A gripper of the cell. Implements `robo4d.interfaces.Gripper` on the cell's clock."""

    def __init__(self) -> None:
        self.width = MAX_WIDTH
        """The opening to command [m]."""
        self._command: GripperCommand | None = None
        self._measured: deque[float] = deque(maxlen=_STILL_TICKS)
        self._outcomes: list[GripperOutcome] = []

    def command(self, command: GripperCommand) -> None:
        """See `Gripper.command`."""
        self.width = MAX_WIDTH if command.open else 0.0
        self._command = command
        self._measured.clear()

    def outcomes(self) -> tuple[GripperOutcome, ...]:
        """See `Gripper.outcomes`."""
        outcomes, self._outcomes = tuple(self._outcomes), []
        return outcomes

    def advance(self, measured_width: float) -> None:
        """Take the opening [m] after one control tick."""
        self._measured.append(measured_width)
        still = len(self._measured) == _STILL_TICKS and max(self._measured) - min(self._measured) < _STILL
        if self._command is None or not still:
            return
        done = measured_width > (_OPENED_WIDTH if self._command.open else _HELD_WIDTH)
        message = "" if done else f"the fingers stopped at {1e3 * measured_width:.1f} mm"
        self._outcomes.append(GripperOutcome(number=self._command.number, success=done, message=message))
        self._command = None


class CellRobot:
    """Both arms of a cell under an executor. Implements `robo4d.interfaces.Controller` for the cell.

    Args:
        cell: The cell, at the start of an episode.
        arms: What the executor checks the arms' own poses with.
        config: Of the executor.
    """

    def __init__(self, cell: Cell, arms: tuple[MountedArm, ...], config: ExecutorConfig = EXECUTOR) -> None:
        self._cell, self._state = cell, cell.state()
        forward = {arm.name: ArmKinematics(arm).forward for arm in arms}
        self._executor = Executor(ARMS, config, forward=forward)
        self._ticks = round(CONTROL_PERIOD_S / config.period_s)
        self._period_ns = round(1e9 * config.period_s)
        self._targets: dict[str, ArmTarget] = {}
        self._grippers = {arm: CellGripper() for arm in ARMS}
        self._plans = 0
        self._step()

    @property
    def now_ns(self) -> int:
        """The cell's clock [ns]."""
        return round(1e9 * self._state.time_s)

    @property
    def state(self) -> CellState:
        """The cell as it is now."""
        return self._state

    def joints(self) -> RobotState:
        """What the planner must know of the arms."""
        return RobotState(
            stamp_ns=self.now_ns,
            joints={arm: state.joints for arm, state in self._state.arms.items()},
            joint_velocities={arm: state.joint_velocities for arm, state in self._state.arms.items()},
        )

    def command(self, targets: Mapping[str, ArmTarget], courses: Mapping[str, JointCourse] | None) -> None:
        """See `Controller.command`."""
        self._targets = dict(targets)

    def faults(self) -> Mapping[str, str]:
        """See `Controller.faults`: simulated arms have none."""
        return {}

    def other_publishers(self) -> tuple[str, ...]:
        """See `Controller.other_publishers`: nobody else is in this process."""
        return ()

    def rest(self) -> None:
        """Wait until the arms stand still, as every look asks for; for three seconds at most."""
        calm = 0
        for _ in range(round(_LONGEST_REST_S / CONTROL_PERIOD_S)):
            self._step()
            moving = any(abs(arm.joint_velocities).max() > _REST_RAD_S for arm in self._state.arms.values())
            calm = 0 if moving else calm + 1
            if calm == _REST_TICKS:
                return

    def execute(self, plan: Plan, watch: Callable[[float], None] = lambda progress: None) -> Finished:
        """Execute a plan to its end. Where an operator would be asked, give it up: the next look goes on from there.

        Args:
            plan: What to do.
            watch: Told the share of the plan that is done after every control tick of the cell.
        """
        self._plans += 1
        name = f"plan {self._plans}"
        try:
            self._executor.execute(self._executor.admit(plan), name)
        except Refused as refusal:
            return Finished(plan_id=name, success=False, code=refusal.code, reason=str(refusal))
        while True:
            told = self._step()
            for outputs in told:
                if outputs.finished:
                    return outputs.finished
                for change in outputs.transitions:
                    if change.state is State.PAUSED:
                        self._executor.stop(change.code, change.reason)
            watch(told[-1].progress)

    def _step(self) -> list[Outputs]:
        """One control tick of the cell; gives what the executor's ticks that fall into it came to."""
        told: list[Outputs] = []
        for tick in range(self._ticks):
            now_ns = self.now_ns + tick * self._period_ns
            outputs = self._executor.step(now_ns, self._inputs(now_ns))
            self.command(outputs.targets, outputs.courses)
            for command in outputs.gripper_commands:
                self._grippers[command.arm].command(command)
            told.append(outputs)
        commands: dict[str, ArmCommand] = {}
        for arm, gripper in self._grippers.items():
            target = self._targets.get(arm)
            T_world_tcp = target.T_world_tcp if target else self._state.arms[arm].T_world_target
            commands[arm] = ArmCommand(T_world_tcp=T_world_tcp, gripper_width=gripper.width)
        self._state = self._cell.step(commands)
        for arm, gripper in self._grippers.items():
            gripper.advance(self._state.arms[arm].gripper_width)
        return told

    def _inputs(self, now_ns: int) -> Inputs:
        return Inputs(
            ros_now_ns=now_ns,
            readings={arm: self._reading(state) for arm, state in self._state.arms.items()},
            gripper_outcomes=tuple(o for gripper in self._grippers.values() for o in gripper.outcomes()),
            other_publishers=self.other_publishers(),
        )

    def _reading(self, arm: ArmState) -> ArmReading:
        return ArmReading(
            stamp_ns=self.now_ns,
            arrival_ns=self.now_ns,
            T_world_tcp=arm.T_world_tcp,
            joints=arm.joints,
            wrench=arm.external_wrench,
        )
