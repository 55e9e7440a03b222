"""The action `execute_plan`."""

from concurrent.futures import ThreadPoolExecutor

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from robo4d_msgs.action import ExecutePlan
from robo4d_msgs.msg import Plan as PlanMessage

from robo4d.execution.admission import AdmittedPlan, Refused
from robo4d.execution.executor import Executor
from robo4d.execution.outputs import Finished, Outputs
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import plan_from_message

_FEEDBACK_TICKS = 10
"""Ticks from one feedback to the next."""
_RESULT_S = 10
"""How long a goal is kept after its end, for those who ask late. Each holds its plan, about 0.2 MB; rclpy would keep
them for a quarter of an hour."""


class PlanAction:
    """Takes plans for the executor, and tells how they end.

    A goal may hold the whole plan, or just the id of the newest one on the topic `plan`. A goal is an approval: who
    sends it vouches for the operator's.
    """

    def __init__(self, node: Node, executor: Executor) -> None:
        """Offer the action."""
        self._node, self._executor = node, executor
        self._newest = b""
        self._goal: ServerGoalHandle | None = None
        self._finished: Future | None = None
        self._ticks = 0
        # Reading a plan takes longer than a tick, so that it is kept as bytes, and read in another thread.
        self._worker = ThreadPoolExecutor(1)
        node.create_subscription(PlanMessage, "plan", self._take_plan, LATCHED, raw=True)
        self._server = ActionServer(
            node,
            ExecutePlan,
            "execute_plan",
            self._execute,
            cancel_callback=self._cancel,
            result_timeout=_RESULT_S,
        )

    def tick(self, outputs: Outputs) -> None:
        """Tell the goal's sender what the executor did."""
        self._ticks += 1
        if self._goal and self._ticks % _FEEDBACK_TICKS == 0:
            self._goal.publish_feedback(ExecutePlan.Feedback(progress=outputs.progress, phase=outputs.phase))
        if outputs.finished and self._finished:
            self._finished.set_result(outputs.finished)

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False)

    def _take_plan(self, message: bytes) -> None:
        self._newest = message

    async def _execute(self, goal: ServerGoalHandle) -> ExecutePlan.Result:
        """One goal, from its checks to its end."""
        read = Future(executor=self._node.executor)
        self._worker.submit(self._read, goal.request.plan, self._newest).add_done_callback(read.set_result)
        try:
            plan_id, plan = (await read).result()
            self._executor.execute(plan, plan_id, speed_scale=goal.request.speed_scale)
        except ValueError as error:
            goal.abort()
            return ExecutePlan.Result(code=getattr(error, "code", "invalid_plan"), message=str(error))
        self._goal, self._finished = goal, Future(executor=self._node.executor)
        finished: Finished = await self._finished
        self._goal, self._finished = None, None
        if finished.success:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return ExecutePlan.Result(success=finished.success, code=finished.code, message=finished.reason)

    def _read(self, message: PlanMessage, newest: bytes) -> tuple[str, AdmittedPlan]:
        """The id and the plan that a goal means. Runs in the worker's thread."""
        if not message.id:
            raise Refused("invalid_plan", "the plan has no id: give each a name of its own")
        if not message.arms:
            published = deserialize_message(newest, PlanMessage) if newest else PlanMessage()
            if published.id != message.id:
                raise Refused(
                    "unknown_plan",
                    f"plan {message.id} comes without arms, and is not the newest on `plan`, which is "
                    f"{published.id or 'none'}: send the whole plan, or the newest id",
                )
            message = published
        return message.id, self._executor.admit(plan_from_message(message))

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if goal is not self._goal:
            return CancelResponse.REJECT
        self._executor.stop("canceled", "the goal was cancelled")
        return CancelResponse.ACCEPT
