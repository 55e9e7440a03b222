"""Every reason for which a plan is refused, reached by the input that deserves it, with the sentence that it gets."""

from dataclasses import replace

import numpy as np
import pytest

from robo4d.plan import Code
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.limits import MotionLimits, check_motion
from robo4d.planning.planner import Candidate, Planner, PlannerConfig
from robo4d.planning.robot import Box, Rates, RobotState, two_arms

SECOND = 10**9


def moved(state: RobotState, **changes) -> RobotState:
    return replace(state, **changes)


def with_joints(state, joints):
    return replace(state, joints={**state.joints, "left": np.asarray(joints, float)})


@pytest.fixture
def verdict(planner, state, straight):
    def of(track=None, *, observed=None, current=None, now_ns=0, by=planner):
        track = track or straight()
        plan = by.plan({track.arm: track}, observed=observed or state, current=current or state, now_ns=now_ns)
        assert len(plan.times_s) == 0 or plan.verdict.accepted
        return plan.verdict

    return of


def test_stale_observation(verdict):
    got = verdict(now_ns=70 * SECOND)
    assert got.code == Code.STALE_OBSERVATION
    assert "70.0 s old, allowed are 0 to 60 s: observe again" in got.reason
    assert verdict(now_ns=-SECOND).code == Code.STALE_OBSERVATION  # clocks that disagree


def test_stale_state(verdict, state):
    got = verdict(now_ns=10 * SECOND)
    assert got.code == Code.STALE_STATE
    assert "state of the robot now is 10.00 s off" in got.reason
    late = moved(state, stamp_ns=2 * SECOND)
    assert "at the observation" in verdict(observed=late).reason


def test_not_finite(verdict, state):
    got = verdict(current=with_joints(state, [np.nan] * 7))
    assert (got.code, got.arm) == (Code.NOT_FINITE, "left")
    assert "check the driver of the arm" in got.reason


def test_robot_moving(verdict, state):
    moving = moved(state, joint_velocities={**state.joint_velocities, "right": np.full(7, 0.1)})
    got = verdict(current=moving)
    assert (got.code, got.arm, got.value) == (Code.ROBOT_MOVING, "right", 0.1)
    assert "stop the arm and plan again" in got.reason


def test_start_mismatch(verdict, state):
    got = verdict(current=with_joints(state, state.joints["left"] + 0.02))
    assert (got.code, got.arm) == (Code.START_MISMATCH, "left")
    assert "since the observation, allowed are 10 mm and 3 deg: observe again" in got.reason


def test_too_few_poses(verdict, straight):
    track = straight()
    lost = np.arange(10) > 0
    Ts = np.where(lost[:, None, None], np.nan, track.Ts_world_tcp)
    got = verdict(replace(track, Ts_world_tcp=Ts, confidence=np.where(lost, 0, 0.9), inlier=~lost))
    assert got.code == Code.TOO_FEW_POSES
    assert "found in none of 9 predicted frames: generate again" in got.reason
    assert verdict(straight(frames=1)).code == Code.TOO_FEW_POSES


def test_low_confidence(verdict, straight):
    got = verdict(replace(straight(), confidence=np.full(10, 0.1)))
    assert (got.code, got.value) == (Code.LOW_CONFIDENCE, pytest.approx(0.1))
    assert "at least 0.3 is needed" in got.reason


def test_innovation(verdict, straight):
    track = straight()
    Ts = track.Ts_world_tcp.copy()
    Ts[:, 0, 3] += 0.04
    got = verdict(replace(track, Ts_world_tcp=Ts))
    assert (got.code, got.value) == (Code.INNOVATION, pytest.approx(0.04))
    assert "check the calibration of the cameras" in got.reason


def test_a_track_that_is_all_nan_has_no_poses(verdict, straight):
    got = verdict(replace(straight(), Ts_world_tcp=np.full((10, 4, 4), np.nan)))
    assert got.code == Code.TOO_FEW_POSES


def hidden_at_first(track):
    Ts = track.Ts_world_tcp.copy()
    Ts[0] = np.nan
    return replace(track, Ts_world_tcp=Ts, inlier=track.inlier & (np.arange(10) > 0))


def test_a_gripper_hidden_in_the_observation_starts_where_the_joints_have_it(arms, state, straight):
    track = straight(move=(0.1, 0, -0.1))
    seen, hidden = (
        Planner(PlannerConfig(), arms, []).plan({"left": t}, observed=state, current=state, now_ns=0)
        for t in (track, hidden_at_first(track))
    )
    assert hidden.verdict.accepted
    frames = hidden.keyframes["left"]
    np.testing.assert_allclose(frames.Ts_world_tcp, seen.keyframes["left"].Ts_world_tcp, atol=1e-3)
    assert not frames.outlier[0]


