"""The state machine of a session: observe, plan, review, execute, and observe again, until nothing is left to do.

It has no clock and no threads. Requests of the operator and news of the other parts change its state; `step` gives what
is to be done about it. Every wait has a limit, and every end a sentence that says what to do.

With `overlap`, the next plan is made while a plan is executed, from where it is predicted to end, and comes to review
as soon as the execution has ended well. Whatever goes wrong with either of them, the next plan is dropped and the
session observes anew, which costs nothing but the time. Looks and predictions take turns: while a plan from a
prediction is executed, nothing is made ahead, so that no plan follows from a prediction of a prediction.
"""

import math

from robo4d.execution.outputs import State as ExecutorState
from robo4d.session.attempt import Attempt
from robo4d.session.config import SessionConfig
from robo4d.session.values import (
    Command,
    Execute,
    Generate,
    Proposal,
    Refused,
    Request,
    State,
    Surroundings,
    Transition,
)

_ACTIVE = (State.HANDOVER, State.OBSERVE, State.PLANNING, State.REVIEW, State.EXECUTING, State.PAUSED)
_GENERATING = (State.OBSERVE, State.PLANNING)
_NEW_LOOK = ("stale_plan", "start_mismatch")
"""Refusals of the executor that another observation cures."""
_NEEDED = {
    State.OBSERVE: ("generator", "tracker", "planner"),
    State.PLANNING: ("generator", "tracker", "planner"),
    # A motion that nobody could replan is not begun, and not gone on with.
    State.EXECUTING: ("executor", "planner"),
    State.PAUSED: ("executor", "planner"),
}


