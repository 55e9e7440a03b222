"""The planner as a process, among arms that stand still."""

import dataclasses
import sys

import numpy as np
import pytest
from arm_stand_in import T_WORLD_BASE, ArmStandIn
from execution_rig import HOME, READY
from nav_msgs.msg import Path
from robo4d_msgs.msg import ExecutorState
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import Plan as PlanMessage
from robo4d_ros.conversions import matrix_from_pose, message_from_track
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import plan_from_message
from ros_probe import Probe, Process
from std_msgs.msg import String
from trajectory_msgs.msg import MultiDOFJointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from robo4d.geometry import se3
from robo4d.plan import Code
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import MountedArm, RobotDescription, two_arms
from robo4d.planning.urdf import Mesh, urdf
from robo4d.rgbd import ArmPosture
from robo4d.track import GripperTrack

FRAMES = 6
START = {
    arm: ArmKinematics(dataclasses.replace(MountedArm.example(), name=arm, T_world_base=T)).forward(READY)
    for arm, T in T_WORLD_BASE.items()
}


class Cell:
    """Arms that tell where they are, a running planner, and somebody who sends tracks and looks at plans."""

    def __init__(self):
        self.arms = ArmStandIn(HOME, READY)
        patient = ["--ros-args", "-p", "planner.gates.max_state_age_s:=5.0"]  # the machine may be busy with other tests
        self.process = Process([sys.executable, "-m", "robo4d_ros.planner_node", *patient])
        self.probe = Probe("watcher")
        self.plans = self.probe.listen(PlanMessage, "plan", LATCHED)
        self.markers = self.probe.listen(MarkerArray, "plan/markers", LATCHED)
        self.cell = self.probe.listen(MarkerArray, "cell/markers", LATCHED)
        self.tracks = {arm: self.probe.publisher(TrackMessage, f"{arm}/track", 10) for arm in START}
        self.cell.wait()  # it knows where the arms stand
        self.arms.wait_until_told()

    def close(self):
        self.probe.close()
        self.process.close()
        self.arms.close()

    def now_ns(self):
        return self.probe.node.get_clock().now().nanoseconds

    def send(self, *tracks):
        for track in tracks:
            self.tracks[track.arm].publish(message_from_track(track))

    def plan(self, *tracks):
        self.plans.clear()
        self.send(*tracks)
        return self.plans.wait()


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    yield cell
    cell.close()


def track(arm, stamp_ns, move=(0.05, 0.0, -0.05)):
    share = np.linspace(0, 1, FRAMES)[:, None]
    Ts = np.stack([se3.translation(*step) @ START[arm] for step in share * np.array(move)])
    return GripperTrack(
        arm=arm,
        stamp_ns=stamp_ns,
        times_s=0.5 * np.arange(FRAMES),
        Ts_world_tcp=Ts,
        confidence=np.full(FRAMES, 0.9),
        inlier=np.ones(FRAMES, bool),
        view=np.full(FRAMES, -1),
        opening_m=np.where(np.arange(FRAMES) < 3, 0.08, 0.02),
        open=np.arange(FRAMES) < 3,
    )


def test_tracks_of_both_arms_become_a_plan_that_starts_where_the_robot_is(cell):
    now_ns = cell.now_ns()
    message = cell.plan(track("left", now_ns), track("right", now_ns, move=(0.0, 0.0, 0.01)))
    plan = plan_from_message(message)
    assert plan.verdict.accepted, plan.verdict.reason
    assert plan.stamp_ns == now_ns
    assert {event.arm for event in plan.events} == {"left", "right"}
    for arm in START:
        np.testing.assert_allclose(plan.arms[arm].Ts_world_tcp[0], START[arm], atol=1e-6)
        np.testing.assert_allclose(plan.arms[arm].joints[0], READY, atol=1e-6)
    end = plan.arms["left"].Ts_world_tcp[-1, :3, 3]
    np.testing.assert_allclose(end, START["left"][:3, 3] + [0.05, 0.0, -0.05], atol=3e-3)


def ahead(arm, stamp_ns, joints=READY):
    """A track from where the arm is predicted to stand."""
    return dataclasses.replace(track(arm, stamp_ns), foreseen=ArmPosture(joints=joints, opening_m=0.08))


