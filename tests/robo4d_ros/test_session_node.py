"""The session by itself, as a process: what it says, and what it refuses."""

import sys

import pytest
from robo4d_msgs.msg import SessionState
from robo4d_msgs.srv import ReviewPlan
from robo4d_ros.execution.arm_listener import LATCHED
from ros_probe import Probe, Process
from std_msgs.msg import String
from std_srvs.srv import Trigger


@pytest.fixture(scope="module")
def session():
    """A session without any other node, and somebody who asks."""
    process = Process([sys.executable, "-m", "robo4d_ros.session_node"])
    process.wait_for_line("waiting for session/start", 60)
    probe = Probe("operator")
    yield probe
    probe.close()
    process.close()


def test_it_is_idle_until_asked_and_its_heart_beats(session):
    state = session.listen(SessionState, "session/state", LATCHED).wait()
    assert (state.state, state.reason) == (SessionState.IDLE, "waiting for session/start")
    assert session.listen(String, "heartbeat").wait().data == "session"


def test_a_start_without_the_other_nodes_names_them(session):
    answer = session.call(Trigger, "session/start")
    assert not answer.success
    assert all(name in answer.message for name in ("generator", "tracker", "planner", "executor"))


@pytest.mark.parametrize(("request_name", "reason"), [("pause", "only an execution"), ("resume", "nothing to resume")])
def test_requests_that_make_no_sense_are_refused_with_a_reason(session, request_name, reason):
    answer = session.call(Trigger, f"session/{request_name}")
    assert not answer.success
    assert reason in answer.message


def test_a_decision_without_a_plan_is_refused(session):
    answer = session.call(ReviewPlan, "session/review", ReviewPlan.Request(plan_id="7", approve=True))
    assert not answer.success
    assert "no plan is under review" in answer.message


def test_stop_is_never_refused(session):
    assert session.call(Trigger, "session/stop").success


def test_impossible_settings_end_the_process_with_a_reason(start):
    process = start([sys.executable, "-m", "robo4d_ros.session_node", "--ros-args", "-p", "session.max_looks:=0"])
    assert process.wait(60) == 1
    assert any("must be positive" in line for line in process.lines)
