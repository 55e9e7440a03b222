"""The executor and the simulated cell, two processes: real physics, and faults where the robot is."""

import sys

import numpy as np
import pytest
from arm_stand_in import JOINT_NAMES, T_WORLD_BASE, executor_command
from diagnostic_msgs.msg import DiagnosticArray
from execution_rig import HOME, plan
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from robo4d_msgs.action import ExecutePlan
from robo4d_msgs.msg import ExecutorState
from robo4d_msgs.srv import InjectFault, ResetSim
from robo4d_ros import conversions
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import message_from_plan
from ros_probe import Probe, Process
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robo4d.geometry import se3

F = InjectFault.Request
SIM = ("width:=32", "height:=24", "camera_rate_hz:=1.0")


class Cell:
    """The simulation, the executor with its check of the kinematics, and a session's heart."""

    def __init__(self):
        sim = [sys.executable, "-m", "robo4d_ros.sim_node", "--ros-args"]
        self.processes = [
            Process([*sim, *(part for value in SIM for part in ("-p", value))]),
            Process(executor_command(**{"robot": "fer", "executor.watchdog.state_timeout_s": 20.0})),
        ]
        self.probe = Probe("watcher")
        self.states = self.probe.listen(ExecutorState, "executor/state", LATCHED)
        self.diagnostics = self.probe.listen(DiagnosticArray, "/diagnostics", 10)
        heart = self.probe.node.create_publisher(String, "heartbeat", 10)
        self.probe.node.create_timer(0.1, lambda: heart.publish(String(data="session")))
        self.poses = {arm: self.listen(PoseStamped, f"{arm}/current_pose") for arm in HOME}
        self.joints = {arm: self.listen(JointState, f"{arm}/joint_states") for arm in HOME}

    def listen(self, kind, topic):
        return self.probe.listen(kind, topic, qos_profile_sensor_data)

    def close(self):
        self.probe.close()
        for process in self.processes:
            process.close()

    def ask(self, request):
        return self.probe.call(Trigger, f"executor/{request}")

    def inject(self, fault, target=""):
        assert self.probe.call(InjectFault, "sim/inject_fault", F(fault=fault, target=target)).success

    def begin(self):
        """A fresh episode; the executor has heard of it."""
        self.ask("stop")
        self.inject(F.CLEAR)
        while not self.ask("reset").success:
            self.poses["left"].next()
        assert self.probe.call(ResetSim, "sim/reset", ResetSim.Request(seed=1)).success
        self.diagnostics.next(lambda m: any("executor" in s.name and s.message == "ok" for s in m.status))
        self.states.clear()

    def pose(self, arm):
        return T_WORLD_BASE[arm] @ conversions.matrix_from_pose(self.poses[arm].next().pose)

    def execute(self, **options):
        """A plan from where the arms are, and its goal. Its joints do not move: they are not used."""
        start = {arm: self.pose(arm) for arm in HOME}
        stamp_ns = self.probe.node.get_clock().now().nanoseconds
        motion = plan(**{"stamp_ns": stamp_ns, "start": start, "turn": 0.0, "arms": ("left",)} | options)
        message = message_from_plan(motion, plan_id=str(stamp_ns), joint_names=JOINT_NAMES)
        points = message.arms[0].joint_trajectory.points
        joints = self.joints["left"].next().position[:7]
        for point in points:
            point.positions, point.velocities, point.accelerations = joints, np.zeros(7), np.zeros(7)
        goal = self.probe.send_goal(ExecutePlan, "execute_plan", ExecutePlan.Goal(plan=message, speed_scale=1.0))
        return motion, goal


@pytest.fixture(scope="module")
def running():
    cell = Cell()
    yield cell
    cell.close()


@pytest.fixture
def cell(running):
    running.begin()
    return running


UP = ((0.0, 0.0, 0.08), (0.0, 0.05, 0.0))


def test_the_arm_follows_a_plan_and_a_grasp_of_nothing_is_told(cell):
    poses = cell.poses["left"]
    motion, goal = cell.execute(moves=UP, move_s=2.0)
    poses.clear()
    assert cell.states.wait(lambda m: m.state == "paused").code == "gripper_failed"
    assert cell.ask("resume").success
    result = goal.result(60).result
    assert result.code == "ok", result.message
    path = motion.arms["left"].Ts_world_tcp[:, :3, 3]
    followed = [T_WORLD_BASE["left"] @ conversions.matrix_from_pose(message.pose) for message in poses.messages]
    assert max(np.linalg.norm(path - T[:3, 3], axis=1).min() for T in followed) < 0.02
    distance, angle = se3.distance(cell.pose("left"), motion.arms["left"].Ts_world_tcp[-1])
    assert distance < 0.01
    assert angle < 0.05


def test_a_collision_reflex_pauses_the_plan(cell):
    _, goal = cell.execute(moves=((0.0, 0.0, 0.2),), move_s=8.0)
    cell.states.wait(lambda m: m.state == "executing")
    cell.inject(F.COLLISION_REFLEX, "left")
    assert cell.states.wait(lambda m: m.state == "paused").code == "tracking_error"
    assert cell.ask("stop").success
    assert goal.result().result.code == "stop"


@pytest.mark.parametrize("fault", [F.NAN_STATE, F.SECOND_PUBLISHER])
def test_faults_of_the_cell_stop_the_plan(cell, fault):
    _, goal = cell.execute(moves=((0.0, 0.0, 0.2),), move_s=12.0)
    cell.states.wait(lambda m: m.state == "executing")
    cell.inject(fault, "left")
    codes = {F.NAN_STATE: "state_invalid", F.SECOND_PUBLISHER: "second_publisher"}
    result = goal.result().result
    assert result.code == codes[fault]
    cell.states.wait(lambda m: m.state == "hold")


def test_a_gripper_of_the_cell_that_hangs_pauses_the_plan(cell):
    cell.inject(F.GRIPPER_HANG, "left")
    cell.execute(moves=UP, move_s=2.0)
    assert cell.states.wait(lambda m: m.state == "paused").code == "gripper_timeout"
