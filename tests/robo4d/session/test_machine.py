import contextlib
import dataclasses
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from robo4d.execution.outputs import State as ExecutorState
from robo4d.session import Execute, Generate, Proposal, Refused, Request, Session, SessionConfig, State, Surroundings

PERIOD_S = 0.1
EPOCH_NS = 10**18
"""Of the clock of the messages, to tell it from the other one."""


class Rig:
    """A session whose time passes in its steps only."""

    def __init__(self, **config):
        self.session = Session(SessionConfig(**config))
        self.now_ns = self.asked = 0
        self.commands, self.transitions = [], []

    def step(self, **changes):
        self.now_ns += round(1e9 * PERIOD_S)
        given = {"now_ns": self.now_ns, "stamp_ns": self.stamp_ns, "at_rest": True, "missing": ()} | changes
        commands, transitions = self.session.step(Surroundings(**given))
        self.commands += commands
        self.transitions += transitions
        return commands

    def wait(self, seconds, **changes):
        for _ in range(round(seconds / PERIOD_S)):
            self.step(**changes)

    @property
    def stamp_ns(self):
        return EPOCH_NS + self.now_ns

    @property
    def state(self):
        return self.session.state

    @property
    def reason(self):
        self.step()
        return self.transitions[-1].reason

    def until_generation(self):
        self.asked += 1
        for _ in range(100):
            if sum(isinstance(command, Generate) for command in self.commands) == self.asked:
                self.session.generation_began()
                return
            self.step()
        raise AssertionError("no video was asked for")

    def imagine(self, plan_id="1", refusal="", duration_s=5.0):
        """A video, tracked and planned with."""
        self.until_generation()
        stamp_ns = self.stamp_ns
        self.session.generated(stamp_ns, "")
        self.session.planned(Proposal(plan_id=plan_id, stamp_ns=stamp_ns, refusal=refusal, duration_s=duration_s))
        self.step()

    def begin_execution(self):
        self.session.executor_is(ExecutorState.EXECUTING, "plan")
        self.step()

    def imagine_ahead(self, plan_id="2", refusal="", duration_s=5.0):
        """The video from the predicted end of the plan in execution, tracked and planned with."""
        stamp_ns = self.foreseen_ns = self.stamp_ns - 10**9
        self.session.generation_began()
        self.session.generated(stamp_ns, "")
        self.session.planned(Proposal(plan_id=plan_id, stamp_ns=stamp_ns, refusal=refusal, duration_s=duration_s))
        self.step()

    def execute(self, plan_id="1"):
        self.session.executor_is(ExecutorState.EXECUTING, "plan")
        self.session.executed(True, "ok", "done")
        self.step()


def test_a_look_goes_from_observation_to_execution_and_looks_again():
    rig = Rig()
    rig.session.start()
    rig.imagine("a")
    assert rig.state is State.REVIEW
    rig.session.review("a", True, "looks good")
    rig.step()
    assert rig.commands[-1] == Execute(plan_id="a", speed_scale=1.0)
    rig.execute()
    assert [t.state.value for t in rig.transitions] == [
        "handover", "observe", "planning", "planning", "review", "executing", "observe",
    ]  # fmt: skip
    assert rig.transitions[5].reason.endswith("looks good")
    assert [t.plan_id for t in rig.transitions[4:]] == ["a", "a", ""]


def test_what_was_seen_before_the_start_does_not_count():
    rig = Rig()
    rig.wait(5)  # the arms rest, and somebody puts objects on the table
    started_ns = rig.stamp_ns
    rig.session.start()
    rig.until_generation()
    rig.session.generated(started_ns - 10**8, "")
    assert "of before the start" in rig.reason
    rig.imagine()
    assert rig.state is State.REVIEW


def test_nothing_is_executed_without_approval_unless_asked_for():
    rig = Rig()
    rig.session.start()
    rig.imagine()
    rig.wait(20)
    assert not any(isinstance(command, Execute) for command in rig.commands)
    automatic = Rig(auto_approve=True)
    automatic.session.start()
    automatic.imagine()
    assert isinstance(automatic.commands[-1], Execute)


