from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.plan import Code
from robo4d.planning.limits import MotionLimits
from robo4d.planning.planner import STAGES, Candidate, Planner, PlannerConfig
from robo4d.planning.robot import Box, Rates, RobotState


@pytest.fixture
def plan(planner, state):
    def make(*tracks):
        return planner.plan({t.arm: t for t in tracks}, observed=state, current=state, now_ns=0)

    return make


def test_a_straight_track_is_followed_from_the_measured_pose(plan, straight, state, arms):
    track = straight(move=(0.15, 0.0, -0.1))
    got = plan(track)
    assert got.verdict.accepted, got.verdict.reason
    arm = got.arms["left"]
    np.testing.assert_allclose(arm.joints[0], state.joints["left"], atol=1e-6)
    np.testing.assert_allclose(arm.Ts_world_tcp[0], track.Ts_world_tcp[0], atol=1e-6)
    np.testing.assert_allclose(arm.Ts_world_tcp[-1, :3, 3], track.Ts_world_tcp[-1, :3, 3], atol=2e-3)
    for ends in (arm.velocities, arm.accelerations, arm.joint_velocities, arm.joint_accelerations):
        np.testing.assert_allclose(ends[[0, -1]], 0, atol=1e-12)
    assert got.duration_s >= track.times_s[-1]  # never faster than the video


def test_the_joints_reach_the_poses_at_all_times(plan, straight, planner):
    got = plan(straight(move=(0.15, 0.05, -0.1), turn=(0, 0, 0.8)))
    fine = got.resampled(np.linspace(0, got.duration_s, 400)).arms["left"]
    reached = np.stack([planner._kinematics["left"].forward(q) for q in fine.joints])
    distance, angle = se3.distance(reached, fine.Ts_world_tcp)
    assert distance.max() < 5e-4
    assert angle.max() < 1e-3


def test_a_constant_offset_of_the_tracker_is_taken_off(plan, straight):
    exact, shifted = straight(), straight()
    shifted = replace(shifted, Ts_world_tcp=se3.translation(0.01, -0.01, 0.005) @ shifted.Ts_world_tcp)
    np.testing.assert_allclose(
        plan(shifted).arms["left"].Ts_world_tcp, plan(exact).arms["left"].Ts_world_tcp, atol=1e-9
    )


def test_both_arms_follow_the_same_video_time_on_one_clock(plan, straight):
    slow, fast = straight("left", move=(0.02, 0, 0)), straight("right", move=(0.2, 0.0, -0.1))
    got = plan(slow, fast)
    assert got.verdict.accepted, got.verdict.reason
    assert len(got.arms["left"].joints) == len(got.arms["right"].joints) == len(got.times_s)
    for track in (slow, fast):
        at = np.interp(track.times_s, got.video_times_s, got.times_s)
        passed = got.resampled(at).arms[track.arm].Ts_world_tcp
        assert se3.distance(passed, track.Ts_world_tcp)[0].max() < 3e-3


def test_grippers_act_while_all_arms_stand_still(plan, straight):
    got = plan(straight("left", closes_at=5), straight("right", move=(0.1, 0, 0)))
    assert [(event.arm, event.open) for event in got.events] == [("left", False)]
    time = got.events[0].time_s
    during = got.resampled(np.linspace(time, time + PlannerConfig().gripper_dwell_s, 50))
    for arm in during.arms.values():
        np.testing.assert_array_equal(arm.velocities, 0)
        np.testing.assert_array_equal(arm.accelerations, 0)
        np.testing.assert_array_equal(arm.joint_velocities, 0)
    assert 1.5 <= during.video_times_s[0] <= 2.5
    assert np.ptp(during.video_times_s) == 0


def test_a_flicker_of_the_fingers_is_no_event(plan, straight):
    track = straight()
    flicker = track.open.copy()
    flicker[4] = False
    assert plan(replace(track, open=flicker)).events == ()


def test_an_arm_without_a_track_holds_and_is_avoided(plan, straight):
    got = plan(straight("left", move=(0.0, -0.5, 0.0)))
    assert got.verdict.code == Code.ARM_COLLISION


def test_outliers_are_bridged_and_reported(plan, straight):
    track = straight(move=(0.1, 0, -0.1))
    Ts = track.Ts_world_tcp.copy()
    Ts[4, :3, 3] += 0.15
    got = plan(replace(track, Ts_world_tcp=Ts))
    assert got.verdict.accepted, got.verdict.reason
    assert np.flatnonzero(got.keyframes["left"].outlier).tolist() == [4]
    at = np.interp(2.0, got.video_times_s, got.times_s)
    passed = got.resampled(np.array([at])).arms["left"]
    assert np.linalg.norm(passed.Ts_world_tcp[0, :3, 3] - track.Ts_world_tcp[4, :3, 3]) < 0.01
    assert passed.confidence[0] < 0.1


def test_quaternions_of_either_sign_make_the_same_plan(plan, straight):
    track = straight(turn=(0, 0, 1.0))
    signs = np.where(np.arange(10) % 2, 1, -1)[:, None]
    Ts = se3.from_quat_wxyz(signs * se3.to_quat_wxyz(track.Ts_world_tcp), track.Ts_world_tcp[:, :3, 3])
    np.testing.assert_allclose(
        plan(replace(track, Ts_world_tcp=Ts)).arms["left"].joints, plan(track).arms["left"].joints, atol=1e-9
    )


