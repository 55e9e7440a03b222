"""The generator as a process, with the oracle of the simulated cell; and its action by itself."""

import itertools
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from robo4d_msgs.action import Generate
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_msgs.msg import RgbdPair as PairMessage
from robo4d_msgs.srv import InjectFault, ResetSim
from robo4d_ros import conversions
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.generator import models
from robo4d_ros.generator.action import GenerateAction
from robo4d_ros.generator_node import GeneratorNode
from robo4d_ros.process import Jobs
from ros_probe import Probe, Process
from sensor_msgs.msg import Image, PointCloud2

from robo4d.health import Health, Level
from robo4d.interfaces import Cancelled
from robo4d.rgbd import ArmPosture, RgbdPair
from robo4d.video import PointmapVideo

F = InjectFault.Request
SIZE = 64
PATIENT_S = 60.0


class Cell:
    """The simulated cell, a generator, and somebody who asks for videos."""

    def __init__(self):
        def node(name, **parameters):
            given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
            return Process([sys.executable, "-m", f"robo4d_ros.{name}_node", "--ros-args", *given])

        self.sim = node("sim", width=SIZE, height=SIZE, camera_rate_hz=5.0)
        self.generator = node("generator", generator="oracle", max_age_s=3.0, max_wait_s=3.0, show_period_s=0.1)
        self.probe = Probe("watcher")
        self.videos = self.probe.listen(VideoMessage, "predicted/video", LATCHED)
        self.observations = self.probe.listen(PairMessage, "predicted/observation", LATCHED)
        self.generator.wait_for_line("ready to generate", PATIENT_S)

    def close(self):
        self.probe.close()
        self.generator.close()
        self.sim.close()

    def ask(self, **goal):
        return self.probe.send_goal(Generate, "generate", Generate.Goal(**goal))

    def inject(self, fault, target=""):
        assert self.probe.call(InjectFault, "sim/inject_fault", F(fault=fault, target=target)).success


POSTURES = conversions.messages_from_postures(dict.fromkeys(("left", "right"), ArmPosture.example()))


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    cell.first = cell.ask(continued=Time(sec=7), continued_at=1.0, arms=POSTURES).result(PATIENT_S).result
    cell.goal = cell.ask()
    while not cell.goal.result(PATIENT_S).result.success:  # until both cameras have been heard
        cell.goal = cell.ask()
    yield cell
    cell.close()


def test_a_goal_becomes_a_video_of_the_newest_pair(cell):
    answer = cell.goal.result()
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert [f.step for f in cell.goal.feedback] == list(range(cell.goal.feedback[0].steps + 1))
    message = cell.videos.wait(lambda m: m.header.stamp == answer.result.observation)
    video = conversions.video_from_message(message)
    pair = conversions.pair_from_message(
        cell.observations.wait(lambda m: m.n.color.header.stamp == answer.result.observation)
    )
    assert video.rgb.shape == (2, 10, SIZE, SIZE, 3)
    assert video.stamp_ns == pair.stamp_ns
    assert video.intrinsics[0] == pytest.approx(pair.n.intrinsics)
    still = np.abs(video.points[0, 0, ..., 2] - pair.n.depth)[video.valid[0, 0] & (pair.n.depth > 0)]
    assert np.median(still) < 1e-3  # most of the scene stands still
    assert pair.m.T_world_camera is not None
    told = cell.probe.listen(TrackMessage, "predicted/left/track", LATCHED)
    track = conversions.track_from_message(told.wait(lambda m: m.header.stamp == answer.result.observation))
    np.testing.assert_allclose(track.times_s[1:], video.times_s)


def test_the_end_of_a_video_that_was_never_made_is_refused_by_name(cell):
    assert not cell.first.success
    assert "the predicted end of a video from images of 7.000 s is not known" in cell.first.message


