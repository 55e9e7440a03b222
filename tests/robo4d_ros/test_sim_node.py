"""The simulated cell as its users see it: another process, real topics, services and actions."""

import sys

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from ament_index_python import get_package_prefix
from control_msgs.action import GripperCommand
from geometry_msgs.msg import PoseStamped, WrenchStamped
from robo4d_msgs.srv import InjectFault, ResetSim, SnapshotSim
from robo4d_ros import conversions, images
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import OwnFrames
from robo4d_ros.franka_actions import Grasp, GraspEpsilon, Move
from ros_probe import Probe, Process
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from robo4d.geometry import se3
from robo4d.planning.link_tree import LinkTree
from robo4d.sim.cell import Cell
from robo4d.sim.snapshot import Snapshot

F = InjectFault.Request
T_WORLD_LEFT_BASE = se3.translation(0, 0.35, 0)
DOWN = np.diag([1.0, -1.0, -1.0, 1.0])
PARAMETERS = {"width": 32, "height": 24, "camera_rate_hz": 10.0, "real_time_factor": 4.0}


def arguments(**parameters):
    return ["--ros-args", *(part for name, value in parameters.items() for part in ("-p", f"{name}:={value}"))]


@pytest.fixture(scope="module")
def cell():
    """A running simulation and a node that watches it."""
    process = Process([sys.executable, "-m", "robo4d_ros.sim_node", *arguments(**PARAMETERS)])
    probe = Probe("watcher")
    yield probe
    probe.close()
    process.close()


@pytest.fixture(autouse=True)
def fresh(request):
    """Each test begins an episode, with nothing broken."""
    if "cell" in request.fixturenames:
        cell = request.getfixturevalue("cell")
        inject(cell, F.CLEAR)
        assert cell.call(ResetSim, "sim/reset", ResetSim.Request(seed=1)).success
        yield
        cell.forget()
    else:
        yield


def inject(cell, fault, target="", value=0.0, duration=0.0):
    response = cell.call(InjectFault, "sim/inject_fault", F(fault=fault, target=target, value=value, duration=duration))
    assert response.success, response.message


def target(T, frame="world"):
    return conversions.pose_stamped(T, frame=frame, stamp_ns=0)


def distance_to(T_world_tcp):
    """Distance of a current_pose of the left arm from a pose [m]."""

    def distance(message):
        d, _ = se3.distance(T_WORLD_LEFT_BASE @ conversions.matrix_from_pose(message.pose), T_world_tcp)
        return d

    return distance


def current_pose(poses):
    return T_WORLD_LEFT_BASE @ conversions.matrix_from_pose(poses.next().pose)


def assert_holds(poses, publish, T_world_tcp):
    """The arm stays where it is for a while of messages, however often something else is commanded."""
    poses.clear()
    for _ in range(40):
        publish()
        poses.wait(lambda _: True)
        assert distance_to(T_world_tcp)(poses.messages[-1]) < 0.003
        count = len(poses.messages)
        poses.wait(lambda m, count=count: len(poses.messages) > count)


@pytest.mark.parametrize("camera", ["camera_n", "camera_m"])
def test_cameras_send_colour_depth_and_calibration_of_one_moment(cell, camera):
    depth_images = cell.listen(Image, f"{camera}/aligned_depth_to_color/image_raw")
    infos = cell.listen(CameraInfo, f"{camera}/color/camera_info")
    colour = cell.listen(Image, f"{camera}/color/image_raw").wait()
    depth = depth_images.wait(lambda m: m.header.stamp == colour.header.stamp)
    info = infos.wait(lambda m: m.header.stamp == colour.header.stamp)
    assert colour.encoding == "rgb8"
    assert depth.encoding == "32FC1"
    frame = f"{camera}_color_optical_frame"
    assert [m.header.frame_id for m in (colour, depth, info)] == [frame] * 3
    assert images.rgb_from_image(colour).shape == (24, 32, 3)
    assert images.rgb_from_image(colour).std() > 10
    assert 0.5 < np.median(images.depth_from_image(depth)) < 2.5
    intrinsics = images.intrinsics_from_camera_info(info)
    assert (intrinsics.width, intrinsics.height, intrinsics.cx, intrinsics.cy) == (32, 24, 16, 12)


def test_tf_leads_from_the_world_to_every_gripper_and_camera(cell, probe):
    frames = OwnFrames(probe.node)
    poses = cell.listen(PoseStamped, "left/current_pose")

    def frames_of(message):
        try:
            stamp_ns = conversions.ns_from_time(message.header.stamp)
            return [
                frames.lookup("world", "left_hand_tcp", stamp_ns),
                frames.lookup("camera_n_color_optical_frame", "right_hand_tcp"),
            ]
        except FrameError:
            return None

    def known():  # tf of a moment can come after its pose
        return next((message for message in reversed(poses.messages) if frames_of(message)), None)

    poses.wait(lambda _: known())
    message = known()
    T_world_tcp, _ = frames_of(message)
    assert message.header.frame_id == "left_base"
    # By the kinematics of the description; the simulated arm's numbers are rounded.
    np.testing.assert_allclose(T_world_tcp, T_WORLD_LEFT_BASE @ conversions.matrix_from_pose(message.pose), atol=1e-4)


