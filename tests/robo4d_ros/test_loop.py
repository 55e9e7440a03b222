"""The whole loop as a user starts it: the simulated cell, the oracle, and every node between them."""

import os
import signal
import sys
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from mcap.reader import make_reader
from robo4d_msgs.msg import ExecutorState, SessionState
from robo4d_msgs.msg import Plan as PlanMessage
from robo4d_msgs.msg import RgbdPair as PairMessage
from robo4d_msgs.srv import ReviewPlan
from robo4d_ros.conversions import ns_from_time
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import plan_from_message
from ros_probe import Probe, Process
from std_srvs.srv import Trigger

pytestmark = pytest.mark.flaky(reruns=0)  # each test goes on where the one before it ended
PATIENT_S = 120.0
PARAMETERS = {  # small pictures, few states, and patience: the machine may be busy with other tests
    "sim": {"width": 160, "height": 160, "camera_rate_hz": 3.0, "state_rate_hz": 25.0},
    "generator": {"max_wait_s": 60.0},
    "session": {
        "session.max_attempts": 5,
        "session.overlap": True,
        **{f"session.{name}_limit_s": 100.0 for name in ("handover", "observe", "generate", "plan")},
    },
    "executor": {
        "executor.period_s": 0.04,
        "executor.gripper_timeout_s": 30.0,
        "executor.watchdog.state_timeout_s": 20.0,
        "executor.watchdog.heartbeat_timeout_s": 20.0,
        "executor.watchdog.late_tick_s": 20.0,
        "executor.watchdog.tracking_position_m": 0.2,
        "executor.watchdog.tracking_rotation_rad": 1.0,
    },
}


class Cell:
    """All nodes, and an operator."""

    def __init__(self, folder):
        file = folder / "patient.yaml"
        file.write_text(
            yaml.safe_dump({f"/**/{node}": {"ros__parameters": values} for node, values in PARAMETERS.items()})
        )
        self.bag = folder / "session.mcap"
        given = ["sim:=true", "generator:=oracle", "seed:=1", f"bag:={self.bag}", f"params_file:={file}"]
        self.process = Process([sys.executable, "-m", "robo4d_ros.bringup", *given])
        self.probe = Probe("operator")
        self.states = self.probe.listen(SessionState, "session/state", LATCHED)
        self.executor = self.probe.listen(ExecutorState, "executor/state", LATCHED)
        self.diagnostics = self.probe.listen(DiagnosticArray, "/diagnostics", 10)
        self.plans = self.probe.listen(PlanMessage, "plan", LATCHED)
        self.observations = self.probe.listen(PairMessage, "predicted/observation", LATCHED)

    def start(self):
        """As soon as all nodes are there."""
        self.executor.wait(timeout_s=PATIENT_S)
        self.states.wait(timeout_s=PATIENT_S)
        self.process.wait_for_line("ready to generate", PATIENT_S)
        while not self.probe.call(Trigger, "session/start", timeout_s=PATIENT_S).success:
            self.diagnostics.next()  # some node is not there yet

    def until(self, state):
        return self.states.wait(lambda m: m.state == state, PATIENT_S)

    def until_executing(self):
        """Approve the plan that awaits it, if there is one; on a busy machine, the first one may have been stopped."""
        while (state := self.states.messages[-1]).state != SessionState.EXECUTING:
            if state.state == SessionState.REVIEW:
                self.review(state.plan_id)
            self.states.wait(lambda m, old=state: m is not old and m is self.states.messages[-1], PATIENT_S)

    def review(self, plan_id, approve=True):
        request = ReviewPlan.Request(plan_id=plan_id, approve=approve, reason="test")
        return self.probe.call(ReviewPlan, "session/review", request)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    cell = Cell(tmp_path_factory.mktemp("loop"))
    yield cell
    cell.probe.close()
    cell.process.close()


def test_one_look_goes_from_start_to_an_approved_motion_of_the_arms(cell):
    cell.start()
    under_review = cell.until(SessionState.REVIEW)
    plan = plan_from_message(cell.plans.wait(lambda m: m.id == under_review.plan_id))
    assert plan.verdict.accepted
    assert plan.duration_s > 1
    assert not cell.review("another").success
    assert cell.review(under_review.plan_id).success
    cell.until(SessionState.EXECUTING)
    assert cell.executor.wait(lambda m: m.state == "executing", PATIENT_S).plan_id == under_review.plan_id
    order = [m.state for m in cell.states.messages if m.state != m.previous]
    assert order[-4:] == ["observe", "planning", "review", "executing"]


def test_the_next_video_is_made_meanwhile_and_starts_from_the_predicted_end_of_the_plan(cell):
    ahead = cell.observations.wait(lambda m: m.foreseen, PATIENT_S)
    seen = [ns_from_time(m.n.color.header.stamp) for m in cell.observations.messages if not m.foreseen]
    assert any(0 < ns_from_time(ahead.n.color.header.stamp) - stamp_ns < 1000 for stamp_ns in seen)
    assert {posture.arm for posture in ahead.foreseen} == {"left", "right"}


def test_a_planner_that_is_killed_during_the_motion_stops_it_and_can_be_gone_on_from(cell):
    cell.until_executing()
    kill_node(cell.process.pid, "planner")
    held = cell.until(SessionState.HOLD)
    assert "the node planner is not there: start it, then `resume`" in held.reason
    cell.executor.wait(lambda m: m.state == "ready", PATIENT_S)
    cell.process.wait_for_line("planner starts again", PATIENT_S)
    cell.states.clear()
    assert cell.probe.call(Trigger, "session/resume").success
    cell.until(SessionState.OBSERVE)


def kill_node(bringup, name):
    """kill -9 a node that bringup has started."""
    children = Path(f"/proc/{bringup}/task/{bringup}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in children}
    os.kill(next(pid for pid, command in commands.items() if f"__node:={name}" in command), signal.SIGKILL)


def test_a_stop_comes_to_rest_and_the_bag_tells_the_story(cell):
    cell.states.clear()
    assert cell.probe.call(Trigger, "session/stop").success
    cell.until(SessionState.IDLE)
    cell.executor.wait(lambda m: m.state in ("ready", "hold"), PATIENT_S)
    cell.process.signal(signal.SIGINT)
    assert cell.process.wait(60) == 0
    lines = cell.process.lines
    traced = next((i for i, line in enumerate(lines) if "Traceback" in line), len(lines))
    assert not lines[traced:], "\n".join(lines[traced : traced + 60])
    with cell.bag.open("rb") as file:
        counts = make_reader(file).get_summary()
    topics = {channel.topic: counts.statistics.channel_message_counts[i] for i, channel in counts.channels.items()}
    for topic in ("camera_n/color/image_raw", "predicted/video", "left/track", "plan", "left/target_pose"):
        assert topics[f"/{topic}"] > 0
    assert topics["/session/state"] >= 6
