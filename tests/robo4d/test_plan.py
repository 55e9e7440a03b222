from dataclasses import replace

import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.plan import ArmCurves, ArmPlan, GripperEvent, Keyframes, Plan, Verdict

PERIOD = 0.01


def screw_plan(times: np.ndarray) -> Plan:
    """A known motion: position, rotation about a tilted axis and joints follow sines of time."""
    axis = np.array([0.6, 0, 0.8])
    angle, rate, rate2 = np.sin(times), np.cos(times), -np.sin(times)
    direction = np.array([0.1, -0.2, 0.3])
    arm = ArmPlan(
        Ts_world_tcp=se3.pose(
            se3.exp(np.c_[np.zeros((len(times), 3)), np.outer(angle, axis)])[:, :3, :3], np.outer(angle, direction)
        ),
        velocities=np.c_[np.outer(rate, direction), np.outer(rate, axis)],
        accelerations=np.c_[np.outer(rate2, direction), np.outer(rate2, axis)],
        joints=np.outer(angle, np.ones(7)),
        joint_velocities=np.outer(rate, np.ones(7)),
        joint_accelerations=np.outer(rate2, np.ones(7)),
        confidence=np.linspace(0, 1, len(times)),
    )
    return replace(Plan.example(), times_s=times, video_times_s=times, arms={"left": arm})


@pytest.mark.parametrize("kind", [ArmPlan, GripperEvent, Keyframes, Plan, Verdict])
def test_every_type_ships_an_example(kind):
    assert isinstance(kind.example(), kind)


def test_a_resampled_plan_is_the_motion_between_its_samples():
    plan = screw_plan(PERIOD * np.arange(100))
    times = np.linspace(0, plan.duration_s, 777)
    got, expected = plan.resampled(times).arms["left"], screw_plan(times).arms["left"]
    np.testing.assert_allclose(got.Ts_world_tcp, expected.Ts_world_tcp, atol=1e-11)
    np.testing.assert_allclose(got.velocities, expected.velocities, atol=1e-8)
    np.testing.assert_allclose(got.accelerations, expected.accelerations, atol=1e-6)
    np.testing.assert_allclose(got.joints, expected.joints, atol=1e-12)
    np.testing.assert_allclose(got.joint_velocities, expected.joint_velocities, atol=1e-9)
    np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-9)


def test_resampling_at_its_own_times_changes_nothing():
    plan = screw_plan(PERIOD * np.arange(50))
    got, arm = plan.resampled(plan.times_s).arms["left"], plan.arms["left"]
    for name, values in vars(arm).items():
        np.testing.assert_allclose(getattr(got, name), values, atol=1e-9, err_msg=name)


def test_a_turn_about_a_changing_axis_has_its_own_velocity():
    times = PERIOD * np.arange(60)
    rotvec = np.stack([0.3 * np.sin(2 * times), 0.4 * times, 0.2 * times**2], axis=-1)
    R = se3.exp(np.c_[np.zeros((60, 3)), rotvec])[:, :3, :3]
    fine = np.linspace(0, times[-1], 5901)  # the truth's derivatives, by differences
    R_fine = se3.exp(np.c_[np.zeros((5901, 3)), np.c_[0.3 * np.sin(2 * fine), 0.4 * fine, 0.2 * fine**2]])[:, :3, :3]
    step = fine[1]
    spin = se3.log(se3.pose(R_fine[2:] @ np.swapaxes(R_fine[:-2], 1, 2), np.zeros((5899, 3))))[:, 3:] / (2 * step)
    spin_rate = np.gradient(spin, step, axis=0)
    rows = np.arange(1, 58) * 100 - 1
    arm = screw_plan(times[1:58]).arms["left"]
    arm = replace(
        arm,
        Ts_world_tcp=se3.pose(R[1:58], np.zeros((57, 3))),
        velocities=np.c_[np.zeros((57, 3)), spin[rows]],
        accelerations=np.c_[np.zeros((57, 3)), spin_rate[rows]],
    )
    curves: ArmCurves = arm.curves(times[1:58])
    middle = times[1:57] + PERIOD / 2
    between = rows[:-1] + 50
    np.testing.assert_allclose(curves.rotation.rotations(middle), R_fine[between + 1], atol=1e-8)
    np.testing.assert_allclose(curves.rotation.rates(middle, 1), spin[between], atol=1e-5)


def test_before_its_start_and_after_its_end_a_plan_stands_still():
    plan = Plan.example()
    ends = plan.resampled(np.array([-1.0, 0.0, 1.0, 5.0])).arms["left"].Ts_world_tcp
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[3], ends[2])


def test_a_plan_refused_before_it_moved_cannot_be_followed():
    plan = Plan.refused(0, Verdict.example(), {})
    assert not plan.verdict.accepted
    assert plan.duration_s == 0
    with pytest.raises(ValueError, match="WORKSPACE has no motion"):
        plan.resampled(np.zeros(1))