def test_every_link_of_the_description_is_on_tf(cell, probe):
    frames = OwnFrames(probe.node)
    description = cell.listen(String, "robot_description", LATCHED).wait()
    tree = LinkTree.from_urdf(description.data)
    joints = cell.listen(JointState, "right/joint_states").wait(lambda _: on_tf(frames, "right_rightfinger"))
    positions = dict(zip(joints.name, joints.position, strict=True))
    for link, T_world_link in tree.poses(positions).items():
        if link.startswith("right_"):
            np.testing.assert_allclose(frames.lookup("world", link), T_world_link, atol=2e-3)
        else:
            assert on_tf(frames, link)


def on_tf(frames, link):
    try:
        return frames.lookup("world", link) is not None
    except FrameError:
        return False


def test_joint_states_and_wrenches_arrive_from_both_arms(cell):
    for arm in ("left", "right"):
        joints = cell.listen(JointState, f"{arm}/joint_states").wait()
        assert joints.name[0] == f"{arm}_joint1"
        assert len(joints.name) == len(joints.position) == len(joints.velocity) == 9
        assert sum(joints.position[7:]) == pytest.approx(0.08, abs=0.002)
        wrench = cell.listen(WrenchStamped, f"{arm}/external_wrench").wait()
        assert wrench.header.frame_id == f"{arm}_base"
        assert abs(wrench.wrench.force.z) < 1


@pytest.mark.parametrize("frame", ["world", "left_base"])
def test_an_arm_goes_to_its_target_pose_and_holds_it(cell, frame):
    T_world_target = se3.translation(0.45, 0.25, 0.40) @ DOWN
    T_frame_target = T_world_target if frame == "world" else se3.inverse(T_WORLD_LEFT_BASE) @ T_world_target
    poses = cell.listen(PoseStamped, "left/current_pose")
    publisher = cell.publisher(PoseStamped, "left/target_pose")
    publisher.publish(target(T_frame_target, frame))
    poses.wait(lambda m: distance_to(T_world_target)(m) < 0.002)
    assert_holds(poses, lambda: None, current_pose(poses))


@pytest.mark.parametrize(
    "wrong",
    [target(np.full((4, 4), np.nan)), target(se3.translation(0.45, 0.25, 0.4) @ DOWN, "camera_n"), PoseStamped()],
    ids=["NaN", "wrong frame", "no frame"],
)
def test_a_doubtful_target_is_refused_and_the_arm_holds(cell, wrong):
    poses = cell.listen(PoseStamped, "left/current_pose")
    publisher = cell.publisher(PoseStamped, "left/target_pose")
    assert_holds(poses, lambda: publisher.publish(wrong), current_pose(poses))


def test_two_commanders_are_both_ignored_until_one_leaves(cell):
    T_world_target = se3.translation(0.45, 0.25, 0.40) @ DOWN
    poses = cell.listen(PoseStamped, "left/current_pose")
    publisher = cell.publisher(PoseStamped, "left/target_pose")
    inject(cell, F.SECOND_PUBLISHER, "left")
    seen = cell.listen(PoseStamped, "right/current_pose")
    seen.wait(lambda _: cell.node.count_publishers("left/target_pose") == 2)
    assert_holds(poses, lambda: publisher.publish(target(T_world_target)), current_pose(poses))
    inject(cell, F.CLEAR)
    seen.wait(lambda _: cell.node.count_publishers("left/target_pose") == 1)
    poses.wait(lambda m: publisher.publish(target(T_world_target)) or distance_to(T_world_target)(m) < 0.005)


def test_after_a_collision_reflex_the_arm_stands_still(cell):
    poses = cell.listen(PoseStamped, "left/current_pose")
    publisher = cell.publisher(PoseStamped, "left/target_pose")
    inject(cell, F.COLLISION_REFLEX, "left")
    away = target(se3.translation(0.45, 0.25, 0.40) @ DOWN)
    assert_holds(poses, lambda: publisher.publish(away), current_pose(poses))


def test_move_goes_to_a_width_and_back(cell):
    fingers = cell.listen(JointState, "left/joint_states")
    for width in (0.03, 0.08):
        goal = cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=width, speed=0.1))
        outcome = goal.result()
        assert outcome.status == GoalStatus.STATUS_SUCCEEDED
        assert outcome.result.success
        assert sum(fingers.next().position[7:]) == pytest.approx(width, abs=0.002)
        assert goal.feedback


