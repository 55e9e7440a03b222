"""The actions of a simulated gripper, which behaves as franka_gripper does."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from control_msgs.action import GripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from robo4d_msgs.srv import InjectFault

from robo4d.sim.state import CONTROL_PERIOD_S, GRIP_FORCE, MAX_GRIP_FORCE, MAX_WIDTH
from robo4d_ros.franka_actions import Grasp, Move
from robo4d_ros.sim.faults import Faults

_MAX_SPEED = 0.1
"""[m/s], as Franka's hand has it."""
_EPSILON = 0.005
"""Tolerance of a grasp that gives none [m]: franka_gripper's default."""
_TOLERANCE = 0.002
"""Of the width after a move [m]."""
_STILL_TICKS, _STILL = 15, 0.0002
"""The fingers have come to rest when they moved less than this [m] in so many control ticks (0.3 s)."""
F = InjectFault.Request


class SimGripper:
    """Action servers `franka_gripper/{move,grasp,gripper_action}` of one arm. They block, one goal at a time.

    A grasp's `force` and a command's `max_effort` [N] are the force of both fingers together: 70 N at most, which the
    real hand can hold with continuously, and 50 N where they are 0; see `robo4d.sim.state.ArmCommand.grip_force`.
    """

    def __init__(self, node: Node, arm: str, faults: Faults) -> None:
        self._arm, self._faults, self._logger = arm, faults, node.get_logger()
        self._changed = threading.Condition()
        self.force = GRIP_FORCE
        """Of both fingers together [N], as the last goal asked for."""
        self._goal_width, self._speed, self._commanded = MAX_WIDTH, _MAX_SPEED, MAX_WIDTH
        self._measured: deque[float] = deque([MAX_WIDTH], maxlen=_STILL_TICKS)
        self._busy = self._closed = False
        group = ReentrantCallbackGroup()
        self._servers = [
            ActionServer(
                node,
                kind,
                f"{arm}/franka_gripper/{name}",
                execute_callback=execute,
                goal_callback=self._accept,
                cancel_callback=lambda _: CancelResponse.ACCEPT,
                callback_group=group,
            )
            for kind, name, execute in (
                (Move, "move", self._move),
                (Grasp, "grasp", self._grasp),
                (GripperCommand, "gripper_action", self._gripper_command),
            )
        ]

    def advance(self, measured_width: float) -> float:
        """One control tick.

        Args:
            measured_width: Opening now [m].

        Returns:
            The opening to command [m].
        """
        with self._changed:
            self._measured.append(measured_width)
            step = self._speed * CONTROL_PERIOD_S
            self._commanded += min(max(self._goal_width - self._commanded, -step), step)
            self._changed.notify_all()
            return self._commanded

    def reset(self) -> None:
        """Open, as at the start of an episode."""
        with self._changed:
            self._goal_width, self._commanded, self.force = MAX_WIDTH, MAX_WIDTH, GRIP_FORCE
            self._measured.clear()
            self._measured.append(MAX_WIDTH)

    def close(self) -> None:
        """End what is going on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _accept(self, goal: Any) -> GoalResponse:
        with self._changed:
            if not self._busy:
                self._busy = True
                return GoalResponse.ACCEPT
        self._logger.warning(f"{self._arm} gripper: refused a command while another one is carried out")
        return GoalResponse.REJECT

    def _move(self, handle: ServerGoalHandle) -> Move.Result:
        goal = handle.request

        def feedback(width: float) -> Move.Feedback:
            return Move.Feedback(current_width=width)

        width = self._go(handle, goal.width, goal.speed, 0.0, feedback)
        reached = width is not None and abs(width - goal.width) <= _TOLERANCE
        return Move.Result(success=self._finish(handle, reached), error="" if reached else self._error(width))

    def _grasp(self, handle: ServerGoalHandle) -> Grasp.Result:
        goal = handle.request

        def feedback(width: float) -> Grasp.Feedback:
            return Grasp.Feedback(current_width=width)

        width = self._go(handle, 0.0, goal.speed, goal.force, feedback)
        held = width is not None and goal.width - goal.epsilon.inner <= width <= goal.width + goal.epsilon.outer
        return Grasp.Result(success=self._finish(handle, held), error="" if held else self._error(width))

    def _gripper_command(self, handle: ServerGoalHandle) -> GripperCommand.Result:
        """`position` is half of the width; closing is a grasp with the default tolerance."""
        command = handle.request.command
        goal_width = 2 * command.position
        closing = goal_width < self._measured[-1]

        def feedback(width: float) -> GripperCommand.Feedback:
            return GripperCommand.Feedback(position=width / 2)

        width = self._go(handle, 0.0 if closing else goal_width, _MAX_SPEED, command.max_effort, feedback)
        tolerance = _EPSILON if closing else _TOLERANCE
        reached = width is not None and abs(width - goal_width) <= tolerance
        position = self._measured[-1] / 2
        return GripperCommand.Result(position=position, stalled=not reached, reached_goal=self._finish(handle, reached))

    def _go(
        self, handle: ServerGoalHandle, width: float, speed: float, force: float, feedback: Callable[[float], Any]
    ) -> float | None:
        """Move the fingers until they rest: where they stopped [m], or None if it was cancelled or aborted."""
        if self._faults.active(F.GRIPPER_ABORT, self._arm) or not (0 <= width <= MAX_WIDTH and speed > 0):
            return None
        with self._changed:
            if not self._wait(handle, lambda: not self._faults.active(F.GRIPPER_HANG, self._arm)):
                return None
            self._goal_width, self._speed = width, min(speed, _MAX_SPEED)
            self.force = min(force, MAX_GRIP_FORCE) if force > 0 else GRIP_FORCE
            if width > self._commanded:  # what holds an object is commanded narrower than the object
                self._commanded = max(self._commanded, self._measured[-1])
            self._measured = deque([self._measured[-1]], maxlen=_STILL_TICKS)
            handle.publish_feedback(feedback(self._measured[-1]))
            if not self._wait(handle, self._at_rest):
                self._goal_width = self._commanded = self._measured[-1]
                return None
            handle.publish_feedback(feedback(self._measured[-1]))
            return self._measured[-1]

    def _wait(self, handle: ServerGoalHandle, predicate: Callable[[], bool]) -> bool:
        """Whether it came to pass before the goal was cancelled."""
        self._changed.wait_for(lambda: predicate() or handle.is_cancel_requested or self._closed)
        return predicate()

    def _at_rest(self) -> bool:
        full = len(self._measured) == _STILL_TICKS
        return full and max(self._measured) - min(self._measured) < _STILL

    def _finish(self, handle: ServerGoalHandle, success: bool) -> bool:
        """Tell the outcome, and be free for the next command."""
        self._busy = False
        if success:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return success

    def _error(self, width: float | None) -> str:
        return "cancelled or refused" if width is None else f"the fingers stopped at {width:.4f} m"