def test_a_video_goes_on_from_where_the_last_one_ends_but_none_from_that_one(cell):
    seen = cell.goal.result().result.observation
    ahead = cell.ask(continued=seen, continued_at=5.0, arms=POSTURES).result(PATIENT_S).result
    assert ahead.success, ahead.message
    assert 0 < conversions.ns_from_time(ahead.observation) - conversions.ns_from_time(seen) < 1000
    pair = conversions.pair_from_message(cell.observations.wait(lambda m: m.n.color.header.stamp == ahead.observation))
    last = conversions.video_from_message(cell.videos.wait(lambda m: m.header.stamp == seen))
    np.testing.assert_array_equal(pair.n.rgb, last.rgb[0, -1])
    assert set(pair.foreseen) == {"left", "right"}
    again = cell.ask(continued=ahead.observation, continued_at=5.0, arms=POSTURES).result(PATIENT_S).result
    assert "starts from a prediction itself" in again.message
    late = cell.ask(continued=seen, continued_at=5.0, arms=POSTURES).result(PATIENT_S).result
    assert "is not the last one" in late.message


def test_viewers_get_clouds_and_pictures(cell):
    video = conversions.video_from_message(cell.videos.wait())
    points = cell.probe.listen(PointCloud2, "predicted/points").wait()
    assert points.header.frame_id == video.frame
    assert points.width in video.valid.sum(axis=(0, 2, 3))
    everything = cell.probe.listen(PointCloud2, "predicted/points_all", LATCHED).wait()
    assert 10_000 < everything.width <= 60_000
    xyz = np.ndarray((points.width, 3), "<f4", bytes(points.data), strides=(16, 4))
    assert 0.5 < np.median(xyz[:, 2]) < 2.5
    assert cell.probe.listen(Image, "predicted/view_m/image").wait().width == SIZE


def test_a_goal_is_cancelled_between_two_frames(cell):
    goal = cell.ask()
    goal.cancel()
    answer = goal.result(PATIENT_S)
    assert (answer.status, answer.result.message) == (GoalStatus.STATUS_CANCELED, "cancelled")


def test_an_observation_that_is_too_old_is_refused_by_name(cell):
    cell.inject(F.DROP_CAMERA, "camera_m")
    while (result := cell.ask().result(PATIENT_S).result).success:
        pass
    waiting = cell.ask()
    waiting.cancel()
    assert waiting.result(PATIENT_S).status == GoalStatus.STATUS_CANCELED
    cell.inject(F.CLEAR)
    assert "s old, allowed are 3 s" in result.message
    assert "camera m" in result.message


def test_an_oracle_of_another_task_is_refused(cell):
    reset = ResetSim.Request(task="put_spatula_on_table")
    assert cell.probe.call(ResetSim, "sim/reset", reset, PATIENT_S).success
    images = cell.probe.listen(Image, "camera_m/color/image_raw")
    while "the cell holds" not in (result := cell.ask().result(PATIENT_S).result).message:
        assert not result.success  # no image from before the reset is used
        images.next()
    assert "but the cell holds put_spatula_on_table" in result.message


def test_weights_that_are_not_there_end_the_process_with_the_reason(start):
    process = start([sys.executable, "-m", "robo4d_ros.generator_node", "--ros-args", "-p", "generator:=/no/weights"])
    assert process.wait(PATIENT_S) == 1
    assert any("oracle, tiny or a folder of weights" in line for line in process.lines)


class Finder:
    """A generator that finds cameras, or not."""

    placement = None

    def place(self, pair):
        level = Level.OK if self.placement is None else Level.ERROR
        self.placement = Health(name="places of the cameras", level=level, message="50%", values={"overlap": 0.5})
        if level is Level.ERROR:
            raise ValueError(self.placement.message)
        return pair

    def generate(self, pair, *, seed, progress):
        return PointmapVideo.example()