def test_a_hand_that_stands_still_makes_a_plan_that_stands_still(plan, straight, state):
    got = plan(straight(move=(0, 0, 0)))
    assert got.verdict.accepted, got.verdict.reason
    np.testing.assert_allclose(got.arms["left"].joints, np.tile(state.joints["left"], (len(got.times_s), 1)), atol=1e-6)


@pytest.mark.parametrize("frames", [2, 3, 40])
def test_short_and_long_videos_are_planned(plan, straight, frames):
    got = plan(straight(frames=frames, move=(0.05, 0.02, -0.05)))
    assert got.verdict.accepted, got.verdict.reason


@pytest.mark.parametrize("robot", ["fer", "fr3"])
def test_arms_may_stand_elsewhere(straight, state, arms, robot):
    from robo4d.planning.robot import RobotDescription

    turned = se3.pose(Rotation.from_euler("z", 1.0).as_matrix(), np.array([-0.2, 0.6, 0.1]))
    moved = [replace(arm, robot=RobotDescription.load(robot), T_world_base=turned @ arm.T_world_base) for arm in arms]
    track = straight(move=(0.1, 0, -0.05))
    track = replace(track, Ts_world_tcp=turned @ track.Ts_world_tcp)
    got = Planner(PlannerConfig(), moved, []).plan({"left": track}, observed=state, current=state, now_ns=0)
    assert got.verdict.accepted, got.verdict.reason


def test_every_stage_is_told_once_in_order(planner, straight, state):
    told = []
    planner.plan({"left": straight()}, observed=state, current=state, now_ns=0, on_stage=told.append)
    assert tuple(told) == STAGES


def test_the_best_candidate_is_accepted_trusted_and_consistent(planner, straight, state):
    bad = straight(move=(1.5, 0, 0))
    doubtful = replace(straight(), confidence=np.full(10, 0.5))
    good = straight(move=(0.12, 0, -0.1))
    candidates = [
        Candidate(tracks={"left": bad}, cross_view_residual_m=0.0),
        Candidate(tracks={"left": doubtful}, cross_view_residual_m=0.01),
        Candidate(tracks={"left": good}, cross_view_residual_m=0.01),
        Candidate(tracks={"left": good}, cross_view_residual_m=0.05),
    ]
    index, best = planner.best(candidates, observed=state, current=state, now_ns=0)
    assert index == 2
    assert best.verdict.accepted


def test_a_candidate_without_outliers_is_better_than_one_with_equal_confidence(planner, straight, state):
    clean = straight()
    Ts = clean.Ts_world_tcp.copy()
    Ts[4, :3, 3] += 0.15
    spoiled = replace(clean, Ts_world_tcp=Ts)
    candidates = [Candidate(tracks={"left": track}, cross_view_residual_m=0.01) for track in (spoiled, clean)]
    index, _ = planner.best(candidates, observed=state, current=state, now_ns=0)
    assert index == 1


@pytest.mark.parametrize("residuals_m", [(None, None, None), (None, None, 0.2), (0.2, None, None)])
def test_confidence_decides_where_the_views_were_not_compared(planner, straight, state, residuals_m):
    doubtful, sure = (replace(straight(), confidence=np.full(10, c)) for c in (0.5, 0.9))
    candidates = [
        Candidate(tracks={"left": track}, cross_view_residual_m=residual_m)
        for track, residual_m in zip((doubtful, sure, doubtful), residuals_m, strict=True)
    ]
    assert planner.best(candidates, observed=state, current=state, now_ns=0)[0] == 1


def test_tracks_of_unknown_arms_are_refused(planner, straight, state):
    with pytest.raises(ValueError, match="left, right"):
        planner.plan({"third": straight()}, observed=state, current=state, now_ns=0)


def test_tracks_of_two_videos_are_refused(planner, straight, state):
    tracks = {"left": straight("left"), "right": replace(straight("right"), stamp_ns=5)}
    with pytest.raises(ValueError, match="one video"):
        planner.plan(tracks, observed=state, current=state, now_ns=0)


def test_a_state_that_lacks_an_arm_is_refused(planner, straight, state):
    alone = RobotState(stamp_ns=0, joints={"left": np.zeros(7)}, joint_velocities={"left": np.zeros(7)})
    with pytest.raises(ValueError, match="states must hold the arms left, right"):
        planner.plan({"left": straight()}, observed=alone, current=state, now_ns=0)


def test_limits_beyond_half_of_the_robots_are_refused(arms):
    fast = MotionLimits(translation=Rates(velocity=1.0, acceleration=1.0, jerk=5.0))
    with pytest.raises(ValueError, match=r"translation.velocity must be at most 0.85 for fer"):
        Planner(PlannerConfig(limits=fast), arms, [Box.example()])


def test_arms_of_one_name_are_refused(arms):
    with pytest.raises(ValueError, match="distinct names"):
        Planner(PlannerConfig(), [arms[0], arms[0]], [])