def test_a_grasp_of_nothing_fails_unless_any_width_counts(cell):
    goal = Grasp.Goal(width=0.04, epsilon=GraspEpsilon(inner=0.005, outer=0.005), speed=0.1, force=40.0)
    outcome = cell.send_goal(Grasp, "right/franka_gripper/grasp", goal).result()
    assert outcome.status == GoalStatus.STATUS_ABORTED
    assert not outcome.result.success
    assert "stopped at 0.0" in outcome.result.error
    goal.epsilon = GraspEpsilon(inner=0.08, outer=0.08)
    assert cell.send_goal(Grasp, "right/franka_gripper/grasp", goal).result().result.success


def test_the_position_of_gripper_action_is_half_of_the_width(cell):
    fingers = cell.listen(JointState, "left/joint_states")
    for position, reached in ((0.0, True), (0.035, True), (0.01, False)):  # closing on nothing is no grasp at 2 cm
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = position, 20.0
        outcome = cell.send_goal(GripperCommand, "left/franka_gripper/gripper_action", goal).result()
        assert outcome.result.reached_goal == reached
        if reached:
            assert sum(fingers.next().position[7:]) == pytest.approx(2 * position, abs=0.002)


def test_a_gripper_is_as_strong_as_it_is_asked_to_be_within_what_the_hand_can(cell):
    images_seen = cell.listen(Image, "camera_n/color/image_raw")
    for asked, given in ((20.0, 20.0), (200.0, 70.0), (0.0, 50.0)):
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = 0.03, asked
        cell.send_goal(GripperCommand, "left/franka_gripper/gripper_action", goal).result()
        stamp = images_seen.next().header.stamp
        snapshot = cell.call(SnapshotSim, "sim/snapshot", SnapshotSim.Request(stamp=stamp)).snapshot
        assert Snapshot.from_bytes(bytes(snapshot)).grip_forces == {"left": given, "right": 50.0}


def test_an_impossible_width_is_refused(cell):
    outcome = cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=0.2, speed=0.1)).result()
    assert outcome.status == GoalStatus.STATUS_ABORTED


def test_a_gripper_that_hangs_takes_no_other_command_until_it_is_cancelled(cell):
    inject(cell, F.GRIPPER_HANG, "left")
    hanging = cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=0.02, speed=0.1))
    assert hanging.accepted
    assert not cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=0.02, speed=0.1)).accepted
    assert not hanging.done
    hanging.cancel()
    assert hanging.result().status == GoalStatus.STATUS_CANCELED
    inject(cell, F.CLEAR)
    assert cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=0.02, speed=0.1)).result().result.success


def test_a_gripper_that_aborts_says_so_and_does_not_move(cell):
    inject(cell, F.GRIPPER_ABORT, "left")
    outcome = cell.send_goal(Move, "left/franka_gripper/move", Move.Goal(width=0.02, speed=0.1)).result()
    assert outcome.status == GoalStatus.STATUS_ABORTED
    assert sum(cell.listen(JointState, "left/joint_states").next().position[7:]) == pytest.approx(0.08, abs=0.002)


def test_a_frozen_camera_repeats_its_last_image_with_the_old_stamp(cell):
    stream = cell.listen(Image, "camera_n/color/image_raw")
    stream.wait()
    inject(cell, F.FREEZE_CAMERA, "camera_n")
    stream.next()
    first, second = stream.next(), stream.next()
    assert first.header.stamp == second.header.stamp
    assert first.data == second.data
    inject(cell, F.CLEAR)
    assert stream.wait(lambda m: m.header.stamp != first.header.stamp)


def test_a_dropped_camera_is_silent_while_the_other_goes_on(cell):
    dropped, other = cell.listen(Image, "camera_n/color/image_raw"), cell.listen(Image, "camera_m/color/image_raw")
    dropped.wait()
    inject(cell, F.DROP_CAMERA, "camera_n")
    other.next()
    dropped.clear()
    for _ in range(3):
        other.next()
    assert dropped.messages == []


def test_a_delayed_arm_tells_old_states(cell):
    poses = cell.listen(PoseStamped, "left/current_pose")
    inject(cell, F.DELAY_STATE, "left", value=0.3)

    def age(message):
        return 1e-9 * (cell.node.get_clock().now().nanoseconds - conversions.ns_from_time(message.header.stamp))

    for _ in range(5):
        assert age(poses.next(lambda m: age(m) > 0.29)) >= 0.3


def test_a_broken_arm_tells_nan_and_the_other_does_not(cell):
    inject(cell, F.NAN_STATE, "left")
    left, right = cell.listen(JointState, "left/joint_states"), cell.listen(JointState, "right/joint_states")
    assert left.wait(lambda m: np.isnan(m.position).all())
    assert np.isfinite(right.next().position).all()
    assert cell.listen(PoseStamped, "left/current_pose").wait(lambda m: np.isnan(m.pose.position.x))