def test_a_plan_from_a_predicted_end_waits_for_the_end_of_the_execution(cell):
    executor = cell.probe.publisher(ExecutorState, "executor/state", LATCHED)
    now_ns = cell.now_ns()
    executor.publish(ExecutorState(state=ExecutorState.EXECUTING))
    seen_ns, ahead_ns = now_ns - 10, now_ns
    cell.plan(track("left", seen_ns), track("right", seen_ns))  # it has heard of the executor since
    cell.send(ahead("left", ahead_ns), ahead("right", ahead_ns))
    cell.arms.wait_until_told()
    assert [m.header.stamp.nanosec for m in cell.plans.messages] == [seen_ns % 10**9]
    cell.plans.clear()
    executor.publish(ExecutorState(state=ExecutorState.READY, previous=ExecutorState.EXECUTING))
    plan = plan_from_message(cell.plans.wait())
    assert plan.stamp_ns == ahead_ns
    assert plan.verdict.accepted, plan.verdict.reason
    assert {event.opening_m for event in plan.events} == {0.02}


def test_a_plan_from_a_predicted_end_is_refused_where_the_arms_did_not_come_to_it(cell):
    now_ns = cell.now_ns()
    message = cell.plan(ahead("left", now_ns, READY + 0.1), ahead("right", now_ns))
    assert message.verdict.code == Code.START_MISMATCH
    stale_ns = now_ns - 120 * 10**9  # its age counts from what was seen
    assert cell.plan(ahead("left", stale_ns), ahead("right", stale_ns)).verdict.code == Code.STALE_OBSERVATION


