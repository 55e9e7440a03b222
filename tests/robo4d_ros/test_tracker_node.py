"""The tracker as a process: a film of the simulated cell in, the motion of both grippers out."""

import dataclasses
import sys
from contextlib import suppress

import numpy as np
import pytest
from cell_film import FRAMES, film
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_msgs.msg import RgbdPair as PairMessage
from robo4d_ros import conversions
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.frames import TF_STATIC_QOS
from robo4d_ros.sim.state_streams import base_frame, joint_names
from robo4d_ros.tracker_node import doubts
from ros_probe import Probe, Process
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from robo4d.geometry import se3
from robo4d.rgbd import ArmPosture
from robo4d.sim.scene import T_WORLD_BASE
from robo4d.sim.state import ARMS
from robo4d.track import GripperTrack

NODE = [sys.executable, "-m", "robo4d_ros.tracker_node"]
RED = (0.9, 0.1)
EFFORTS = 12


class Cell:
    """A running tracker, and a robot that tells its joints now and then."""

    def __init__(self, *arguments):
        self.film = film()
        self.probe = Probe("watcher")
        tf = self.probe.node.create_publisher(TFMessage, "/tf_static", TF_STATIC_QOS)
        tf.publish(conversions.frames_message("world", {base_frame(arm): T_WORLD_BASE[arm] for arm in ARMS}, 0))
        self.process = Process([*NODE, "--ros-args", *arguments] if arguments else NODE)
        self.joints = {arm: self.probe.publisher(JointState, f"{arm}/joint_states", 10) for arm in ARMS}
        self.observations = self.probe.publisher(PairMessage, "predicted/observation", LATCHED)
        self.videos = self.probe.publisher(VideoMessage, "predicted/video", LATCHED)
        self.told, self.says = {}, GripperTrack.example()
        self.tracks = {arm: self.probe.listen(TrackMessage, f"{arm}/track", LATCHED) for arm in ARMS}

    def close(self):
        self.probe.close()
        self.process.close()

    def tell_joints(self, stamp_ns, joints=None):
        for arm in ARMS:
            state = self.film.states[0].arms[arm]
            positions = np.concatenate(
                [state.joints if joints is None else joints, np.full(2, state.gripper_width / 2)]
            )
            message = conversions.joint_state(joint_names(arm), positions, np.zeros(9), stamp_ns=stamp_ns)
            self.joints[arm].publish(message)

    def send(self, stamp_ns, foreseen=None, **changes):
        """The film, as if it was seen at that time."""
        pair, video = self.film.pair, dataclasses.replace(self.film.video, stamp_ns=stamp_ns)
        pair = dataclasses.replace(
            pair,
            n=dataclasses.replace(pair.n, stamp_ns=stamp_ns, **changes),
            m=dataclasses.replace(pair.m, stamp_ns=stamp_ns),
            foreseen=foreseen or {},
        )
        for arm, publisher in self.told.items():
            track = dataclasses.replace(self.says, arm=arm, stamp_ns=stamp_ns)
            publisher.publish(conversions.message_from_track(track))
        self.observations.publish(conversions.message_from_pair(pair))
        self.videos.publish(conversions.message_from_video(video))

    def track(self, stamp_ns):
        stamp = conversions.time_from_ns(stamp_ns)
        arrived = lambda listener: any(m.header.stamp == stamp for m in list(listener.messages))  # noqa: E731
        for _ in range(EFFORTS):  # what is sent while the tracker still discovers the topics is lost
            self.tell_joints(stamp_ns)
            self.send(stamp_ns)
            with suppress(AssertionError):
                self.tracks["right"].wait(lambda _: all(map(arrived, self.tracks.values())), 60 / EFFORTS)
                break
        found = {arm: listener.wait(lambda m: m.header.stamp == stamp) for arm, listener in self.tracks.items()}
        return {arm: conversions.track_from_message(message) for arm, message in found.items()}


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    yield cell
    cell.close()


def test_both_grippers_are_followed_to_where_the_film_has_them(cell):
    tracks = cell.track(10 * 10**9)
    for arm, track in tracks.items():
        true = np.stack([state.arms[arm].T_world_tcp for state in cell.film.states])
        distance, _ = se3.distance(track.Ts_world_tcp, true)
        assert track.inlier.all()
        assert distance.max() < 0.02
        np.testing.assert_allclose(track.times_s, 0.5 * np.arange(FRAMES + 1))
        assert set(track.reasons) == {""}
        np.testing.assert_array_equal(track.searched_opening_m, track.opening_m)
        assert np.isfinite(track.centroids_m).any()


def test_a_predicted_observation_is_tracked_from_where_the_arms_will_stand(cell):
    cell.track(15 * 10**9)  # it listens
    states = cell.film.states[0].arms
    postures = {arm: ArmPosture(joints=s.joints, opening_m=s.gripper_width) for arm, s in states.items()}
    stamp_ns = 17 * 10**9  # two seconds from any joint states
    cell.send(stamp_ns, foreseen=postures)
    stamp = conversions.time_from_ns(stamp_ns)
    for arm, listener in cell.tracks.items():
        track = conversions.track_from_message(listener.wait(lambda m: m.header.stamp == stamp))
        assert track.inlier.all()
        distance, _ = se3.distance(track.Ts_world_tcp[0], states[arm].T_world_tcp)
        assert distance < 0.02
        np.testing.assert_allclose(track.foreseen.joints, postures[arm].joints)


