"""How grippers are commanded: Franka's own actions, or those of ros2_control. Each command is sent once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from action_msgs.msg import GoalStatus
from control_msgs.action import GripperCommand as GripperCommandAction
from control_msgs.action import ParallelGripperCommand
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from robo4d.execution.targets import GripperCommand, GripperOutcome
from robo4d_ros.franka_actions import Grasp, Move


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """How the grippers are commanded. {arm} stands for the arm's name."""

    kind: Literal["franka", "gripper_command", "parallel_gripper_command"] = "franka"
    """franka_gripper's move and grasp, or ros2_control's GripperCommand (Humble) or ParallelGripperCommand (Jazzy)."""
    name: str = "{arm}/franka_gripper"
    """The node of franka_gripper; for the other two, the action itself."""
    open_width: float = 0.08
    """Distance between open fingers [m]."""
    held_width: float = 0.002
    """Fingers that stop further apart than this hold something [m]."""
    speed: float = 0.1
    """[m/s]; franka_gripper only."""
    force: float = 40.0
    """[N]. Franka's hand holds up to 70 N; 0 makes GripperCommand fail."""
    joint: str = "{arm}_finger_joint1"
    """The joint of ParallelGripperCommand."""
    open_position: float = 0.04
    """Of that joint [m or rad]."""
    closed_position: float = 0.0
    """Of that joint [m or rad]."""

    def __post_init__(self) -> None:
        """Refuse widths that no gripper has."""
        if not 0 < self.held_width < self.open_width:
            raise ValueError(f"0 < held_width < open_width must hold, got {self.held_width} and {self.open_width}")


class Dialect(Protocol):
    """How one kind of gripper is spoken to."""

    def request(self, to_open: bool) -> tuple[ActionClient, Any]:
        """The action and the goal."""
        ...

    def succeeded(self, to_open: bool, status: int, result: Any) -> bool:
        """Whether the gripper is open, or holds something."""
        ...


class ActionGripper:
    """A gripper behind actions. A command that is not done when the next one comes is cancelled."""

    def __init__(self, dialect: Dialect) -> None:
        """Send nothing yet."""
        self._dialect = dialect
        self._number = 0
        self._handle: ClientGoalHandle | None = None
        self._outcomes: list[GripperOutcome] = []

    def command(self, command: GripperCommand) -> None:
        """See `Gripper.command`."""
        if self._handle is not None:
            self._handle.cancel_goal_async()
        self._number, self._handle = command.number, None
        client, goal = self._dialect.request(command.open)
        if not client.server_is_ready():
            self._end(command, success=False, message="its action server is not there: start the gripper's node")
            return
        client.send_goal_async(goal).add_done_callback(lambda sent: self._accepted(command, sent.result()))

    def outcomes(self) -> tuple[GripperOutcome, ...]:
        """See `Gripper.outcomes`."""
        outcomes, self._outcomes = tuple(self._outcomes), []
        return outcomes

    def _accepted(self, command: GripperCommand, handle: ClientGoalHandle) -> None:
        if not handle.accepted:
            self._end(command, success=False, message="the goal was rejected: the gripper may be busy or not homed")
        elif command.number != self._number:
            handle.cancel_goal_async()
        else:
            self._handle = handle
            handle.get_result_async().add_done_callback(lambda result: self._done(command, result))

    def _done(self, command: GripperCommand, result: Future) -> None:
        response = result.result()
        success = self._dialect.succeeded(command.open, response.status, response.result)
        message = getattr(response.result, "error", "")
        self._end(command, success=success, message="" if success else message or "nothing is held")

    def _end(self, command: GripperCommand, *, success: bool, message: str) -> None:
        if command.number == self._number:
            self._handle = None
            self._outcomes.append(GripperOutcome(number=command.number, success=success, message=message))


class FrankaDialect:
    """franka_gripper: `move` to open, `grasp` to close on whatever is there."""

    def __init__(self, node: Node, name: str, config: GripperConfig, width: Callable[[], float | None]) -> None:
        """`width` tells the measured distance between the fingers [m], where it is known."""
        self._config, self._width = config, width
        self._move = ActionClient(node, Move, f"{name}/move")
        self._grasp = ActionClient(node, Grasp, f"{name}/grasp")

    def request(self, to_open: bool) -> tuple[ActionClient, Any]:
        """See `Dialect.request`."""
        config = self._config
        if to_open:
            return self._move, Move.Goal(width=config.open_width, speed=config.speed)
        # A grasp succeeds between width - inner and width + outer: here at every width at which something is held.
        goal = Grasp.Goal(width=config.open_width / 2, speed=config.speed, force=config.force)
        goal.epsilon.inner, goal.epsilon.outer = config.open_width / 2 - config.held_width, config.open_width / 2
        return self._grasp, goal

    def succeeded(self, to_open: bool, status: int, result: Any) -> bool:
        """See `Dialect.succeeded`. A grasp that is aborted with the fingers apart holds nevertheless."""
        width = self._width()
        held = not to_open and width is not None and width > self._config.held_width
        return (status == GoalStatus.STATUS_SUCCEEDED and result.success) or held


class GripperCommandDialect:
    """control_msgs/GripperCommand as franka_gripper has it: the position is HALF the distance between the fingers."""

    def __init__(self, node: Node, name: str, config: GripperConfig) -> None:
        self._config = config
        self._client = ActionClient(node, GripperCommandAction, name)

    def request(self, to_open: bool) -> tuple[ActionClient, Any]:
        """See `Dialect.request`."""
        goal = GripperCommandAction.Goal()
        goal.command.position = self._config.open_width / 2 if to_open else 0.0
        goal.command.max_effort = self._config.force
        return self._client, goal

    def succeeded(self, to_open: bool, status: int, result: Any) -> bool:
        """See `Dialect.succeeded`. Closing is aborted where an object stops the fingers: that is a grasp."""
        if to_open:
            return status == GoalStatus.STATUS_SUCCEEDED
        return 2 * result.position > self._config.held_width


class ParallelGripperDialect:
    """control_msgs/ParallelGripperCommand: the position is that of a joint."""

    def __init__(self, node: Node, name: str, config: GripperConfig, joint: str) -> None:
        self._config, self._joint = config, joint
        self._client = ActionClient(node, ParallelGripperCommand, name)

    def request(self, to_open: bool) -> tuple[ActionClient, Any]:
        """See `Dialect.request`."""
        goal = ParallelGripperCommand.Goal()
        goal.command.name = [self._joint]
        goal.command.position = [self._config.open_position if to_open else self._config.closed_position]
        goal.command.effort = [self._config.force]
        return self._client, goal

    def succeeded(self, to_open: bool, status: int, result: Any) -> bool:
        """See `Dialect.succeeded`. Fingers that stall on the way to closed hold something."""
        if to_open:
            return status == GoalStatus.STATUS_SUCCEEDED
        return bool(result.stalled) and not result.reached_goal


def make_gripper(node: Node, arm: str, config: GripperConfig, width: Callable[[], float | None]) -> ActionGripper:
    """The gripper of that kind.

    Args:
        node: The node.
        arm: The arm's name.
        config: How the grippers are commanded.
        width: Tells the measured distance between the fingers [m], where it is known.
    """
    name = config.name.format(arm=arm)
    match config.kind:
        case "franka":
            dialect = FrankaDialect(node, name, config, width)
        case "gripper_command":
            dialect = GripperCommandDialect(node, name, config)
        case "parallel_gripper_command":
            dialect = ParallelGripperDialect(node, name, config, config.joint.format(arm=arm))
    return ActionGripper(dialect)
