"""The session: drives generator and executor through looks, and is where the operator decides."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from robo4d_msgs.msg import ExecutorState as ExecutorStateMessage
from robo4d_msgs.msg import Plan as PlanMessage
from robo4d_msgs.msg import SessionState
from robo4d_msgs.srv import ReviewPlan
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robo4d.execution.outputs import State as ExecutorState
from robo4d.session import Execute, Generate, Refused, Request, Session, SessionConfig, State, Surroundings, Transition
from robo4d_ros import parameters
from robo4d_ros.conversions import header
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.process import run
from robo4d_ros.robot_history import RobotHistory
from robo4d_ros.services import answer
from robo4d_ros.session.collaborators import Executor, Generator, proposal_from_message

_PERIOD_S = 0.05
"""From step to step; the heartbeat, of which the executor misses half a second, goes with it [s]."""


@dataclass(frozen=True, kw_only=True)
class SessionNodeConfig:
    """The session."""

    arms: tuple[str, ...] = ("left", "right")
    """Names of the arms that must rest when an observation is taken."""
    stationary_rad_s: float = field(default=0.02, metadata={"range": (0.0001, 1.0)})
    """Joint velocity up to which an arm counts as standing still [rad/s]."""
    max_state_age_s: float = field(default=0.5, metadata={"range": (0.01, 10.0)})
    """An arm whose joint states are older does not count as standing still [s]."""
    max_silence_s: float = field(default=2.0, metadata={"range": (0.5, 60.0)})
    """A planner whose heartbeat is older counts as gone [s]."""
    session: SessionConfig = field(default_factory=SessionConfig)


class SessionNode(Node):
    """Tells the state machine what happens, and does what it asks for."""

    def __init__(self, **options: Any) -> None:
        super().__init__("session", **options)
        self._config = config = parameters.declare(self, SessionNodeConfig())
        self._session = Session(config.session)
        self._robot = RobotHistory(self, config.arms)
        self._generator, self._executor = Generator(self, self._session), Executor(self, self._session)
        self._plans: dict[str, PlanMessage] = {}
        self._planner_heard_s, self._planner_beats, self._planner_is_new = 0.0, 0, False
        self._state = self.create_publisher(SessionState, "session/state", LATCHED)
        self._heartbeat = self.create_publisher(String, "heartbeat", 10)
        self.create_subscription(PlanMessage, "plan", self._take_plan, LATCHED)
        # rclpy passes a message's info to callbacks that take it, which its annotations do not say.
        self.create_subscription(String, "heartbeat", self._take_heartbeat, 10)  # pyright: ignore[reportArgumentType]
        self.create_subscription(ExecutorStateMessage, "executor/state", self._take_executor, LATCHED)
        for name, request in (
            ("start", self._start),
            ("stop", self._session.stop),
            ("pause", self._session.pause),
            ("resume", self._session.resume),
        ):
            self.create_service(Trigger, f"session/{name}", answer(request, Refused))
        self.create_service(ReviewPlan, "session/review", self._review)
        self.create_timer(_PERIOD_S, self._step)
        self._tell(Transition(previous=State.IDLE, state=State.IDLE, reason="waiting for session/start", plan_id=""))

    def _start(self) -> None:
        if missing := self._missing():
            raise Refused(f"not there yet: {', '.join(missing)}; start what is missing, see `robo4d_ros.bringup`")
        self._session.start()

    def _review(self, request: ReviewPlan.Request, response: ReviewPlan.Response) -> ReviewPlan.Response:
        decide = functools.partial(self._session.review, request.plan_id, request.approve, request.reason)
        return answer(decide, Refused)(request, response)

    def _take_plan(self, message: PlanMessage) -> None:
        self._plans[message.id] = message
        self._session.planned(proposal_from_message(message))
        kept = {message.id, *self._session.plan_ids}
        self._plans = {plan_id: plan for plan_id, plan in self._plans.items() if plan_id in kept}

    def _take_heartbeat(self, message: String, info: Mapping[str, int]) -> None:
        if message.data == "planner":
            beats = info["publication_sequence_number"]  # of its publisher: a planner in its place begins anew
            self._planner_is_new |= beats < self._planner_beats
            self._planner_heard_s, self._planner_beats = time.monotonic(), beats

    def _take_executor(self, message: ExecutorStateMessage) -> None:
        self._session.executor_is(ExecutorState(message.state), message.reason)

    def _missing(self) -> list[str]:
        """The nodes that are not there."""
        there = {
            "generator": self._generator.there,
            "tracker": all(self.count_publishers(f"{arm}/track") for arm in self._config.arms),
            "planner": not self._planner_is_new
            and time.monotonic() - self._planner_heard_s <= self._config.max_silence_s,
            "executor": self._executor.there,
        }
        return [name for name, is_there in there.items() if not is_there]

    def _at_rest(self) -> bool:
        state, now_ns = self._robot.newest(), self.get_clock().now().nanoseconds
        if state is None or now_ns - state.stamp_ns > 1e9 * self._config.max_state_age_s:
            return False
        return state.speed_rad_s <= self._config.stationary_rad_s

    def _step(self) -> None:
        self._heartbeat.publish(String(data="session"))
        commands, transitions = self._session.step(
            Surroundings(
                now_ns=time.monotonic_ns(),
                stamp_ns=self.get_clock().now().nanoseconds,
                at_rest=self._at_rest(),
                missing=self._missing(),
            )
        )
        self._planner_is_new = False
        for transition in transitions:
            self._tell(transition)
        for command in commands:
            match command:
                case Generate(seed=seed, continues=plan_id):
                    self._generate(seed, plan_id)
                case Execute(plan_id=plan_id, speed_scale=speed_scale):
                    self._executor.execute(self._plans[plan_id], speed_scale)
                case Request.CANCEL_GENERATION:
                    self._generator.cancel()
                case Request():
                    self._executor.ask(command)

    def _generate(self, seed: int, continues: str) -> None:
        """Ask for a video from the newest images, or from where the plan in execution is predicted to end."""
        now = self._robot.now()
        if not continues:
            self._generator.ask(seed)
        elif now:
            self._generator.ask_ahead(seed, self._plans[continues], now)
        else:
            self._session.generated(None, "joint_states never told the fingers' positions: start the grippers")

    def _tell(self, transition: Transition) -> None:
        self._state.publish(
            SessionState(
                header=header(self.get_clock().now().nanoseconds, ""),
                state=transition.state.value,
                previous=transition.previous.value,
                reason=transition.reason,
                plan_id=transition.plan_id,
            )
        )
        line = f"{transition.previous.value} -> {transition.state.value}: {transition.reason}"
        if transition.state in (State.HOLD, State.FAULT):
            self.get_logger().warning(line)
        else:
            self.get_logger().info(line)


def main() -> None:
    """Run the node."""
    run(SessionNode)


if __name__ == "__main__":
    main()