def test_how_sure_the_places_of_cameras_are_is_on_diagnostics(probe, monkeypatch):
    monkeypatch.setattr(models, "oracle", lambda *_: Finder)
    found = probe.listen(DiagnosticArray, "/diagnostics")
    context = rclpy.Context()
    options = "-r __ns:=/finder -p generator:=oracle -p cameras.diagnostics_period_s:=0.1"
    rclpy.init(context=context, args=["--ros-args", *options.split()])
    node = GeneratorNode(context=context)
    monkeypatch.setattr(node, "_fresh_pair", lambda goal: RgbdPair.example())
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        for level in (Level.OK, Level.ERROR):
            result = probe.send_goal(Generate, "finder/generate", Generate.Goal()).result().result
            assert result.success == (level is Level.OK)
            wanted = ("/finder/generator: places of the cameras", bytes([level]))
            message = found.wait(lambda m, wanted=wanted: (m.status[0].name, m.status[0].level) == wanted)
            assert [(value.key, value.value) for value in message.status[0].values] == [("overlap", "0.5")]
    finally:
        node.close()
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.shutdown(context=context)


class Painter:
    """An action server whose videos are made when the test says so.

    Each has a namespace of its own: a client that still sees the one before may lose its goal.
    """

    numbers = itertools.count()

    def __init__(self, when_busy):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        studio = f"studio_{next(self.numbers)}"
        self.generate = f"{studio}/generate"
        self.node = rclpy.create_node("painter", namespace=studio, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.jobs = Jobs(self.node, "painting")
        self.begun, self.brush = threading.Semaphore(0), threading.Semaphore(0)
        self.action = GenerateAction(self.node, self.jobs, self.paint, when_busy)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def paint(self, goal):
        self.begun.release()
        while not self.brush.acquire(timeout=0.01):
            if goal.is_over:
                raise Cancelled
        if goal.request.seed == 13:
            raise RuntimeError("no paint left")
        return goal.request.seed

    def close(self):
        self.jobs.close()
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def painter(request):
    painter = Painter(request.param)
    yield painter
    painter.close()


def two_goals(painter, probe):
    goals = [probe.send_goal(Generate, painter.generate, Generate.Goal(seed=1))]
    assert painter.begun.acquire(timeout=20)
    return [*goals, probe.send_goal(Generate, painter.generate, Generate.Goal(seed=2))]


@pytest.mark.parametrize("painter", ["refuse"], indirect=True)
def test_a_second_goal_is_refused_while_the_first_goes_on(painter, probe):
    first, second = two_goals(painter, probe)
    assert "busy" in second.result().result.message
    painter.brush.release()
    assert first.result().result.success


@pytest.mark.parametrize("painter", ["replace"], indirect=True)
def test_a_second_goal_takes_the_place_of_the_first(painter, probe):
    first, second = two_goals(painter, probe)
    answer = first.result()
    assert (answer.status, answer.result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert "replaced" in answer.result.message
    painter.brush.release()
    assert conversions.ns_from_time(second.result().result.observation) == 2


@pytest.mark.parametrize("painter", ["queue"], indirect=True)
def test_a_second_goal_waits_for_the_first(painter, probe):
    goals = two_goals(painter, probe)
    for number, goal in enumerate(goals, start=1):
        painter.brush.release()
        assert conversions.ns_from_time(goal.result().result.observation) == number


@pytest.mark.parametrize("painter", ["queue"], indirect=True)
def test_all_goals_are_given_up_at_the_end(painter, probe):
    goals = two_goals(painter, probe)
    deadline_s = time.monotonic() + 20
    while len(painter.action._goals) < 2:
        assert time.monotonic() < deadline_s
    painter.action.close()
    for goal in goals:
        answer = goal.result()
        assert (answer.status, answer.result.message) == (GoalStatus.STATUS_ABORTED, "the generator is shut down")


@pytest.mark.parametrize("painter", ["refuse"], indirect=True)
def test_a_model_that_fails_is_told_and_the_node_stays_up(painter, probe):
    painter.brush.release()
    result = probe.send_goal(Generate, painter.generate, Generate.Goal(seed=13)).result().result
    assert "RuntimeError: no paint left" in result.message
    painter.brush.release()
    assert probe.send_goal(Generate, painter.generate, Generate.Goal(seed=1)).result().result.success
