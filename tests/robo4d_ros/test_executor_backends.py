"""Grippers and controllers as the executor speaks to them."""

import functools
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import numpy as np
import pytest
from arm_stand_in import JOINT_NAMES, ArmStandIn, executor_command
from control_msgs.action import GripperCommand, ParallelGripperCommand
from execution_rig import HOME, READY, plan
from rclpy.action import ActionServer
from robo4d_msgs.action import ExecutePlan
from robo4d_ros.execution.grippers import GripperConfig, make_gripper
from robo4d_ros.franka_actions import Grasp, Move
from robo4d_ros.plan_conversions import message_from_plan
from ros_probe import Condition, Probe

from robo4d.execution import targets


class GripperServers:
    """Answers every goal with what the test wants, and keeps the goals."""

    def __init__(self, probe, **kinds):
        self.goals, self.answer = [], SimpleNamespace(abort=False, result={})
        self.servers = [
            ActionServer(probe.node, kind, f"left/gripper/{name}", functools.partial(self._execute, kind))
            for name, kind in kinds.items()
        ]

    async def _execute(self, kind, handle):
        self.goals.append(handle.request)
        (handle.abort if self.answer.abort else handle.succeed)()
        result = kind.Result()
        for path, value in self.answer.result.items():
            owner, _, name = path.rpartition(".")
            setattr(getattr(result, owner) if owner else result, name, value)
        return result


@pytest.fixture
def client():
    """A node without the executor, which holds the adapters."""
    probe = Probe("client")
    yield probe
    probe.close()


def outcome(client, gripper, *, to_open):
    """What the adapter says of one command."""
    ready = [c for c in vars(gripper._dialect).values() if hasattr(c, "wait_for_server")]
    assert all(c.wait_for_server(20) for c in ready)
    done, found = Condition(), []
    commands = []

    def tick():  # as the executor does, all in one thread
        if commands:
            gripper.command(commands.pop())
        done.change(lambda: found.extend(gripper.outcomes()))

    timer = client.node.create_timer(0.02, tick)
    for last in (False, False, True):  # an answer is lost that comes before its server has discovered the client
        commands.append(targets.GripperCommand(arm="left", open=to_open, number=7))
        with suppress(AssertionError) if not last else nullcontext():
            done.wait(lambda: found, "the gripper's outcome", 20)
            break
    timer.cancel()
    assert found[0].number == 7
    return found[0]


def test_franka_grasps_at_every_width_and_opens_fully(client, probe):
    servers = GripperServers(probe, move=Move, grasp=Grasp)
    gripper = make_gripper(client.node, "left", GripperConfig(name="{arm}/gripper"), lambda: None)
    servers.answer.result = {"success": True}
    assert outcome(client, gripper, to_open=False).success
    assert outcome(client, gripper, to_open=True).success
    grasp, move = servers.goals
    assert grasp.width - grasp.epsilon.inner == pytest.approx(0.002)
    assert grasp.width + grasp.epsilon.outer == pytest.approx(0.08)
    assert move.width == pytest.approx(0.08)


@pytest.mark.parametrize(("width", "held"), [(0.03, True), (0.0005, False), (None, False)])
def test_a_grasp_that_aborts_with_the_fingers_apart_holds_something(client, probe, width, held):
    servers = GripperServers(probe, move=Move, grasp=Grasp)
    servers.answer.abort, servers.answer.result = True, {"error": "no object"}
    gripper = make_gripper(client.node, "left", GripperConfig(name="{arm}/gripper"), lambda: width)
    result = outcome(client, gripper, to_open=False)
    assert result.success is held
    assert held or result.message == "no object"


@pytest.mark.parametrize(("position", "held"), [(0.015, True), (0.0, False)])
def test_gripper_command_takes_half_the_width_and_an_aborted_closing_for_a_grasp(client, probe, position, held):
    servers = GripperServers(probe, act=GripperCommand)
    servers.answer.abort, servers.answer.result = True, {"position": position}
    config = GripperConfig(kind="gripper_command", name="{arm}/gripper/act")
    gripper = make_gripper(client.node, "left", config, lambda: None)
    assert outcome(client, gripper, to_open=False).success is held
    servers.answer.abort = False
    assert outcome(client, gripper, to_open=True).success
    assert [goal.command.position for goal in servers.goals] == [0.0, pytest.approx(0.04)]
    assert servers.goals[0].command.max_effort > 0


