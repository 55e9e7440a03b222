"""The executor as its users see it: a process among arms, grippers, an operator and a session."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from arm_stand_in import JOINT_NAMES, TICK_S, ArmStandIn, executor_command
from diagnostic_msgs.msg import DiagnosticArray
from execution_rig import HOME, derivatives, plan
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.serialization import serialize_message
from robo4d_msgs.action import ExecutePlan
from robo4d_msgs.msg import ExecutorState
from robo4d_msgs.msg import Plan as PlanMessage
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import message_from_plan
from ros_probe import Probe, Process
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger


class Cell:
    """Arms, a running executor, and somebody who watches."""

    def __init__(self, **parameters):
        self.arms = ArmStandIn(HOME)
        self.process = Process(executor_command(**parameters))
        self.probe = Probe("watcher")
        self.states = self.probe.listen(ExecutorState, "executor/state", LATCHED)
        self.diagnostics = self.probe.listen(DiagnosticArray, "/diagnostics", 10)
        self.wait_until_well()
        self._number = 0

    def wait_until_well(self):
        """The executor has heard all that it must hear."""
        self.diagnostics.next(lambda m: m.status[0].message == "ok")

    def close(self):
        self.probe.close()
        self.process.close()
        self.arms.close()

    def recover(self):
        """Everything in order, nothing commanded."""
        self.arms.restore()
        self.ask("stop")
        deadline = time.monotonic() + 20
        while not (answer := self.ask("reset")).success:  # until it rests and the arms' recovery has been heard
            assert time.monotonic() < deadline, answer.message
        self.arms.wait_until_told()  # the last targets have arrived
        self.arms.restore()
        self.arms.wait_until_told()
        assert self.ask("reset").success  # answered after what was told before
        self.states.clear()

    def ask(self, request):
        return self.probe.call(Trigger, f"executor/{request}")

    def message(self, **options):
        self._number += 1
        stamp_ns = self.probe.node.get_clock().now().nanoseconds
        motion = plan(**{"stamp_ns": stamp_ns, "moves": ((0.0, 0.0, 0.1),), "move_s": 1.0} | options)
        return message_from_plan(motion, plan_id=f"plan {time.time_ns()}", joint_names=JOINT_NAMES)

    def execute(self, message=None, *, speed_scale=1.0, **options):
        goal = ExecutePlan.Goal(plan=message or self.message(**options), speed_scale=speed_scale)
        return self.probe.send_goal(ExecutePlan, "execute_plan", goal)

    def execute_until_moving(self, **options):
        """A plan of which a good part is still to come."""
        goal = self.execute(**{"moves": ((0.2, 0.0, 0.2),), "move_s": 10.0} | options)
        start, poses = HOME["left"][:3, 3], self.arms.poses
        self.arms.wait(lambda: goal.done or np.linalg.norm(poses["left"][:3, 3] - start) > 0.01, "the arms to move")
        assert not goal.done, goal.result().result.message
        return goal


@pytest.fixture(scope="module")
def shared_cell():
    cell = Cell()
    yield cell
    cell.close()


@pytest.fixture
def cell(shared_cell):
    shared_cell.recover()
    return shared_cell


def assert_smooth(cell):
    """The arm was never commanded a jolt; its targets are a tick apart."""
    limits = derivatives(cell.arms.path("left"), TICK_S)
    assert limits["velocity"][0] < 0.3
    assert limits["acceleration"][0] < 2.5
    assert limits["jerk"][0] < 60


def test_a_plan_moves_the_arms_along_its_path_and_uses_the_gripper_once(cell):
    moves = ((0.0, 0.0, 0.1), (0.1, 0.0, 0.0))
    goal = cell.execute(moves=moves)
    result = goal.result(60)
    assert (result.status, result.result.code) == (GoalStatus.STATUS_SUCCEEDED, "ok")
    defined = plan(moves=moves, move_s=1.0).arms
    for arm in HOME:
        end = defined[arm].Ts_world_tcp[-1]
        cell.arms.wait(lambda arm=arm, end=end: np.allclose(cell.arms.poses[arm], end, atol=1e-6), "the plan's end")
        on_path = defined[arm].Ts_world_tcp[:, :3, 3]
        for pose in cell.arms.path(arm)[::10]:
            assert np.linalg.norm(on_path - pose[:3, 3], axis=1).min() < 0.003
    assert cell.arms.grips == [("left", "grasp")]
    assert_smooth(cell)
    assert goal.feedback


def test_a_goal_may_name_the_newest_plan_only(cell):
    message = cell.message()
    cell.probe.publisher(PlanMessage, "plan", LATCHED).publish(message)
    deadline = time.monotonic() + 20
    code = "unknown_plan"
    while code == "unknown_plan" and time.monotonic() < deadline:
        code = cell.execute(PlanMessage(id=message.id)).result(60).result.code
    assert code == "ok"


def test_pausing_resuming_and_slowing_down_stay_smooth(cell):
    goal = cell.execute_until_moving(move_s=5.0)
    assert cell.ask("pause").success
    cell.states.wait(lambda m: m.state == "paused")
    assert cell.probe.set_parameter("executor", "speed_scale", 0.5).successful
    assert cell.ask("resume").success
    assert goal.result(60).result.success
    assert cell.probe.set_parameter("executor", "speed_scale", 1.0).successful
    assert_smooth(cell)


def test_cancelling_stops_along_the_path(cell):
    goal = cell.execute_until_moving()
    goal.cancel()
    result = goal.result()
    assert (result.status, result.result.code) == (GoalStatus.STATUS_CANCELED, "canceled")
    assert_smooth(cell)


def test_a_speed_out_of_range_is_refused(cell):
    assert not cell.probe.set_parameter("executor", "speed_scale", 1.5).successful
    assert cell.execute(speed_scale=2.0).result().result.code == "speed_scale"


def nan_pose(cell):
    message = cell.message()
    message.arms[0].trajectory.points[3].transforms[0].translation.x = float("nan")
    return message


def old(cell):
    return cell.message(stamp_ns=cell.probe.node.get_clock().now().nanoseconds - 300 * 10**9)


def not_accepted(cell):
    message = cell.message()
    message.verdict.code, message.verdict.reason = 41, "the elbow is straight"
    return message


def elsewhere(cell):
    return cell.message(start={arm: T @ np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 0.05 for arm, T in HOME.items()})


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (nan_pose, "invalid_plan"),
        (old, "stale_plan"),
        (not_accepted, "not_accepted"),
        (elsewhere, "start_mismatch"),
        (lambda cell: cell.message(move_s=0.3), "too_fast"),
    ],
)
def test_a_plan_that_must_not_be_executed_is_refused_and_nothing_moves(cell, make, code):
    result = cell.execute(make(cell)).result()
    assert (result.status, result.result.code) == (GoalStatus.STATUS_ABORTED, code)
    assert len(result.result.message) > 30
    assert not cell.arms.targets["left"]


def test_a_plan_is_executed_only_once(cell):
    message = cell.message()
    assert cell.execute(message).result(60).result.success
    assert cell.execute(message).result().result.code == "executed_before"


FAULTS = {
    "state_stale": (lambda arms: setattr(arms, "silent", True), "hold"),
    "state_invalid": (lambda arms: setattr(arms, "nan", True), "hold"),
    "heartbeat_lost": (lambda arms: setattr(arms, "heart_beats", False), "hold"),
    "controller_fault": (lambda arms: setattr(arms, "fault", "cartesian_reflex"), "fault"),
    "contact": (lambda arms: setattr(arms, "force_n", 40.0), "paused"),
    "tracking_error": (lambda arms: setattr(arms, "reflex", True), "paused"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_leads_to_its_state_and_says_how_to_mend_it(cell, code):
    breaks, state = FAULTS[code]
    goal = cell.execute_until_moving()
    breaks(cell.arms)
    message = cell.states.wait(lambda m: m.code == code)
    cell.states.wait(lambda m: m.state == state)
    assert len(message.reason) > 40
    if state == "paused":
        assert not goal.done
    else:
        result = goal.result()
        assert (result.status, result.result.code) == (GoalStatus.STATUS_ABORTED, code)
    assert_smooth(cell)


def test_a_gripper_that_hangs_pauses_and_resuming_goes_on(cell):
    cell.arms.hang = True
    goal = cell.execute(moves=((0.0, 0.0, 0.05), (0.05, 0.0, 0.0)))
    cell.states.wait(lambda m: m.code == "gripper_timeout" and m.state == "paused")
    cell.arms.hang = False
    assert cell.ask("resume").success
    assert goal.result(60).result.success


def test_a_gripper_that_holds_nothing_pauses(cell):
    cell.arms.abort = True
    cell.execute(moves=((0.0, 0.0, 0.05), (0.05, 0.0, 0.0)))
    message = cell.states.wait(lambda m: m.code == "gripper_failed")
    assert "no object" in message.reason


def test_a_second_publisher_is_told_by_its_topic(cell):
    goal = cell.execute_until_moving()
    intruder = Probe("intruder")
    intruder.node.create_publisher(PoseStamped, "left/target_pose", 1)
    try:
        message = cell.states.wait(lambda m: m.code == "second_publisher")
        assert "on /left/target_pose" in message.reason  # its name can be known later than its topic
        assert goal.result().result.code == "second_publisher"
        assert_smooth(cell)
    finally:
        intruder.close()


HEART = """
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("session")
heart = node.create_publisher(String, "heartbeat", 10)
node.create_timer(0.05, lambda: heart.publish(String(data="session")))
print("beats", flush=True)
rclpy.spin(node)
"""


def test_the_arms_stop_smoothly_and_hold_when_the_session_is_killed(cell, start):
    session = start([sys.executable, "-c", HEART])
    session.wait_for_line("beats")
    goal = cell.execute_until_moving()
    cell.arms.heart_beats = False
    count = len(cell.arms.targets["left"])
    assert not goal.done  # the session's own heart beats
    session.close()  # kill -9
    assert goal.result().result.code == "heartbeat_lost"
    assert cell.states.wait(lambda m: m.state == "hold")
    assert_smooth(cell)
    assert len(cell.arms.targets["left"]) > count
    last = cell.arms.path("left")[-1]
    held = count + 100
    cell.arms.wait(lambda: len(cell.arms.targets["left"]) > held, "the last target to be told on")
    np.testing.assert_allclose(cell.arms.path("left")[-1], last, atol=1e-3)


STAND_IN = """
import sys
import rclpy
from std_msgs.msg import String
rclpy.init()
role, file = sys.argv[1:]
node = rclpy.create_node(role)
heart = node.create_publisher(String, "heartbeat", 10)
node.create_timer(0.05, lambda: heart.publish(String(data=role)))
if role in ("planner", "session"):
    from rclpy.action import ActionClient
    from rclpy.serialization import deserialize_message
    from robo4d_msgs.action import ExecutePlan
    from robo4d_msgs.msg import Plan
    from robo4d_ros.execution.arm_listener import LATCHED