def test_no_video_is_asked_for_before_the_arms_have_rested():
    rig = Rig(rest_s=1.0)
    rig.session.start()
    rig.wait(5, at_rest=False)
    assert rig.state is State.HANDOVER
    rig.wait(0.9)
    assert not rig.commands
    rig.wait(0.5)
    assert rig.commands == [Generate(seed=0)]


def test_a_video_that_starts_while_the_arms_moved_is_made_again():
    rig = Rig()
    rig.session.start()
    rig.until_generation()
    rig.session.generated(rig.stamp_ns - 3 * 10**9, "")
    assert "still moved" in rig.reason
    rig.until_generation()
    assert rig.commands[-1] == Generate(seed=1)


def test_refused_plans_are_made_anew_with_other_seeds_and_then_held():
    rig = Rig(max_attempts=3, seed=7)
    rig.session.start()
    for _ in range(3):
        assert rig.state is not State.HOLD
        rig.imagine(refusal="WORKSPACE: too low")
    assert rig.state is State.HOLD
    assert "WORKSPACE: too low; 3 attempts failed" in rig.reason
    assert [c.seed for c in rig.commands] == [7, 8, 9]
    rig.session.resume()
    rig.imagine()
    assert rig.state is State.REVIEW


def test_two_plans_without_motion_end_the_session():
    rig = Rig()
    rig.session.start()
    rig.imagine(duration_s=0.0)
    assert rig.state is State.OBSERVE
    rig.imagine(duration_s=0.0)
    assert rig.state is State.IDLE
    assert "2 plans in a row hold no motion" in rig.reason


def test_a_motion_in_between_begins_the_count_of_still_plans_anew():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine(duration_s=0.0)
    rig.imagine()
    rig.execute()
    rig.imagine(duration_s=0.0)
    assert rig.state is State.OBSERVE


def test_the_number_of_looks_is_limited():
    rig = Rig(auto_approve=True, max_looks=2)
    rig.session.start()
    for _ in range(2):
        rig.imagine()
        rig.execute()
    assert rig.state is State.IDLE
    assert "limit of 2" in rig.reason


def test_a_plan_that_comes_before_the_generators_answer_counts():
    rig = Rig()
    rig.session.start()
    rig.until_generation()
    stamp_ns = rig.stamp_ns
    rig.session.planned(Proposal(plan_id="1", stamp_ns=stamp_ns, refusal="", duration_s=1.0))
    assert rig.state is State.PLANNING
    rig.session.generated(stamp_ns, "")
    assert rig.state is State.REVIEW


def test_a_plan_of_another_observation_is_ignored():
    rig = Rig()
    rig.session.start()
    rig.until_generation()
    rig.session.generated(rig.stamp_ns, "")
    rig.session.planned(Proposal(plan_id="1", stamp_ns=5, refusal="", duration_s=1.0))
    assert rig.state is State.PLANNING


def test_a_decision_on_another_plan_is_refused():
    rig = Rig()
    rig.session.start()
    with pytest.raises(Refused, match="no plan is under review"):
        rig.session.review("1", True, "")
    rig.imagine("2")
    with pytest.raises(Refused, match="plan 2 is under review, not 1"):
        rig.session.review("1", True, "")


def test_a_rejected_plan_is_followed_by_another_look():
    rig = Rig()
    rig.session.start()
    rig.imagine("2")
    rig.session.review("2", False, "too near the shelf")
    assert rig.state is State.OBSERVE
    assert "too near the shelf" in rig.reason


def test_an_execution_is_paused_and_resumed():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine()
    rig.session.pause()
    assert Request.PAUSE in rig.step()
    rig.session.executor_is(ExecutorState.PAUSED, "paused by the operator")
    assert rig.state is State.PAUSED
    rig.session.resume()
    assert Request.RESUME in rig.step()
    rig.session.executor_is(ExecutorState.EXECUTING, "resumed")
    assert rig.state is State.EXECUTING
    rig.session.executed(True, "ok", "")
    assert rig.state is State.OBSERVE