class Session:
    """One session.

    Args:
        config: How it goes on by itself, and how long it waits.
    """

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._state, self._reason = State.IDLE, ""
        self._begun_in: State | None = None
        self._since_ns = self._now_ns = 0
        self._rest_since: tuple[int, int] | None = None
        """Since when the arms rest, on both clocks [ns]."""
        self._rest_stamp_ns = 0
        self._commands: list[Command] = []
        self._transitions: list[Transition] = []
        self._looks = self._still = self._attempts = self._videos = 0
        self._taken_over = self._pausing = False
        self._attempt: Attempt | None = None
        """At the next plan; while a plan is executed, that is the one ahead."""
        self._plan: Proposal | None = None
        self._foreseen = False
        """Whether the plan, or the attempt that is waited for, starts from a prediction."""

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def plan_id(self) -> str:
        """The plan under review or in execution; empty where there is none."""
        return self._plan.plan_id if self._plan else ""

    @property
    def plan_ids(self) -> set[str]:
        """The plans that it may still ask for: the present one and the one ahead, whatever else is published."""
        ahead = self._attempt.plan if self._attempt else None
        return {plan.plan_id for plan in (self._plan, ahead) if plan}

    def start(self) -> None:
        """Begin; Refused while a session goes on or the arms do not follow."""
        if self._state not in (State.IDLE, State.HOLD):
            raise Refused(f"the session is {self._state.value}: call session/stop first, or end teleoperation or fault")
        self._looks = self._still = 0
        self._begin("started by the operator")

    def stop(self) -> None:
        """End it: the arms come to rest and hold. Never refused."""
        if self._state in _ACTIVE or self._state is State.HOLD:
            self._leave(State.IDLE, "stopped by the operator")

    def pause(self) -> None:
        """Come to rest on the path; Refused where no plan is executed."""
        if self._state is not State.EXECUTING:
            raise Refused(f"only an execution can be paused, the session is {self._state.value}")
        self._pausing = True
        self._commands.append(Request.PAUSE)

    def resume(self) -> None:
        """Go on with a paused plan, or observe again after HOLD; Refused elsewhere."""
        if self._state is State.PAUSED:
            self._commands.append(Request.RESUME)
        elif self._state is State.HOLD:
            self._begin("resumed by the operator")
        else:
            raise Refused(f"nothing to resume: the session is {self._state.value}")

    def review(self, plan_id: str, approve: bool, reason: str) -> None:
        """The operator's decision; Refused where it is about another plan than the one under review."""
        if self._state is not State.REVIEW or self._plan is None:
            raise Refused(f"no plan is under review: the session is {self._state.value}")
        if plan_id != self._plan.plan_id:
            raise Refused(f"plan {self._plan.plan_id} is under review, not {plan_id or 'one without a name'}")
        if approve:
            self._execute(f"approved by the operator{_because(reason)}")
        else:
            self._observe(f"the operator rejected plan {plan_id}{_because(reason)}")

    def generation_began(self) -> None:
        """The generator has taken its observation."""
        if self._state is State.OBSERVE and self._attempt:
            self._go(State.PLANNING, "a video is being made")

    def generated(self, observation_ns: int | None, message: str) -> None:
        """The generator's answer.

        Args:
            observation_ns: Exposure of the observation [ns]; None where there is no video.
            message: What prevented it.
        """
        if self._attempt and self._attempt.generating:
            self._attempt.generated(observation_ns, message)
            self._judge()

    def planned(self, proposal: Proposal) -> None:
        """A plan was published. Plans of other observations are ignored."""
        if self._attempt:
            self._attempt.planned(proposal)
            self._judge()

    def executed(self, success: bool, code: str, message: str) -> None:
        """How the execution ended."""
        if self._state not in (State.EXECUTING, State.PAUSED):
            return
        if success:
            self._looks += 1
            self._attempts = 0
            if self._looks >= self._config.max_looks:
                self._leave(State.IDLE, f"the limit of {self._looks} executed plans is reached")
            elif self._attempt is None:
                self._observe("the plan is executed")
            else:
                self._plan, self._foreseen = None, True
                self._go(State.PLANNING, "the plan is executed; the next one was begun from its predicted end")
                self._judge()
        elif code in _NEW_LOOK or self._config.auto_approve:
            cause = self._reason if self._state is State.PAUSED else f"{code}: {message}"
            self._failed(f"the plan was not executed to its end, {cause}")
        else:
            self._go(State.HOLD, f"the execution ended, {code}: {message}; `resume` observes again")
            self._drop()

    def executor_is(self, state: ExecutorState, reason: str) -> None:
        """What the executor does now."""
        if state is ExecutorState.FAULT:
            self._leave(State.FAULT, f"the executor is in fault: {reason}")
        elif state is ExecutorState.TELEOP:
            self._taken_over = self._state in (*_ACTIVE, State.HOLD)
            self._leave(State.TELEOP, "the operator moves the arms")
        elif self._state is State.FAULT:
            self._go(State.IDLE, "the executor has recovered: start again")
        elif self._state is State.TELEOP and self._taken_over:
            self._go(State.HOLD, "teleoperation has ended: `resume` observes again, `stop` gives up")
        elif self._state is State.TELEOP:
            self._go(State.IDLE, "teleoperation has ended")
        elif self._state is State.EXECUTING and state is ExecutorState.EXECUTING:
            self._look_ahead()
        elif self._state is State.EXECUTING and state is ExecutorState.PAUSED:
            self._go(State.PAUSED, reason)
            if self._config.auto_approve and not self._pausing:
                self._commands.append(Request.STOP)
        elif self._state is State.PAUSED and state is ExecutorState.EXECUTING:
            self._pausing = False
            self._go(State.EXECUTING, reason)

    def step(self, surroundings: Surroundings) -> tuple[tuple[Command, ...], tuple[Transition, ...]]:
        """What is to be done now, and how the state has changed since the last step."""
        self._now_ns = surroundings.now_ns
        if self._begun_in is not self._state:
            self._begun_in, self._since_ns = self._state, self._now_ns
        if not surroundings.at_rest:
            self._rest_since = None
        elif self._rest_since is None:
            self._rest_since = (surroundings.now_ns, surroundings.stamp_ns)
        self._wait(surroundings)
        commands, self._commands = tuple(self._commands), []
        transitions, self._transitions = tuple(self._transitions), []
        return commands, transitions

    def _wait(self, surroundings: Surroundings) -> None:
        """Go on when what is waited for has come, and give up when it does not."""
        if gone := [name for name in surroundings.missing if name in _NEEDED.get(self._state, ())]:
            self._leave(State.HOLD, f"the node {' and '.join(gone)} is not there: start it, then `resume`")
        elif self._state is State.HANDOVER and self._rested:
            self._observe("the arms rest")
        elif self._state is State.OBSERVE and self._rested and self._attempt is None:
            assert self._rest_since is not None
            self._rest_stamp_ns = self._rest_since[1]
            self._generate()
        elif self._now_ns - self._since_ns > 1e9 * self._limit_s:
            overdue = f"{self._overdue} within {self._limit_s:.0f} s"
            if self._state is State.PLANNING and self._foreseen:
                self._failed(overdue)
            else:
                self._leave(State.HOLD, f"{overdue}; then `resume`")

    @property
    def _rested(self) -> bool:
        return self._rest_since is not None and self._now_ns - self._rest_since[0] >= 1e9 * self._config.rest_s

    @property
    def _generating(self) -> bool:
        return self._attempt is not None and self._attempt.generating

    @property
    def _limit_s(self) -> float:
        """Longest stay in this state [s]."""
        config, plan = self._config, self._plan
        match self._state:
            case State.HANDOVER:
                return config.handover_limit_s
            case State.OBSERVE:
                return config.observe_limit_s
            case State.PLANNING:
                return config.generate_limit_s if self._generating else config.plan_limit_s
            case State.REVIEW:
                return config.review_limit_s
            case State.EXECUTING:
                return (plan.duration_s if plan else 0.0) / config.speed_scale + config.execution_slack_s
            case State.PAUSED:
                return config.pause_limit_s
            case _:
                return math.inf

    @property
    def _overdue(self) -> str:
        """What did not come to pass, and what to look at."""
        match self._state:
            case State.HANDOVER:
                return "the arms did not come to rest, or their joint states do not arrive,"
            case State.OBSERVE if not self._generating:
                return "the arms did not come to rest"
            case State.OBSERVE | State.PLANNING if self._generating:
                return "the generator made no video: see its log"
            case State.PLANNING:
                return "no plan came of the video: see the logs of tracker and planner"
            case State.REVIEW:
                return "nobody decided on the plan"
            case State.PAUSED:
                return "nobody resumed the plan"
            case _:
                return "the execution did not end: see the executor"

    def _begin(self, reason: str) -> None:
        """Go on from arms that rest from now on: images of before may show what has been put elsewhere since."""
        self._attempts, self._rest_since = 0, None
        self._go(State.HANDOVER, reason)

    def _observe(self, reason: str) -> None:
        self._drop()
        self._go(State.OBSERVE, reason)

    def _generate(self, continues: str = "") -> None:
        self._commands.append(Generate(seed=self._config.seed + self._videos, continues=continues))
        self._videos, self._attempt = self._videos + 1, Attempt()

    def _look_ahead(self) -> None:
        """Begin with the next plan when the motion has begun, if there will be one that may start from its end."""
        last = self._looks + 1 >= self._config.max_looks
        if self._config.overlap and not self._foreseen and not last and self._attempt is None:
            self._generate(continues=self.plan_id)

    def _judge(self) -> None:
        """Go on with an attempt that has come to something, unless it is ahead of its time."""
        attempt, plan = self._attempt, self._attempt.plan if self._attempt else None
        if attempt is None or attempt.generating or self._state not in _GENERATING:
            return
        if attempt.observation_ns is None:
            self._failed(f"no video: {attempt.message}")
        elif attempt.observation_ns < self._rest_stamp_ns and not self._foreseen:
            self._failed(
                "the video starts from an image in which the arms still moved, or of before the start: slow cameras?"
            )
        elif plan is None:
            self._go(State.PLANNING, "the video is made; it is tracked and planned with")
        elif plan.refusal:
            self._failed(f"plan {plan.plan_id} was refused: {plan.refusal}")
        elif plan.duration_s == 0:
            self._rests()
        else:
            self._plan, self._attempt, self._still = plan, None, 0
            self._go(State.REVIEW, f"plan {plan.plan_id} awaits a decision")
            if self._config.auto_approve:
                self._execute("approved automatically")

    def _rests(self) -> None:
        """The plan holds no motion. That nothing is left to do is believed of what was seen only."""
        self._still += not self._foreseen
        if self._still >= self._config.still_looks:
            self._leave(State.IDLE, f"done: {self._still} plans in a row hold no motion")
        else:
            self._observe("the plan holds no motion: look again")

    def _failed(self, reason: str) -> None:
        """An attempt at this look has come to nothing. Those that start from a prediction are no looks."""
        if self._foreseen:
            self._observe(f"{reason}; observing anew")
            return
        self._attempts += 1
        if self._attempts < self._config.max_attempts:
            self._observe(f"{reason}; trying another video")
        else:
            self._leave(State.HOLD, f"{reason}; {self._attempts} attempts failed, `resume` tries again")

    def _execute(self, reason: str) -> None:
        assert self._plan is not None  # it was under review
        self._pausing = False
        self._commands.append(Execute(plan_id=self._plan.plan_id, speed_scale=self._config.speed_scale))
        self._go(State.EXECUTING, reason)

    def _leave(self, state: State, reason: str) -> None:
        """Give up what is being done."""
        if self._state in (State.EXECUTING, State.PAUSED) and state in (State.IDLE, State.HOLD):
            self._commands.append(Request.STOP)
        self._go(state, reason)
        self._drop()

    def _drop(self) -> None:
        """Forget the plan, and the attempt at the next one."""
        if self._generating:
            self._commands.append(Request.CANCEL_GENERATION)
            self._rest_since = None  # so that the generator has heard of it before anything else is asked of it
        self._plan, self._attempt, self._foreseen = None, None, False

    def _go(self, state: State, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        self._transitions.append(Transition(previous=self._state, state=state, reason=reason, plan_id=self.plan_id))
        if state is not self._state or state is State.PLANNING:
            self._begun_in = None  # its limit counts from the next step on
        self._state, self._reason = state, reason


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