@pytest.mark.parametrize(("stalled", "held"), [(True, True), (False, False)])
def test_a_parallel_gripper_that_stalls_holds_something(client, probe, stalled, held):
    servers = GripperServers(probe, act=ParallelGripperCommand)
    servers.answer.result = {"stalled": stalled, "reached_goal": not stalled}
    config = GripperConfig(kind="parallel_gripper_command", name="{arm}/gripper/act", joint="{arm}_knuckle")
    gripper = make_gripper(client.node, "left", config, lambda: None)
    assert outcome(client, gripper, to_open=False).success is held
    assert servers.goals[0].command.name == ["left_knuckle"]


def test_a_gripper_without_a_server_fails_at_once():
    probe = Probe("alone")
    gripper = make_gripper(probe.node, "left", GripperConfig(), lambda: None)
    gripper.command(targets.GripperCommand(arm="left", open=True, number=1))
    (failed,) = gripper.outcomes()
    assert "start the gripper's node" in failed.message
    probe.close()


def executed(start, arms, **parameters):
    """The result of a plan with a gripper event, executed by a process with these parameters."""
    process = start(executor_command(**parameters))
    probe = Probe("watcher")
    try:
        goal = None
        while goal is None or goal.result(60).result.code in ("state_missing", "heartbeat_lost"):  # not heard yet
            stamp_ns = probe.node.get_clock().now().nanoseconds
            motion = plan(stamp_ns=stamp_ns, moves=((0.0, 0.0, 0.1), (0.1, 0.0, 0.0)), move_s=1.0)
            message = message_from_plan(motion, plan_id=str(stamp_ns), joint_names=JOINT_NAMES)
            goal = probe.send_goal(ExecutePlan, "execute_plan", ExecutePlan.Goal(plan=message))
        return goal.result(60).result
    finally:
        probe.close()
        process.close()


def test_trajectories_start_together_end_at_rest_and_stop_at_the_gripper(start):
    arms = ArmStandIn(HOME, READY)
    loose = {"executor.watchdog.tracking_position_m": 1.0, "executor.watchdog.tracking_rotation_rad": 3.0}
    try:
        kind = {"controller.kind": "follow_joint_trajectory"}
        assert executed(start, arms, **kind, **loose).code == "ok"
        assert not arms.targets["left"]
        assert {arm for arm, _ in arms.trajectories} == set(HOME)
        assert len(arms.trajectories) == 4  # to the gripper event and from there, each arm
        for (_, left), (_, right) in zip(arms.trajectories[::2], arms.trajectories[1::2], strict=True):
            assert left.trajectory.header.stamp == right.trajectory.header.stamp
        for arm, goal in arms.trajectories:
            points = goal.trajectory.points
            assert goal.trajectory.joint_names == JOINT_NAMES[arm]
            np.testing.assert_allclose(points[-1].velocities, 0, atol=1e-6)
            assert len(points[1].accelerations) == 7
        left = [goal.trajectory.points for arm, goal in arms.trajectories if arm == "left"]
        np.testing.assert_allclose(left[0][0].positions, READY, atol=1e-6)
        np.testing.assert_allclose(left[1][0].positions, left[0][-1].positions, atol=1e-3)
    finally:
        arms.close()


def test_a_dry_run_commands_nothing(start):
    arms = ArmStandIn(HOME)
    loose = {"executor.watchdog.tracking_position_m": 1.0, "executor.watchdog.tracking_rotation_rad": 3.0}
    try:
        assert executed(start, arms, **{"controller.kind": "dry_run"}, **loose).code == "ok"
        assert not arms.targets["left"]
        assert not arms.trajectories
    finally:
        arms.close()


def test_arms_whose_joints_and_poses_disagree_are_not_commanded(start):
    arms = ArmStandIn(HOME, READY)
    try:
        result = executed(start, arms, robot="fer")
        assert result.code == "kinematics_mismatch"
        assert not arms.targets["left"]
    finally:
        arms.close()