def test_a_gripper_hidden_in_the_observation_must_be_found_where_it_can_be_by_then(verdict, straight):
    track = straight()
    Ts = track.Ts_world_tcp.copy()
    Ts[:, 0, 3] += 0.5
    got = verdict(hidden_at_first(replace(track, Ts_world_tcp=Ts)))
    assert got.code == Code.INNOVATION
    assert "is hidden in the observation, and was found first" in got.reason
    assert got.time_s == track.times_s[1]


def test_too_many_outliers(verdict, straight):
    track = straight()
    got = verdict(replace(track, inlier=np.arange(10) % 2 == 0))
    assert (got.code, got.value) == (Code.TOO_MANY_OUTLIERS, pytest.approx(5 / 9))
    assert "56 % of its tracked poses are lost or fit no smooth motion, allowed are 40 %" in got.reason


def test_workspace(verdict, straight):
    planner = Planner(PlannerConfig(), two_arms("fer"), [])
    got = verdict(straight(move=(-0.25, 0.05, 0.1)), by=planner)
    assert (got.code, got.arm) == (Code.WORKSPACE, "left")
    assert got.time_s is not None
    assert "leaves its workspace (0.1 to 0.9 m)" in got.reason


@pytest.mark.parametrize(("outside_m", "accepted"), [(0.006, True), (0.02, False)])
def test_poses_a_little_outside_of_the_workspace_are_moved_to_its_border(arms, state, straight, outside_m, accepted):
    track = straight(move=(0.1, 0, -0.1))
    lowest = track.Ts_world_tcp[-1, 2, 3] + outside_m
    low = [replace(arm, workspace_min=np.array([-2.0, -2.0, lowest])) for arm in arms]
    plan = Planner(PlannerConfig(), low, []).plan({"left": track}, observed=state, current=state, now_ns=0)
    assert plan.verdict.accepted == accepted
    if accepted:
        assert plan.keyframes["left"].Ts_world_tcp[-1, 2, 3] == pytest.approx(lowest)
    else:
        assert plan.verdict.code == Code.WORKSPACE


@pytest.fixture
def strict(arms):
    """A planner that follows a video as a whole, or not at all."""
    return Planner(PlannerConfig(min_part_s=60.0), arms, [Box.example()])


def test_unreachable(verdict, straight, strict):
    got = verdict(straight(move=(1.0, 0, 0)), by=strict)
    assert (got.code, got.arm) == (Code.UNREACHABLE, "left")
    assert "out of reach from the present posture" in got.reason


def test_singular(verdict, straight, strict):
    got = verdict(straight(move=(0.46, 0, 0)), by=strict)
    assert (got.code, got.arm) == (Code.SINGULAR, "left")
    assert got.value is not None
    assert got.value > 50
    assert "nearly singular" in got.reason


def test_joint_position(verdict, straight, strict):
    got = verdict(straight(move=(0, 0, 0), turn=(0, 0, -2.3)), by=strict)
    assert got.code == Code.JOINT_POSITION
    assert "joint 7 would be at 2.6" in got.reason


def test_what_leads_out_of_reach_is_followed_up_to_there(planner, state, straight):
    track = straight(move=(1.0, 0, 0), frames=20, closes_at=3)
    plan = planner.plan({"left": track}, observed=state, current=state, now_ns=0)
    assert plan.verdict.accepted
    assert "of the video, where the plan ends: left arm at" in plan.verdict.reason
    assert 2.0 <= plan.video_times_s[-1] < 9.5
    assert [event.open for event in plan.events] == [False]
    reached = plan.arms["left"].Ts_world_tcp[-1, 0, 3] - plan.arms["left"].Ts_world_tcp[0, 0, 3]
    assert reached == pytest.approx(1.0 * plan.video_times_s[-1] / 9.5, abs=0.01)


def test_a_video_that_can_be_followed_to_its_end_comes_before_one_that_cannot(planner, state, straight):
    whole, part = (Candidate(tracks={"left": straight(move=(x, 0, 0), frames=20)}) for x in (0.1, 1.0))
    for candidates, best in (([part, whole], 1), ([whole, part], 0)):
        chosen, plan = planner.best(candidates, observed=state, current=state, now_ns=0)
        assert chosen == best
        assert plan.verdict.reason == "all checks passed"


def test_a_part_that_is_refused_for_another_reason_does_not_hide_the_first(arms, state, straight):
    hasty = Planner(PlannerConfig(max_duration_s=1.0), arms, [])
    plan = hasty.plan({"left": straight(move=(1.0, 0, 0), frames=20)}, observed=state, current=state, now_ns=0)
    assert plan.verdict.code in (Code.UNREACHABLE, Code.SINGULAR)