def test_an_execution_that_fails_holds_and_resumes_with_a_new_look():
    rig = Rig()
    rig.session.start()
    rig.imagine("1")
    rig.session.review("1", True, "")
    rig.session.executed(False, "state_stale", "the arm's state is late")
    assert rig.state is State.HOLD
    assert "state_stale: the arm's state is late" in rig.reason
    rig.session.resume()
    rig.imagine("2")
    assert rig.state is State.REVIEW


def test_without_an_operator_a_pause_is_followed_by_another_look():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine()
    rig.session.executor_is(ExecutorState.PAUSED, "gripper_failed")
    assert Request.STOP in rig.step()
    rig.session.executed(False, "stop", "stopped by the operator")
    assert rig.state is State.OBSERVE
    assert "gripper_failed" in rig.reason
    rig.imagine()
    rig.session.pause()
    rig.session.executor_is(ExecutorState.PAUSED, "paused by the operator")
    assert Request.STOP not in rig.step()


def test_a_plan_that_the_executor_finds_too_old_is_made_anew():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine()
    rig.session.executed(False, "start_mismatch", "the arm has moved")
    assert rig.state is State.OBSERVE


def test_the_operators_hand_ends_everything_and_resumes_only_on_request():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine()
    rig.session.executor_is(ExecutorState.TELEOP, "taken over")
    rig.session.executed(False, "taken_over", "the operator took over")
    assert rig.state is State.TELEOP
    rig.session.executor_is(ExecutorState.READY, "released")
    rig.wait(60)
    assert rig.state is State.HOLD
    rig.session.resume()
    assert rig.state is State.HANDOVER


def test_teleoperation_without_a_session_ends_where_it_began():
    rig = Rig()
    rig.session.executor_is(ExecutorState.TELEOP, "taken over")
    with pytest.raises(Refused, match="teleop"):
        rig.session.start()
    rig.session.executor_is(ExecutorState.READY, "released")
    assert rig.state is State.IDLE


def test_a_fault_of_the_executor_is_left_when_it_is_reset():
    rig = Rig(auto_approve=True)
    rig.session.start()
    rig.imagine()
    rig.session.executor_is(ExecutorState.FAULT, "collision reflex")
    assert rig.state is State.FAULT
    assert "collision reflex" in rig.reason
    with pytest.raises(Refused):
        rig.session.resume()
    rig.session.executor_is(ExecutorState.IDLE, "reset")
    assert rig.state is State.IDLE


def test_stop_gives_everything_up():
    rig = Rig()
    rig.session.start()
    rig.until_generation()
    rig.session.stop()
    assert Request.CANCEL_GENERATION in rig.step()
    assert rig.state is State.IDLE
    rig.session.generated(None, "cancelled")
    assert rig.state is State.IDLE
    rig.session.start()
    rig.imagine("1")
    rig.session.review("1", True, "")
    rig.session.stop()
    assert Request.STOP in rig.step()
    rig.session.executed(False, "stop", "stopped")
    assert rig.state is State.IDLE


def overlapping(**config):
    """A session whose first plan, "1", is being executed, the next one having been asked for."""
    rig = Rig(**{"auto_approve": True, "overlap": True} | config)
    rig.session.start()
    rig.imagine("1")
    rig.begin_execution()
    assert rig.commands[-1] == Generate(seed=rig.asked, continues="1")
    rig.asked += 1
    return rig


def test_plans_of_others_do_not_push_out_the_one_in_execution_and_the_one_ahead():
    rig = Rig(auto_approve=True, overlap=True)
    rig.session.start()
    rig.imagine("a")
    rig.begin_execution()
    rig.imagine_ahead("b")
    for name in ("x", "y", "z"):
        rig.session.planned(Proposal(plan_id=name, stamp_ns=rig.stamp_ns, refusal="", duration_s=1.0))
    assert rig.session.plan_ids == {"a", "b"}
    rig.session.stop()
    assert rig.session.plan_ids == set()


