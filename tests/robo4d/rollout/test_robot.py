import numpy as np
import pytest

from robo4d.execution.targets import GripperCommand
from robo4d.geometry import se3
from robo4d.plan import Plan
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import Box
from robo4d.rollout.robot import CellGripper, CellRobot
from robo4d.sim.cell import Cell
from robo4d.sim.scene import MOUNTED_ARMS
from robo4d.track import GripperTrack


@pytest.fixture(scope="module")
def cell():
    return Cell("put_spatula_on_table")


@pytest.fixture
def robot(cell):
    cell.reset(seed=0)
    robot = CellRobot(cell, MOUNTED_ARMS)
    robot.rest()
    return robot


def plan_for(robot, motion, is_open=(True, True, True)) -> Plan:
    """The left arm goes to where `motion` takes its TCP within one second of video, in world axes."""
    start = robot.state.arms["left"].T_world_tcp
    Ts = np.stack([se3.translation(*(share * np.array(motion))) @ start for share in (0.0, 0.5, 1.0)])
    track = GripperTrack(
        arm="left",
        stamp_ns=robot.now_ns,
        times_s=np.array([0.0, 0.5, 1.0]),
        Ts_world_tcp=Ts,
        confidence=np.ones(3),
        inlier=np.ones(3, bool),
        view=np.zeros(3, int),
        opening_m=np.where(is_open, 0.08, 0.0),
        open=np.array(is_open),
    )
    joints = robot.joints()
    planner = Planner(PlannerConfig(), MOUNTED_ARMS, [Box.example()])
    return planner.plan({"left": track}, observed=joints, current=joints, now_ns=robot.now_ns)


def test_a_plan_is_executed_to_its_end(robot):
    before = robot.state.arms["left"].T_world_tcp
    plan = plan_for(robot, (0.05, 0.0, -0.05))
    shares = []
    ended = robot.execute(plan, shares.append)
    robot.rest()
    assert (ended.success, ended.code) == (True, "ok")
    moved = robot.state.arms["left"].T_world_tcp[:3, 3] - before[:3, 3]
    np.testing.assert_allclose(moved, (0.05, 0.0, -0.05), atol=2e-3)
    assert shares == sorted(shares)
    assert shares[-1] > 0.95


def test_after_a_rest_the_planner_takes_the_arms_for_standing_still(robot):
    robot.execute(plan_for(robot, (0.05, 0.0, 0.0)))
    robot.rest()
    assert plan_for(robot, (-0.05, 0.0, 0.0)).verdict.accepted


def test_a_plan_that_no_longer_fits_is_refused_with_its_code(robot):
    stale = plan_for(robot, (0.05, 0.0, 0.0))
    assert robot.execute(stale).success
    robot.rest()
    ended = robot.execute(stale)
    assert (ended.success, ended.code) == (False, "start_mismatch")


def test_a_plan_that_closes_on_nothing_is_given_up_and_says_so(robot):
    ended = robot.execute(plan_for(robot, (0.0, 0.0, 0.05), is_open=(True, False, False)))
    assert (ended.success, ended.code) == (False, "gripper_failed")
    assert "the fingers stopped at 0.0 mm" in ended.reason
    assert robot.execute(plan_for(robot, (0.0, 0.0, 0.05))).code in ("ok", "start_mismatch")


def test_a_gripper_tells_its_outcome_once_it_is_at_rest():
    gripper = CellGripper()
    gripper.command(GripperCommand(arm="left", open=False, number=3))
    for width in np.linspace(0.08, 0.05, 20):
        gripper.advance(float(width))
        assert gripper.outcomes() == ()
    for _ in range(15):
        gripper.advance(0.05)
    (outcome,) = gripper.outcomes()
    assert (outcome.number, outcome.success) == (3, True)
    assert gripper.outcomes() == ()
