from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo4d.planning.bench import limit_shares, random_tracks
from robo4d.planning.limits import MotionLimits
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import Box, Rates, RobotState, two_arms

ARMS = {robot: two_arms(robot) for robot in ("fer", "fr3")}
PLANNERS = {robot: Planner(PlannerConfig(), arms, [Box.example()]) for robot, arms in ARMS.items()}
STATE = RobotState.example()


def test_no_accepted_plan_exceeds_a_limit_of_its_robot():
    # `robo4d bench planner --trajectories 3000` does the same for many more.
    accepted: list[bool] = []

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(
        robot=st.sampled_from(["fer", "fr3"]),
        seed=st.integers(0, 2**32 - 1),
        frames=st.integers(2, 8),
        period_s=st.floats(0.1, 0.5),
        reach_m=st.floats(0, 0.12),
        outlier_share=st.floats(0, 0.3),
    )
    def check(robot, seed, **motion):
        description = ARMS[robot][0].robot
        tracks = random_tracks(np.random.default_rng(seed), ARMS[robot], STATE, **motion)
        plan = PLANNERS[robot].plan(tracks, observed=STATE, current=STATE, now_ns=0)
        accepted.append(plan.verdict.accepted)
        if not plan.verdict.accepted:
            return
        shares, limits = limit_shares(plan, description), MotionLimits()
        assert max(shares.values()) <= 1, shares
        assert shares["joint_velocity"] <= limits.joint_velocity_share
        assert shares["joint_acceleration"] <= limits.joint_acceleration_share
        assert shares["translation_velocity"] <= limits.translation.velocity / description.translation.velocity

    check()
    assert np.mean(accepted) > 0.5


def test_a_plan_that_breaks_a_limit_is_measured_as_such():
    plan = PLANNERS["fer"].plan(
        random_tracks(
            np.random.default_rng(0),
            ARMS["fer"],
            STATE,
            frames=6,
            period_s=0.5,
            reach_m=0.05,
            outlier_share=0,
        ),
        observed=STATE,
        current=STATE,
        now_ns=0,
    )
    arms = {name: _faster(arm, 20.0) for name, arm in plan.arms.items()}
    shares = limit_shares(replace(plan, times_s=plan.times_s / 20, arms=arms), ARMS["fer"][0].robot)
    assert shares["joint_velocity"] > 1


def _faster(arm, factor):
    return replace(
        arm,
        velocities=factor * arm.velocities,
        accelerations=factor**2 * arm.accelerations,
        joint_velocities=factor * arm.joint_velocities,
        joint_accelerations=factor**2 * arm.joint_accelerations,
    )


@pytest.mark.parametrize(
    "change", [{"joint_velocity_share": 0.6}, {"joint_jerk_share": 0}, {"joint_margin_share": 0.5}, {"max_rate": 0}]
)
def test_limits_that_are_none_are_refused(change):
    with pytest.raises(ValueError, match="must be in"):
        MotionLimits(**change)


def test_rates_are_positive():
    with pytest.raises(ValueError, match="positive"):
        Rates(velocity=0, acceleration=1, jerk=1)