def test_without_overlap_nothing_is_asked_for_while_a_plan_is_executed():
    rig = overlapping()
    other = Rig(auto_approve=True)
    other.session.start()
    other.imagine("1")
    other.begin_execution()
    assert isinstance(other.commands[-1], Execute)
    assert isinstance(rig.commands[-1], Generate)


def test_the_next_plan_is_made_during_the_execution_and_executed_at_its_end():
    rig = overlapping()
    rig.imagine_ahead("2")
    assert (rig.state, rig.session.plan_id) == (State.EXECUTING, "1")
    rig.session.executed(True, "ok", "done")
    assert Execute(plan_id="2", speed_scale=1.0) in rig.step(at_rest=False)
    assert [t.state.value for t in rig.transitions[-3:]] == ["planning", "review", "executing"]
    assert [t.plan_id for t in rig.transitions[-3:]] == ["", "2", "2"]


def test_the_operator_reviews_also_what_was_made_ahead():
    rig = Rig(overlap=True)
    rig.session.start()
    rig.imagine("1")
    rig.session.review("1", True, "")
    rig.begin_execution()
    rig.imagine_ahead("2")
    rig.session.executed(True, "ok", "done")
    rig.wait(20)
    assert rig.state is State.REVIEW
    rig.session.review("2", False, "too fast")
    assert rig.state is State.OBSERVE


def test_nothing_is_predicted_from_a_prediction_of_a_prediction():
    rig = overlapping()
    rig.imagine_ahead("2")
    rig.session.executed(True, "ok", "done")
    rig.begin_execution()
    assert isinstance(rig.commands[-1], Execute)
    rig.session.executed(True, "ok", "done")
    assert rig.state is State.OBSERVE
    rig.imagine("3")
    rig.begin_execution()
    assert rig.commands[-1] == Generate(seed=3, continues="3")


def test_an_execution_is_not_followed_by_a_plan_beyond_the_limit():
    rig = Rig(auto_approve=True, overlap=True, max_looks=1)
    rig.session.start()
    rig.imagine("1")
    rig.begin_execution()
    assert isinstance(rig.commands[-1], Execute)


def test_a_pause_asks_for_nothing_twice_and_keeps_what_was_made_ahead():
    rig = overlapping()
    rig.session.pause()
    rig.session.executor_is(ExecutorState.PAUSED, "paused by the operator")
    rig.imagine_ahead("2")
    assert rig.state is State.PAUSED
    rig.session.resume()
    rig.begin_execution()
    assert sum(isinstance(command, Generate) for command in rig.commands) == rig.asked
    rig.session.executed(True, "ok", "done")
    assert Execute(plan_id="2", speed_scale=1.0) in rig.step()


def test_a_video_that_is_late_is_waited_for_after_the_execution():
    rig = overlapping()
    rig.session.executed(True, "ok", "done")
    rig.wait(20)
    assert rig.state is State.PLANNING
    rig.imagine_ahead("2")
    assert Execute(plan_id="2", speed_scale=1.0) in rig.commands


def test_a_video_or_a_plan_that_never_comes_is_given_up_for_a_look():
    for seconds, answers in ((185, False), (65, True)):
        rig = overlapping()
        if answers:
            rig.session.generated(rig.stamp_ns, "")
        rig.session.executed(True, "ok", "done")
        rig.wait(seconds)
        assert "observing anew" in next(
            t.reason for t in rig.transitions if t.state is State.OBSERVE and "anew" in t.reason
        )
        assert (Request.CANCEL_GENERATION in rig.commands) is not answers
        assert rig.commands[-1] == Generate(seed=2)