def test_a_fault_with_a_duration_mends_itself(cell):
    inject(cell, F.NAN_STATE, "left", duration=0.5)
    left = cell.listen(JointState, "left/joint_states")
    left.wait(lambda m: np.isnan(m.position).all())
    left.wait(lambda m: np.isfinite(m.position).all())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (F(fault="explode"), "faults: freeze_camera"),
        (F(fault=F.NAN_STATE, target="middle"), "left or right"),
        (F(fault=F.DELAY_STATE, target="left", value=-1.0), "value must be in"),
    ],
)
def test_an_unknown_fault_is_refused_with_the_legal_ones(cell, request_, reason):
    response = cell.call(InjectFault, "sim/inject_fault", request_)
    assert not response.success
    assert reason in response.message


def test_an_episode_begins_the_same_for_the_same_seed(cell):
    bodies = cell.listen(TFMessage, "sim/bodies")
    starts = []
    for seed in (5, 6, 5):
        cell.call(ResetSim, "sim/reset", ResetSim.Request(seed=seed))
        message = bodies.next(lambda m: conversions.ns_from_time(m.transforms[0].header.stamp) < 5e8)
        starts.append({b.child_frame_id: conversions.matrix_from_transform(b.transform) for b in message.transforms})
    assert starts[0].keys() == starts[2].keys()
    for name in starts[0]:
        np.testing.assert_allclose(starts[0][name], starts[2][name], atol=1e-3)
    assert any(not np.allclose(starts[0][name], starts[1][name], atol=1e-2) for name in starts[0])


def test_a_new_task_changes_the_cell_and_an_unknown_one_is_refused(cell):
    response = cell.call(ResetSim, "sim/reset", ResetSim.Request(task="put_spatula_on_tabel"))
    assert not response.success
    assert "Did you mean `put_spatula_on_table`" in response.message
    assert cell.call(ResetSim, "sim/reset", ResetSim.Request(task="put_spatula_on_table")).success
    cell.listen(TFMessage, "sim/bodies").wait(lambda m: any("spatula" in b.child_frame_id for b in m.transforms))
    cell.listen(Image, "camera_n/color/image_raw").next()
    back = ResetSim.Request(task="store_cereal_box_under_shelf")
    assert cell.call(ResetSim, "sim/reset", back).success


def test_nothing_is_achieved_at_the_start(cell):
    assert not cell.call(Trigger, "sim/success").success


def test_a_node_of_the_install_space_answers_in_its_namespace(start, probe):
    executable = f"{get_package_prefix('robo4d')}/lib/robo4d/sim"
    small = {**PARAMETERS, "depth_encoding": "16UC1", "camera_seed": 3}
    start([executable, *arguments(**small), "-r", "__ns:=/cell_2"])
    assert not probe.call(Trigger, "cell_2/sim/success").success
    assert probe.get_parameters("cell_2/sim", "camera_seed", "depth_encoding") == [3, "16UC1"]
    goal = Move.Goal(width=0.05, speed=0.1)
    assert probe.send_goal(Move, "cell_2/left/franka_gripper/move", goal).result().result.success
    depth = probe.listen(Image, "cell_2/camera_n/aligned_depth_to_color/image_raw").wait()
    assert depth.encoding == "16UC1"
    assert 0.5 < np.median(images.depth_from_image(depth)) < 2.5


def test_an_impossible_task_ends_the_process_with_a_reason(start):
    process = start([sys.executable, "-m", "robo4d_ros.sim_node", *arguments(task="fly")])
    assert process.wait() == 1
    assert any("no task `fly`" in line for line in process.lines)
    assert not any("Traceback" in line for line in process.lines)


def test_a_snapshot_holds_what_the_images_of_a_moment_show(cell):
    stamp = cell.listen(Image, "camera_n/color/image_raw").next().header.stamp
    response = cell.call(SnapshotSim, "sim/snapshot", SnapshotSim.Request(stamp=stamp))
    assert response.success, response.message
    copy = Cell(response.task)
    state = copy.restore(Snapshot.from_bytes(bytes(response.snapshot)))
    bodies = cell.listen(TFMessage, "sim/bodies").next()
    for body in bodies.transforms:
        told = conversions.matrix_from_transform(body.transform)
        np.testing.assert_allclose(told, state.T_world_body[body.child_frame_id], atol=1e-3)
    assert cell.call(SnapshotSim, "sim/snapshot").success


def test_a_snapshot_of_an_unknown_moment_is_refused(cell):
    response = cell.call(SnapshotSim, "sim/snapshot", SnapshotSim.Request(stamp=conversions.time_from_ns(5)))
    assert not response.success
    assert "no images of" in response.message