def test_viewers_see_raw_and_smoothed_path_and_trajectory(cell):
    kinds = {"path_raw": Path, "path": Path, "trajectory": MultiDOFJointTrajectory}
    views = {name: cell.probe.listen(kind, f"left/{name}", LATCHED) for name, kind in kinds.items()}
    now_ns = cell.now_ns()
    lost = track("left", now_ns)
    lost.Ts_world_tcp[2], lost.confidence[2], lost.inlier[2] = np.nan, 0.0, False
    plan = plan_from_message(cell.plan(lost, track("right", now_ns)))
    latest = {
        name: view.wait(lambda m: m.header.stamp.nanosec == now_ns % 10**9 and m.header.stamp.sec == now_ns // 10**9)
        for name, view in views.items()
    }
    assert len(latest["path_raw"].poses) == FRAMES - 1
    assert len(latest["path"].poses) == len(latest["trajectory"].points) == len(plan.times_s)
    assert latest["trajectory"].joint_names == ["left_hand_tcp"]


def test_the_cell_is_shown_with_its_boxes_and_workspaces(cell):
    kinds = {marker.ns: marker.type for marker in cell.cell.messages[0].markers}
    assert kinds == {
        "box/table": Marker.CUBE,
        "left/workspace": Marker.LINE_LIST,
        "right/workspace": Marker.LINE_LIST,
    }


def test_a_refused_plan_says_why_and_shows_its_outliers(cell):
    cell.markers.clear()
    now_ns = cell.now_ns()
    jumping = track("left", now_ns)
    jumping.Ts_world_tcp[1:, :3, 3] += 0.2 * np.random.default_rng(0).standard_normal((FRAMES - 1, 3))
    message = cell.plan(jumping, track("right", now_ns))
    assert message.verdict.code == Code.TOO_MANY_OUTLIERS
    assert "left arm" in message.verdict.reason
    assert not message.arms
    shown = {m.ns: m for m in cell.markers.wait(lambda m: len(m.markers) > 1).markers}
    assert shown["left/outliers"].action == Marker.ADD
    assert shown["left/outliers"].colors[0].r > 2 * shown["left/outliers"].colors[0].g
    assert message.verdict.reason in shown["verdict"].text


def still(arm, stamp_ns):
    rests = track(arm, stamp_ns, move=(0.0, 0.0, 0.01))
    return dataclasses.replace(rests, open=np.ones(FRAMES, bool))


def test_an_arm_that_rests_in_the_video_is_not_moved(cell):
    now_ns = cell.now_ns()
    assert [arm.arm for arm in cell.plan(track("left", now_ns), still("right", now_ns)).arms] == ["left"]
    nothing = cell.plan(still("left", now_ns), still("right", now_ns))
    assert (nothing.verdict.code, nothing.verdict.reason) == (Code.ACCEPTED, "no arm moves in the video")
    assert not nothing.arms


def lost(stamp_ns):
    nowhere = track("left", stamp_ns)
    nowhere.Ts_world_tcp[:], nowhere.confidence[:] = np.nan, 0.0
    return nowhere


@pytest.mark.parametrize(
    ("age_s", "left", "code"),
    [
        (120, lambda stamp_ns: track("left", stamp_ns), Code.STALE_OBSERVATION),
        (0, lambda stamp_ns: track("left", stamp_ns, move=(0.05, 0.0, -0.6)), Code.WORKSPACE),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(cell, age_s, left, code):
    stamp_ns = cell.now_ns() - age_s * 10**9
    assert cell.plan(left(stamp_ns), track("right", stamp_ns)).verdict.code == code


def test_an_arm_that_is_nowhere_to_be_seen_is_refused_unless_the_other_one_moves(cell):
    stamp_ns = cell.now_ns()
    assert cell.plan(lost(stamp_ns), still("right", stamp_ns)).verdict.code == Code.TOO_FEW_POSES
    assert [arm.arm for arm in cell.plan(lost(stamp_ns), track("right", stamp_ns)).arms] == ["right"]


def test_tracks_of_two_videos_are_never_mixed(cell):
    old_ns, new_ns = cell.now_ns() - 10**9, cell.now_ns()
    message = cell.plan(track("left", old_ns), track("right", new_ns), track("left", new_ns))
    assert plan_from_message(message).stamp_ns == new_ns
    cell.process.wait_for_line("of another video")
    assert [plan_from_message(m).stamp_ns for m in cell.plans.messages] == [new_ns]


def test_a_malformed_track_is_told_and_the_next_one_is_planned(cell):
    now_ns = cell.now_ns()
    message = message_from_track(track("left", now_ns))
    message.confidence.pop()
    cell.tracks["left"].publish(message)
    cell.process.wait_for_line("must be equally long")
    assert cell.plan(track("left", now_ns), track("right", now_ns)).verdict.code == Code.ACCEPTED


def test_joint_states_that_are_not_finite_are_refused(cell):
    cell.arms._joints = np.full(7, np.nan)
    cell.arms.wait_until_told()
    now_ns = cell.now_ns()
    assert cell.plan(track("left", now_ns), track("right", now_ns)).verdict.code == Code.NOT_FINITE
    cell.arms._joints = READY
    cell.arms.wait_until_told()


def test_the_plan_is_shown_on_the_robot_of_the_description(cell):
    mesh = Mesh(uri="file:///mesh.stl", rgba=(0.0, 0.0, 1.0, 1.0))
    publisher = cell.probe.node.create_publisher(String, "robot_description", LATCHED)
    publisher.publish(String(data=urdf(two_arms("fer"), {"hand": [mesh], "link0": [mesh]})))
    ghosts = cell.probe.listen(MarkerArray, "plan/ghost", 1)
    stamp_ns = cell.now_ns()
    plan = plan_from_message(cell.plan(*(track(arm, stamp_ns) for arm in START)))
    assert cell.probe.set_parameter("planner", "ghost.moment", 1.0).successful
    T_tcp_hand = se3.inverse(RobotDescription.example().T_hand_tcp)
    ends = {tuple(np.round((arm.Ts_world_tcp[-1] @ T_tcp_hand)[:3, 3], 2)) for arm in plan.arms.values()}

    def at_the_end(message):
        return {tuple(np.round(matrix_from_pose(m.pose)[:3, 3], 2)) for m in message.markers} == ends

    marker = ghosts.wait(at_the_end).markers[0]
    assert (marker.header.frame_id, marker.mesh_resource) == ("world", mesh.uri)
    assert 0 < marker.color.a < 1
    assert not cell.probe.set_parameter("planner", "ghost.moment", 2.0).successful