@pytest.mark.parametrize(
    "ahead", [{"refusal": "INNOVATION: not there"}, {"duration_s": 0.0}], ids=["refused", "without motion"]
)
def test_a_plan_ahead_that_is_worth_nothing_is_dropped_for_a_look(ahead):
    rig = overlapping(still_looks=1, max_attempts=1)
    rig.imagine_ahead("2", **ahead)
    assert rig.state is State.EXECUTING
    rig.session.executed(True, "ok", "done")
    assert rig.state is State.OBSERVE  # neither the end of the session nor an attempt that failed
    rig.imagine("3")
    assert rig.commands[-1] == Execute(plan_id="3", speed_scale=1.0)


def test_a_generator_that_refuses_the_predicted_end_is_followed_by_a_look():
    rig = overlapping(max_attempts=1)
    rig.session.generated(None, "not the last video")
    rig.session.executed(True, "ok", "done")
    assert rig.state is State.OBSERVE
    assert "not the last video; observing anew" in rig.reason


@pytest.mark.parametrize("code", ["start_mismatch", "stale_plan"])
def test_a_plan_that_the_arms_did_not_come_to_is_dropped_for_a_look(code):
    rig = overlapping(auto_approve=True, max_attempts=1)
    rig.imagine_ahead("2")
    rig.session.executed(True, "ok", "done")
    rig.session.executed(False, code, "the arm is elsewhere")
    assert rig.state is State.OBSERVE
    rig.imagine("3")
    assert rig.state is State.EXECUTING


def test_what_was_made_ahead_of_a_plan_that_failed_is_never_executed():
    rig = overlapping()
    rig.imagine_ahead("2")
    rig.session.executed(False, "contact", "it touched something")
    assert rig.state is State.OBSERVE
    rig.session.planned(Proposal(plan_id="2", stamp_ns=rig.foreseen_ns, refusal="", duration_s=5.0))
    rig.imagine("3")
    assert rig.commands[-1] == Execute(plan_id="3", speed_scale=1.0)


def test_a_video_of_a_plan_that_failed_is_cancelled_before_another_one_is_asked_for():
    rig = overlapping(rest_s=0.6)
    rig.wait(5)  # the arms rest already, as after a pause
    rig.session.executed(False, "start_mismatch", "the arm has moved")
    assert rig.step() == (Request.CANCEL_GENERATION,)
    rig.wait(0.4)
    assert rig.commands[-1] is Request.CANCEL_GENERATION
    rig.wait(0.4)
    assert rig.commands[-1] == Generate(seed=2)


@pytest.mark.parametrize(
    ("news", "state"),
    [
        (lambda session: session.stop(), State.IDLE),
        (lambda session: session.executor_is(ExecutorState.FAULT, "reflex"), State.FAULT),
        (lambda session: session.executor_is(ExecutorState.TELEOP, "taken over"), State.TELEOP),
    ],
    ids=["stop", "fault", "teleop"],
)
@pytest.mark.parametrize("early", [True, False], ids=["plan ahead is there", "video is being made"])
def test_whoever_ends_the_execution_ends_what_is_made_ahead(news, state, early):
    rig = overlapping()
    if early:
        rig.imagine_ahead("2")
    news(rig.session)
    rig.step()
    assert rig.state is state
    assert (Request.CANCEL_GENERATION in rig.commands) is not early
    rig.session.executed(False, "taken_over", "it has ended")
    rig.session.generated(rig.stamp_ns, "")
    rig.wait(5)
    assert rig.state is state
    assert sum(isinstance(command, Execute) for command in rig.commands) == 1