def test_too_short_a_part_is_not_worth_it(planner, state, straight):
    plan = planner.plan({"left": straight(move=(3.0, 0, 0))}, observed=state, current=state, now_ns=0)
    assert plan.verdict.code in (Code.UNREACHABLE, Code.SINGULAR)


def test_a_path_on_which_the_elbow_must_give_way_is_not_refused(verdict, straight, state, arms):
    joints = np.array([0.5, -0.8, 0.7, -2.8, -0.7, 0.8, 1.0])
    track = straight(move=(-0.2, 0, 0.2), joints=joints)
    kinematics = ArmKinematics(arms[0])
    as_it_is, _, _ = kinematics.follow(track.Ts_world_tcp, joints)
    assert as_it_is[:, 5].min() < 0.17  # nearer to the end of its range than is allowed
    posed = RobotState.at_rest(state.stamp_ns, {**state.joints, "left": joints})
    assert verdict(track, observed=posed, current=posed).accepted


RATES = {
    Code.JOINT_VELOCITY: ({"joint_velocity_share": 0.01}, "a joint velocity of"),
    Code.JOINT_ACCELERATION: ({"joint_acceleration_share": 0.001}, "a joint acceleration of"),
    Code.JOINT_JERK: ({"joint_jerk_share": 1e-5}, "a joint jerk of"),
    Code.CARTESIAN_VELOCITY: ({"translation": Rates(velocity=0.01, acceleration=9, jerk=99)}, "a velocity of"),
    Code.CARTESIAN_ACCELERATION: ({"rotation": Rates(velocity=9, acceleration=0.01, jerk=99)}, "an angular accel"),
    Code.CARTESIAN_JERK: ({"translation": Rates(velocity=9, acceleration=9, jerk=0.01)}, "a jerk of"),
}


@pytest.mark.parametrize("code", RATES)
def test_rates(planner, state, straight, code):
    # Planning for a limit keeps it, so that its check is reached only by a plan that was made for another one.
    plan = planner.plan({"left": straight(turn=(0, 0, 0.8))}, observed=state, current=state, now_ns=0)
    robots = {arm.name: arm.robot for arm in two_arms("fer")}
    assert check_motion(plan, robots, MotionLimits()) is None
    changes, sentence = RATES[code]
    loose = {
        "translation": Rates(velocity=9, acceleration=9, jerk=99),
        "rotation": Rates(velocity=9, acceleration=9, jerk=99),
    }
    got = check_motion(plan, robots, MotionLimits(**{**loose, **changes}))
    assert got is not None
    assert (got.code, got.arm) == (code, "left")
    assert sentence in got.reason
    assert "is allowed: plan again with a lower limits.max_rate" in got.reason


def test_too_long(verdict, straight, arms):
    hasty = Planner(PlannerConfig(max_duration_s=3.0), arms, [])
    got = verdict(straight(), by=hasty)
    assert got.code == Code.TOO_LONG
    assert "allowed are 3 s" in got.reason


def test_self_collision(verdict, straight, state, arms):
    # A posture near one in which the hand touches the upper arm, and joint 5 that turns it there.
    joints = np.tile([-1.72, -1.22, 1.12, -2.73, 1.29, 0.59, 0.86], (10, 1))
    joints[:, 4] = np.linspace(1.29, 0.52, 10)
    planner = Planner(PlannerConfig(), arms, [])
    Ts = np.stack([planner._kinematics["left"].forward(q) for q in joints])
    folded = with_joints(state, joints[0])
    got = verdict(replace(straight(), Ts_world_tcp=Ts), observed=folded, current=folded, by=planner)
    assert got.code == Code.SELF_COLLISION
    assert "start from a posture in which the arm is folded less" in got.reason


def test_arm_collision(verdict, straight):
    got = verdict(straight(move=(0.0, -0.5, 0.0)))
    assert got.code == Code.ARM_COLLISION
    assert "right/hand" in got.reason
    assert "check the poses of the arms' bases" in got.reason


def test_scene_collision(verdict, straight, arms):
    table = replace(Box.example(), T_world_box=Box.example().T_world_box @ np.eye(4))
    got = verdict(straight(move=(0.15, 0.0, -0.55)), by=Planner(PlannerConfig(), arms, [table]))
    assert got.code == Code.SCENE_COLLISION
    assert "of table: generate again, or correct this box" in got.reason


def test_every_code_has_a_test():
    source = globals()
    tested = {name.removeprefix("test_").upper() for name in source if name.startswith("test_")} | {
        c.name for c in RATES
    }
    assert {code.name for code in Code} - {"ACCEPTED"} <= tested