if role == "planner":
    plans = node.create_publisher(Plan, "plan", LATCHED)
    plans.publish(deserialize_message(open(file, "rb").read(), Plan))
if role == "session":
    client = ActionClient(node, ExecutePlan, "execute_plan")
    client.wait_for_server()
    approve = lambda plan: client.send_goal_async(ExecutePlan.Goal(plan=plan, speed_scale=1.0))
    node.create_subscription(Plan, "plan", approve, LATCHED)
print("is there", flush=True)
rclpy.spin(node)
"""


def test_the_arms_come_to_rest_when_every_other_process_is_killed_at_once(cell, start, tmp_path):
    (tmp_path / "plan").write_bytes(serialize_message(cell.message(moves=((0.2, 0.0, 0.2),), move_s=10.0)))
    roles = ("session", "generator", "tracker", "planner")
    others = [start([sys.executable, "-c", STAND_IN, role, tmp_path / "plan"]) for role in roles]
    for other in others:
        other.wait_for_line("is there")
    cell.arms.heart_beats = False
    cell.states.wait(lambda m: m.state == "executing")
    start_m = HOME["left"][:3, 3]
    cell.arms.wait(lambda: np.linalg.norm(cell.arms.poses["left"][:3, 3] - start_m) > 0.01, "the arms to move")
    for other in others:
        other.signal(signal.SIGKILL)
    message = cell.states.wait(lambda m: m.state == "hold")
    assert message.code == "heartbeat_lost"
    assert_smooth(cell)
    last, told = cell.arms.path("left")[-1], len(cell.arms.targets["left"])
    cell.arms.wait(lambda: len(cell.arms.targets["left"]) > told + 50, "the last target to be told on")
    np.testing.assert_allclose(cell.arms.path("left")[-1], last, atol=1e-3)
    cell.arms.heart_beats = True
    cell.wait_until_well()


def test_a_jump_of_the_messages_clock_stops_the_arms(cell):
    goal = cell.execute_until_moving()
    assert cell.probe.set_parameter("executor", "use_sim_time", True).successful  # nobody plays /clock: it is 0
    try:
        message = cell.states.wait(lambda m: m.code == "clock_jumped")
        assert "restart what plays /clock" in message.reason
        assert goal.result().result.code == "clock_jumped"
        assert_smooth(cell)
    finally:
        assert cell.probe.set_parameter("executor", "use_sim_time", False).successful


def test_the_operator_takes_over_and_gives_back(cell):
    goal = cell.execute_until_moving()
    joy = cell.probe.publisher(Joy, "joy")
    twist = cell.probe.publisher(TwistStamped, "left/teleop/twist")
    pressed = Joy(buttons=[0, 0, 0, 0, 1])
    timer = cell.probe.node.create_timer(0.02, lambda: (joy.publish(pressed), twist.publish(forwards())))
    try:
        cell.states.wait(lambda m: m.state == "teleop")
        assert goal.result().result.code == "taken_over"
        x = cell.arms.poses["left"][0, 3]
        cell.arms.wait(lambda: cell.arms.poses["left"][0, 3] > x + 0.03, "the arm to follow the operator")
        pressed.buttons = [0, 0, 0, 0, 0]
        cell.states.wait(lambda m: m.state == "ready" and m.code == "released")
    finally:
        timer.cancel()
    assert_smooth(cell)


def forwards():
    message = TwistStamped()
    message.twist.linear.x = 0.05
    return message


def test_diagnostics_name_what_is_wrong(cell):
    healthy = cell.diagnostics.next(lambda m: m.status[0].message == "ok")
    assert healthy.status[0].level == b"\x00"
    cell.arms.nan = True
    broken = cell.diagnostics.next(lambda m: "state_invalid" in m.status[0].message)
    assert broken.status[0].level == b"\x02"


def test_the_arms_come_to_rest_before_the_process_ends(cell):
    goal = cell.execute_until_moving()
    cell.process.signal(15)
    assert cell.process.wait() == 0
    path = cell.arms.path("left")
    assert_smooth(cell)
    np.testing.assert_allclose(path[-1], path[-3], atol=1e-4)  # 0.2 m/s would be 8e-3
    assert not goal.done or not goal.result().result.success
    cell.process = Process(executor_command())
    cell.states.clear()
    cell.states.wait(lambda m: m.state == "idle")
    cell.wait_until_well()


def test_a_parameter_that_makes_no_sense_ends_the_process_with_the_reason():
    run = subprocess.run(
        executor_command(**{"executor.watchdog.force_n": -1.0}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "force_n" in run.stderr + run.stdout