def reach(state):
    """A session that waits in a state."""
    rig = Rig()
    rig.session.start()
    if state is State.HANDOVER:
        return rig, {"at_rest": False}
    if state is State.OBSERVE:
        while not rig.commands:
            rig.step()
        return rig, {}
    if state is State.PLANNING:
        rig.until_generation()
        rig.session.generated(rig.stamp_ns, "")
        return rig, {}
    rig.imagine()
    if state is not State.REVIEW:
        rig.session.review("1", True, "")
    if state is State.PAUSED:
        rig.session.executor_is(ExecutorState.PAUSED, "gripper")
    return rig, {}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.HANDOVER, "did not come to rest, or their joint states do not arrive, within 15 s"),
        (State.OBSERVE, "the generator made no video: see its log within 15 s"),
        (State.PLANNING, "see the logs of tracker and planner within 60 s"),
        (State.REVIEW, "nobody decided on the plan within 90 s"),
        (State.EXECUTING, "the execution did not end"),
        (State.PAUSED, "nobody resumed the plan within 300 s"),
    ],
)
def test_every_wait_ends_with_a_reason(state, reason):
    rig, changes = reach(state)
    rig.step(**changes)
    assert rig.state is state
    rig.wait(310, **changes)
    assert rig.state is State.HOLD
    assert reason in rig.transitions[-1].reason


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (State.OBSERVE, "generator"),
        (State.PLANNING, "planner"),
        (State.EXECUTING, "executor"),
        (State.EXECUTING, "planner"),
    ],
)
def test_a_node_that_is_gone_is_named(state, name):
    rig, changes = reach(state)
    rig.step(**changes, missing=(name,))
    assert rig.state is State.HOLD
    assert f"the node {name} is not there" in rig.transitions[-1].reason


def test_impossible_settings_are_refused():
    for wrong in ({"max_looks": 0}, {"speed_scale": 0.01}, {"rest_s": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            dataclasses.replace(SessionConfig(), **wrong)


class AnyNews(RuleBasedStateMachine):
    """Whatever comes in whatever order: nothing is executed that was not approved, and what is begun is ended."""

    def __init__(self):
        super().__init__()
        self.rig, self.approved, self.count = Rig(overlap=True), set(), 0

    @rule(request=st.sampled_from(["start", "stop", "pause", "resume"]))
    def ask(self, request):
        with contextlib.suppress(Refused):
            getattr(self.rig.session, request)()

    @rule(approve=st.booleans())
    def decide(self, approve):
        plan_id = self.rig.session.plan_id
        try:
            self.rig.session.review(plan_id, approve, "")
        except Refused:
            return
        if approve:
            self.approved.add(plan_id)

    @rule(seconds=st.sampled_from([0.1, 2.0, 20.0]), at_rest=st.booleans())
    def wait(self, seconds, at_rest):
        self.rig.wait(seconds, at_rest=at_rest)

    @rule(good=st.booleans())
    def generated(self, good):
        self.rig.session.generation_began()
        self.rig.session.generated(self.rig.stamp_ns if good else None, "no image")

    @rule(refusal=st.sampled_from(["", "too far"]), duration_s=st.sampled_from([0.0, 3.0]))
    def planned(self, refusal, duration_s):
        self.count += 1
        attempt = self.rig.session._attempt
        observation_ns = (attempt and attempt.observation_ns) or 0
        self.rig.session.planned(
            Proposal(plan_id=str(self.count), stamp_ns=observation_ns, refusal=refusal, duration_s=duration_s)
        )

    @rule(success=st.booleans(), code=st.sampled_from(["stop", "start_mismatch", "taken_over"]))
    def executed(self, success, code):
        self.rig.session.executed(success, code, "")

    @rule(state=st.sampled_from(list(ExecutorState)))
    def executor(self, state):
        self.rig.session.executor_is(state, "news")

    @invariant()
    def only_approved_plans_are_executed(self):
        self.rig.step()
        executed = [command.plan_id for command in self.rig.commands if isinstance(command, Execute)]
        assert set(executed) <= self.approved
        assert len(set(executed)) == len(executed)

    @invariant()
    def a_plan_is_named_where_there_is_one(self):
        with_plan = (State.REVIEW, State.EXECUTING, State.PAUSED)
        assert (self.rig.state in with_plan) == bool(self.rig.session.plan_id)

    @invariant()
    def transitions_are_a_chain(self):
        states = [(t.previous, t.state) for t in self.rig.transitions]
        assert all(a[1] is b[0] for a, b in itertools.pairwise(states))


TestAnyNews = AnyNews.TestCase
TestAnyNews.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
