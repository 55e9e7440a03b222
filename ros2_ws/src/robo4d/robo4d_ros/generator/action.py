"""The action `generate`: goals from other threads' point of view, one at a time."""

import threading
import traceback
from collections.abc import Callable
from typing import Literal

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from robo4d_msgs.action import Generate

from robo4d.interfaces import Cancelled
from robo4d_ros.conversions import time_from_ns
from robo4d_ros.process import Jobs

WhenBusy = Literal["queue", "replace", "refuse"]


class Goal:
    """A video that is asked for: what is told to the one who asks, and what it is told, from either thread."""

    def __init__(self, handle: ServerGoalHandle) -> None:
        """Of the action server."""
        self.handle = handle
        self.given_up = ""
        """Why nobody waits for it any more; empty otherwise."""
        self.steps = 0
        """Of the video in the making, as the generator told last."""
        self._ended = threading.Event()

    @property
    def request(self) -> Generate.Goal:
        """What is asked for."""
        return self.handle.request

    @property
    def is_over(self) -> bool:
        """Whether the video is not wanted any more."""
        return self._ended.is_set() or self.handle.is_cancel_requested

    def give_up(self, reason: str) -> None:
        """Do without it."""
        self.given_up = reason
        self._ended.set()

    def progress(self, step: int, steps: int) -> bool:
        """Tell how far it is; as in `VideoGenerator.generate`."""
        if self.is_over:
            return False
        self.steps = steps
        self.handle.publish_feedback(Generate.Feedback(step=step, steps=steps))
        return True


Generation = Callable[[Goal], int]
"""Makes a video and publishes it; returns the stamp of the observation [ns].

Raises Cancelled when it is not wanted any more, ValueError where there is no observation that may be used."""


class GenerateAction:
    """Hands goals to a thread, so that cancelling and all other callbacks are answered while a video is made."""

    def __init__(self, node: Node, jobs: Jobs, generate: Generation, when_busy: WhenBusy) -> None:
        """Offer the action.

        Args:
            node: The node.
            jobs: Where videos are made.
            generate: Makes one.
            when_busy: What happens to a goal that comes while another one is carried out: it waits, it takes the
                other's place, or it is aborted.
        """
        self._node, self._jobs, self._generate, self._when_busy = node, jobs, generate, when_busy
        self._goals: list[Goal] = []
        """Those that have not ended, oldest first."""
        self._server = ActionServer(
            node, Generate, "generate", self._execute, cancel_callback=lambda _: CancelResponse.ACCEPT
        )

    def close(self) -> None:
        """Give up what is being made, and what waits."""
        for goal in self._goals:
            goal.give_up("the generator is shut down")

    async def _execute(self, handle: ServerGoalHandle) -> Generate.Result:
        if self._goals and self._when_busy == "refuse":
            handle.abort()
            return Generate.Result(
                message="busy: another video is being made: wait for its end or cancel it, or set when_busy to replace"
            )
        if self._goals and self._when_busy == "replace":
            self._goals[-1].give_up("replaced: a newer goal came; set when_busy to queue to have both")
        goal = Goal(handle)
        self._goals.append(goal)
        done = Future(executor=self._node.executor)
        done.add_done_callback(lambda _: None)  # wakes the executor, which else comes back to us at its next event
        self._jobs.submit(lambda: done.set_result(self._carry_out(goal)))
        result: Generate.Result = await done
        self._goals.remove(goal)
        if result.success:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _carry_out(self, goal: Goal) -> Generate.Result:
        """In the thread of the jobs."""
        try:
            stamp_ns = self._generate(goal)
            return Generate.Result(success=True, observation=time_from_ns(stamp_ns))
        except Cancelled:
            return Generate.Result(message=goal.given_up or "cancelled")
        except ValueError as error:
            self._node.get_logger().error(f"no video: {error}")
            return Generate.Result(message=str(error))
        except Exception as error:  # of the model, such as an exhausted GPU: the next goal may succeed
            self._node.get_logger().error(f"no video:\n{traceback.format_exc()}")
            return Generate.Result(message=f"the model failed: {type(error).__name__}: {error}; see the log")
