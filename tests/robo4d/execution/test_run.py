"""One passage along a plan."""

import numpy as np
import pytest
from execution_rig import HOME, READY, derivatives, plan
from hypothesis import given, settings
from hypothesis import strategies as st

from robo4d.execution.path import PlanPath
from robo4d.execution.run import PathRate, PlanRun, RateConfig
from robo4d.execution.targets import ArmTarget
from robo4d.geometry import se3

PERIOD_S = 0.01


def start_at(offset=None):
    offset = np.eye(4) if offset is None else offset
    return {arm: ArmTarget(T_world_tcp=T @ offset, joints=READY) for arm, T in HOME.items()}


def make_run(offset=None, **options):
    motion = plan(**options)
    return PlanRun(PlanPath(motion), motion.events, start_at(offset), config=RateConfig(), period_s=PERIOD_S)


def follow(run, speeds):
    """The targets of all ticks; grippers are done at once."""
    history = []
    for speed in speeds:
        if run.tick(speed):
            run.release()
        history.append(run.targets())
    return history


def test_the_path_passes_through_the_samples_of_its_plan():
    motion = plan()
    path = PlanPath(motion)
    for index in range(0, len(motion.times_s), 7):
        target = path.target("left", motion.times_s[index])
        np.testing.assert_allclose(target.T_world_tcp, motion.arms["left"].Ts_world_tcp[index], atol=1e-9)
        np.testing.assert_allclose(target.joints, motion.arms["left"].joints[index], atol=1e-9)


def test_between_samples_the_path_is_the_one_that_the_plan_defines():
    motion = plan()
    path, times_s = PlanPath(motion), np.random.default_rng(0).uniform(0, motion.duration_s, 100)
    defined = motion.resampled(times_s).arms["right"]
    for index, time_s in enumerate(times_s):
        distance, angle = se3.distance(path.target("right", time_s).T_world_tcp, defined.Ts_world_tcp[index])
        assert distance < 1e-8
        assert angle < 1e-7


def test_a_run_ends_exactly_at_the_end_of_its_plan():
    run = make_run()
    history = follow(run, [1.0] * 600)
    assert run.done
    assert run.progress == 1
    np.testing.assert_allclose(history[-1]["left"].T_world_tcp, plan().arms["left"].Ts_world_tcp[-1], atol=1e-12)


def test_all_targets_lie_on_the_path_however_the_speed_changes():
    path = PlanPath(plan())
    dense = np.array([path.target("left", t).T_world_tcp[:3, 3] for t in np.arange(0, path.duration_s, 0.001)])
    speeds = np.repeat([1.0, 0.0, 0.4, 0.0, 1.0, 0.1, 0.9], 60)
    for targets in follow(make_run(), speeds):
        assert np.linalg.norm(dense - targets["left"].T_world_tcp[:3, 3], axis=1).min() < 2e-4


def test_both_arms_share_one_clock():
    history = follow(make_run(moves=((0.1, 0.05, 0.1),)), np.repeat([1.0, 0.0, 0.5], 50))
    for targets in history:
        moved = {arm: targets[arm].T_world_tcp[:3, 3] - HOME[arm][:3, 3] for arm in HOME}
        np.testing.assert_allclose(moved["left"], moved["right"], atol=1e-12)


def test_the_clock_waits_at_a_gripper_event_until_it_is_released():
    run = make_run()
    events = next(due for due in (run.tick(1.0) for _ in range(1000)) if due)
    assert [(event.arm, event.open) for event in events] == [("left", False)]
    there = run.targets()["left"].T_world_tcp
    for _ in range(100):
        assert run.tick(1.0) == ()
    np.testing.assert_array_equal(run.targets()["left"].T_world_tcp, there)
    run.release()
    for _ in range(30):
        run.tick(1.0)
    assert np.linalg.norm(run.targets()["left"].T_world_tcp[:3, 3] - there[:3, 3]) > 0.005  # the dwell was skipped


def test_a_gripper_event_is_not_due_while_the_run_is_being_paused():
    run, times_s = make_run(), 0.0
    while times_s < 1.4:
        run.tick(1.0)
        times_s += PERIOD_S
    assert not any(run.tick(0.0) for _ in range(200))
    assert any(run.tick(1.0) for _ in range(200))


def test_a_difference_to_the_start_vanishes_without_a_step():
    offset = se3.exp(np.array([0.006, -0.005, 0.004, 0.03, 0.02, -0.02]))
    run = make_run(offset)
    history = follow(run, [1.0] * 700)
    poses = np.array([start_at(offset)["left"].T_world_tcp] + [targets["left"].T_world_tcp for targets in history])
    np.testing.assert_allclose(poses[1], poses[0], atol=1e-5)
    np.testing.assert_allclose(poses[-1], plan().arms["left"].Ts_world_tcp[-1], atol=1e-12)
    assert derivatives(poses, PERIOD_S)["jerk"][0] < 10


def test_the_joints_start_where_they_were_commanded_and_end_where_they_are_planned():
    motion, joints = plan(), READY + np.linspace(-0.05, 0.05, 7)
    start = {arm: ArmTarget(T_world_tcp=T, joints=joints) for arm, T in HOME.items()}
    run = PlanRun(PlanPath(motion), motion.events, start, config=RateConfig(), period_s=PERIOD_S)
    np.testing.assert_allclose(run.targets()["left"].joints, joints, atol=1e-12)
    history = follow(run, [1.0] * 700)
    np.testing.assert_allclose(history[-1]["left"].joints, motion.arms["left"].joints[-1], atol=1e-12)


def test_a_course_is_what_the_run_then_does():
    run = make_run(moves=((0.1, 0.0, 0.1),))
    for _ in range(40):
        run.tick(1.0)
    course = run.course(0.5)["left"]
    history = follow(run, [0.5] * (2 * (len(course.times_s) - 1)))
    done = np.array([targets["left"].joints for targets in history[1::2]])
    np.testing.assert_allclose(course.joints[1:], done, atol=1e-9)
    np.testing.assert_allclose(course.velocities[-1], 0, atol=1e-9)
    differences = np.gradient(course.joints, course.times_s, axis=0)[2:-2]
    np.testing.assert_allclose(course.velocities[2:-2], differences, atol=2e-3)
    np.testing.assert_allclose(
        course.accelerations[3:-3], np.gradient(course.velocities, course.times_s, axis=0)[3:-3], atol=0.05
    )


def test_a_course_to_a_pause_ends_at_rest_on_the_path():
    run = make_run()
    for _ in range(60):
        run.tick(1.0)
    course = run.course(0.0)["right"]
    assert course.times_s[-1] < 0.5
    np.testing.assert_allclose(course.velocities[-1], 0, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), min_size=1, max_size=20))
def test_the_rate_keeps_its_limits_and_never_goes_backwards(program):
    config, state, rates = RateConfig(), PathRate(), [0.0]
    for target, ticks in program:
        for _ in range(ticks):
            step_s, state = state.toward(target, config, PERIOD_S)
            assert step_s >= 0
            rates.append(state.rate)
    acceleration = np.diff(rates) / PERIOD_S
    assert min(rates) >= -1e-9
    assert max(rates) <= 1 + 1e-9
    assert np.abs(acceleration).max() <= config.acceleration * (1 + 1e-6)
    assert np.abs(np.diff(acceleration, prepend=0)).max() <= config.jerk * PERIOD_S * (1 + 1e-6)


@pytest.mark.parametrize("acceleration", [0.0, -1.0])
def test_a_rate_that_cannot_change_is_refused(acceleration):
    with pytest.raises(ValueError, match="positive"):
        RateConfig(acceleration=acceleration)
