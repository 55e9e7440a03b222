"""The other nodes as the session needs them: what it asks of them, what they answer, and whether they are there."""

from collections.abc import Mapping

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from robo4d_msgs.action import ExecutePlan, Generate
from robo4d_msgs.msg import Plan as PlanMessage
from std_srvs.srv import Trigger

from robo4d.plan import Code
from robo4d.rgbd import ArmPosture
from robo4d.session import Proposal, Request, Session
from robo4d_ros.conversions import messages_from_postures, ns_from_time, s_from_duration
from robo4d_ros.plan_conversions import postures_after


def proposal_from_message(message: PlanMessage) -> Proposal:
    """What a session must know of a plan."""
    verdict, ends = message.verdict, [arm.trajectory.points[-1].time_from_start for arm in message.arms]
    accepted = verdict.code == Code.ACCEPTED
    return Proposal(
        plan_id=message.id,
        stamp_ns=ns_from_time(message.header.stamp),
        refusal="" if accepted else f"{Code(verdict.code).name}: {verdict.reason}",
        duration_s=max(map(s_from_duration, ends), default=0.0),
    )


class Generator:
    """The node that imagines: the action `generate`. Its answers go to the session."""

    def __init__(self, node: Node, session: Session) -> None:
        """Look for it from now on."""
        self._session, self._client = session, ActionClient(node, Generate, "generate")
        self._handle: ClientGoalHandle | None = None
        self._number = 0

    @property
    def there(self) -> bool:
        """Whether the action is offered."""
        return self._client.server_is_ready()

    def ask(self, seed: int) -> None:
        """Have a video made. Answers to what was asked before do not count any more."""
        self._send(Generate.Goal(seed=seed))

    def ask_ahead(self, seed: int, plan: PlanMessage, now: Mapping[str, ArmPosture]) -> None:
        """The same from where a plan is predicted to end that the arms, which now stand like this, have begun with."""
        arms = messages_from_postures(postures_after(plan, now))
        at_s = plan.video_times[-1]
        self._send(Generate.Goal(seed=seed, continued=plan.header.stamp, continued_at=at_s, arms=arms))

    def _send(self, goal: Generate.Goal) -> None:
        self._number += 1
        number, self._handle = self._number, None
        sent = self._client.send_goal_async(goal, lambda _: self._began(number))
        sent.add_done_callback(lambda future: self._sent(number, future.result()))

    def cancel(self) -> None:
        """Give up what was asked for."""
        self._number += 1
        if self._handle:
            self._handle.cancel_goal_async()
            self._handle = None

    def _sent(self, number: int, handle: ClientGoalHandle) -> None:
        if number != self._number:  # cancelled before it was accepted
            handle.cancel_goal_async()
            return
        self._handle = handle
        handle.get_result_async().add_done_callback(lambda future: self._ended(number, future.result().result))

    def _began(self, number: int) -> None:
        if number == self._number:
            self._session.generation_began()

    def _ended(self, number: int, result: Generate.Result) -> None:
        if number == self._number:
            stamp_ns = ns_from_time(result.observation) if result.success else None
            self._session.generated(stamp_ns, result.message)


class Executor:
    """The node that moves the arms: the action `execute_plan` and the services beside it."""

    def __init__(self, node: Node, session: Session) -> None:
        """Look for it from now on."""
        self._session, self._logger = session, node.get_logger()
        self._client = ActionClient(node, ExecutePlan, "execute_plan")
        self._requests = {
            request: node.create_client(Trigger, f"executor/{request.value}")
            for request in (Request.PAUSE, Request.RESUME, Request.STOP)
        }

    @property
    def there(self) -> bool:
        """Whether the action is offered."""
        return self._client.server_is_ready()

    def execute(self, plan: PlanMessage, speed_scale: float) -> None:
        """Have an approved plan executed; its end goes to the session."""
        goal = ExecutePlan.Goal(plan=plan, speed_scale=speed_scale)
        self._client.send_goal_async(goal).add_done_callback(self._sent)

    def ask(self, request: Request) -> None:
        """Pause, resume or stop."""
        answer = self._requests[request].call_async(Trigger.Request())
        answer.add_done_callback(lambda future: self._answered(request, future))

    def _sent(self, future: Future) -> None:
        handle = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self._ended)
        else:
            self._session.executed(False, "rejected", "the executor takes no goals: it is being shut down")

    def _ended(self, future: Future) -> None:
        result = future.result().result
        self._session.executed(result.success, result.code, result.message)

    def _answered(self, request: Request, future: Future) -> None:
        response = future.result()
        if not response.success:
            self._logger.warning(f"the executor refused to {request.value}: {response.message}")