def test_viewers_get_the_same_poses_in_their_own_messages(cell):
    views = {
        name: cell.probe.listen(kind, f"left/{name}", LATCHED)
        for name, kind in {"markers": MarkerArray, "poses": PoseArray, "detections": Detection3DArray}.items()
    }
    stamp_ns = 20 * 10**9
    track = cell.track(stamp_ns)["left"]
    stamp = conversions.time_from_ns(stamp_ns)
    poses = views["poses"].wait(lambda m: m.header.stamp == stamp).poses
    np.testing.assert_allclose([conversions.matrix_from_pose(p) for p in poses], track.Ts_world_tcp, atol=1e-9)
    found = views["detections"].wait(lambda m: m.header.stamp == stamp).detections
    assert [d.results[0].hypothesis.score for d in found] == pytest.approx(list(track.confidence))
    assert {d.results[0].hypothesis.class_id for d in found} == {"left_gripper"}
    marker, *texts = views["markers"].wait(lambda m: m.markers[0].header.stamp == stamp).markers
    assert all(text.text == "" for text in texts)
    assert len(marker.points) == len(marker.colors) == 8 * (FRAMES + 1)
    assert all((colour.r, colour.g) != RED for colour in marker.colors)


def test_a_camera_that_is_not_where_tf_has_it_is_told_on_diagnostics(cell):
    diagnostics = cell.probe.listen(DiagnosticArray, "/diagnostics", 10)
    cell.track(25 * 10**9)
    status = diagnostics.wait(lambda m: m.status[0].level == DiagnosticStatus.OK).status[0]
    assert {value.key for value in status.values} >= {"cross_view_residual_m", "difference_from_tf_m"}
    T_world_n = se3.translation(0, 0.06, 0) @ cell.film.pair.n.T_world_camera
    cell.tell_joints(27 * 10**9)
    cell.send(27 * 10**9, T_world_camera=T_world_n)
    message = diagnostics.wait(lambda m: m.status[0].level == DiagnosticStatus.WARN).status[0].message
    assert "the video has m 60 mm and 0.0 deg from where tf has it" in message
    assert "recalibrate m" in message


def test_what_is_not_followed_is_told_in_one_line_with_all_reasons():
    track = dataclasses.replace(GripperTrack.example(), reasons=("", "hidden", "jumped", "hidden", ""))
    assert doubts(track) == "left: 3 of 5 poses are not followed: hidden (0.5, 1.5 s); jumped (1 s)"
    assert doubts(dataclasses.replace(track, reasons=("",) * 5)) == doubts(GripperTrack.example()) == ""


def test_a_video_without_joint_states_of_its_time_is_refused(cell):
    cell.tell_joints(30 * 10**9)
    cell.send(40 * 10**9)
    cell.process.wait_for_line("no joint states within 0.5 s of the observation, the nearest are 10.0 s off")


def test_a_camera_without_a_pose_is_named(cell):
    cell.tell_joints(50 * 10**9)
    cell.send(50 * 10**9, T_world_camera=None)
    cell.process.wait_for_line("the pose of n in the world is unknown")


def test_a_video_waits_for_its_own_observation(cell):
    cell.tell_joints(60 * 10**9)
    for listener in cell.tracks.values():
        listener.clear()
    cell.videos.publish(conversions.message_from_video(dataclasses.replace(cell.film.video, stamp_ns=60 * 10**9)))
    tracks = cell.track(61 * 10**9)
    assert {conversions.ns_from_time(m.header.stamp) for m in cell.tracks["left"].messages} == {61 * 10**9}
    assert tracks["left"].stamp_ns == 61 * 10**9


def test_the_tracker_is_less_sure_where_the_generator_contradicts_it(cell):
    left = cell.track(30 * 10**9)["left"]
    elsewhere = se3.translation(0.1, 0, 0) @ left.Ts_world_tcp
    cell.says = dataclasses.replace(left, Ts_world_tcp=elsewhere, confidence=np.ones(FRAMES + 1))
    cell.told = {"left": cell.probe.publisher(TrackMessage, "predicted/left/track", LATCHED)}
    tracks = cell.track(31 * 10**9)
    cell.told = {}
    np.testing.assert_allclose(tracks["left"].Ts_world_tcp, left.Ts_world_tcp, atol=1e-3)
    assert tracks["left"].inlier.all()
    assert (tracks["left"].confidence == 0).all()
    assert (tracks["right"].confidence > 0).all()


def test_what_the_generator_tells_is_the_track_if_that_is_the_readout():
    cell = Cell("-p", "source:=plan_head")
    cell.tell_joints = lambda stamp_ns: None  # which the generator's word needs not, but the other tests' tracker does
    try:
        cell.told = {arm: cell.probe.publisher(TrackMessage, f"predicted/{arm}/track", LATCHED) for arm in ARMS}
        tracks = cell.track(50 * 10**9)
        for arm in ARMS:
            np.testing.assert_allclose(tracks[arm].Ts_world_tcp, GripperTrack.example().Ts_world_tcp)
    finally:
        cell.close()


def test_a_library_that_is_not_there_is_named_and_the_node_stays():
    cell = Cell("-p", "engine.name:=foundationpose_nvidia", "-p", f"engine.python:={sys.executable}")
    try:
        for stamp_ns in (10 * 10**9, 11 * 10**9):
            cell.process.lines.clear()
            for _ in range(EFFORTS):
                cell.tell_joints(stamp_ns)
                cell.send(stamp_ns)
                with suppress(AssertionError):
                    cell.process.wait_for_line("cannot track: nvidia.py died with exit status 1", 60 / EFFORTS)
                    break
            else:
                pytest.fail("\n".join(cell.process.lines))
    finally:
        cell.close()


def test_an_engine_without_its_environment_is_refused_with_what_to_set(start):
    process = start([*NODE, "--ros-args", "-p", "engine.name:=foundationpose_nvlabs"])
    process.wait_for_line("foundationpose_nvlabs needs engine.python")
    assert process.wait() == 1
