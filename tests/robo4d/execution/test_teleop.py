"""Motion by the operator's hand."""

import numpy as np
import pytest
from execution_rig import CONFIG, HOME, Rig, reading
from scipy.spatial.transform import Rotation

from robo4d.execution.outputs import State
from robo4d.execution.targets import ArmTarget, Switches, TeleopInput
from robo4d.execution.teleop import leashed
from robo4d.geometry import se3

JOG = CONFIG.jog


def teleoperate(rig, seconds, *, pressed=True, **inputs_by_arm):
    """Hold the switch and give these inputs, as (twist) or (pose), at every tick."""
    for _ in range(round(seconds / rig.config.period_s)):
        now_ns = rig.next_ns
        teleop = {arm: TeleopInput(arrival_ns=now_ns, **values) for arm, values in inputs_by_arm.items()}
        rig.tick(switches=Switches(arrival_ns=now_ns, teleop=pressed), teleop=teleop)


def twist(*values):
    return {"twist_world": np.array(values, float)}


def moved(rig, arm):
    return rig.targets[arm].T_world_tcp[:3, 3] - HOME[arm][:3, 3]


def test_nothing_moves_before_the_switch_is_pressed():
    rig = Rig()
    teleoperate(rig, 0.5, pressed=False, left=twist(0.1, 0, 0, 0, 0, 0))
    assert rig.executor.state is State.IDLE
    assert not rig.targets


def test_a_twist_is_followed_while_the_switch_is_held_and_no_longer():
    rig = Rig()
    teleoperate(rig, 1.0, left=twist(0.05, 0, 0, 0, 0, 0.2))
    assert rig.executor.state is State.TELEOP
    assert moved(rig, "left")[0] == pytest.approx(0.05, abs=0.01)
    np.testing.assert_allclose(moved(rig, "right"), 0, atol=1e-12)
    teleoperate(rig, 1.0, pressed=False, left=twist(0.05, 0, 0, 0, 0, 0.2))
    assert rig.executor.state is State.READY
    assert moved(rig, "left")[0] < 0.06


def test_the_limits_hold_whatever_the_operator_does():
    rig, rng = Rig(), np.random.default_rng(0)
    for _ in range(40):
        teleoperate(rig, 0.01 * rng.integers(1, 20), left=twist(*rng.uniform(-9, 9, 6)), pressed=rng.random() < 0.9)
    limits = rig.motion("left")
    root = np.sqrt(3)  # limits are by axis
    assert limits["velocity"][0] <= root * JOG.velocity * 1.001
    assert limits["acceleration"][0] <= root * JOG.acceleration * 1.001
    assert limits["jerk"][0] <= root * JOG.jerk * 1.001
    assert limits["velocity"][1] <= root * JOG.turn_velocity * 1.01
    assert limits["acceleration"][1] <= root * JOG.turn_acceleration * 1.05


def test_a_pose_is_followed_relative_to_where_the_hand_was_when_the_switch_was_pressed():
    rig = Rig()
    hand = se3.pose(Rotation.from_rotvec([0.4, 1.0, -2.0]).as_matrix(), np.array([5.0, -3.0, 1.0]))
    goal = se3.pose(Rotation.from_rotvec([0, 0, 0.3]).as_matrix() @ hand[:3, :3], hand[:3, 3] + [0.03, 0.02, -0.05])
    teleoperate(rig, 0.2, left={"T_world_hand": hand})
    np.testing.assert_allclose(moved(rig, "left"), 0, atol=1e-9)
    teleoperate(rig, 4.0, left={"T_world_hand": goal})
    np.testing.assert_allclose(moved(rig, "left"), [0.03, 0.02, -0.05], atol=1e-4)
    turn = Rotation.from_matrix(rig.targets["left"].T_world_tcp[:3, :3] @ HOME["left"][:3, :3].T).as_rotvec()
    np.testing.assert_allclose(turn, [0, 0, 0.3], atol=1e-3)


def test_after_a_clutch_the_hand_may_start_anywhere():
    rig = Rig()
    teleoperate(rig, 0.5, left={"T_world_hand": se3.translation(0, 0, 0)})
    teleoperate(rig, 0.5, pressed=False)
    before = moved(rig, "left")
    teleoperate(rig, 0.5, left={"T_world_hand": se3.translation(1, 1, 1)})
    np.testing.assert_allclose(moved(rig, "left"), before, atol=1e-9)


def test_late_input_stops_the_arm_and_needs_a_new_press():
    rig = Rig()
    teleoperate(rig, 0.5, left=twist(0.1, 0, 0, 0, 0, 0))
    late = {"left": TeleopInput(arrival_ns=rig.now_ns, **twist(0.1, 0, 0, 0, 0, 0))}
    for _ in range(60):
        rig.tick(switches=Switches(arrival_ns=rig.now_ns, teleop=True), teleop=late)
    assert rig.executor.state is State.HOLD
    assert rig.transitions[-1].code == "input_late"
    teleoperate(rig, 0.3, left=twist(0.1, 0, 0, 0, 0, 0))
    assert rig.executor.state is State.HOLD
    teleoperate(rig, 0.1, pressed=False)
    teleoperate(rig, 0.1, left=twist(0.1, 0, 0, 0, 0, 0))
    assert rig.executor.state is State.TELEOP


def test_a_silent_switch_stops_the_arm():
    rig = Rig()
    teleoperate(rig, 0.5, left=twist(0.1, 0, 0, 0, 0, 0))
    switches = Switches(arrival_ns=rig.now_ns, teleop=True)
    rig.run(0.6, switches=switches)
    assert rig.executor.state is State.HOLD


def test_the_operator_takes_over_from_a_plan_at_once_and_without_a_jolt():
    rig = Rig()
    rig.execute(moves=((0.15, 0.1, 0.1),))
    rig.run(0.9)
    teleoperate(rig, 1.0, left=twist(0, 0, -0.05, 0, 0, 0))
    assert rig.executor.state is State.TELEOP
    assert [(end.success, end.code) for end in rig.finished] == [(False, "taken_over")]
    for arm in HOME:
        assert rig.motion(arm)["jerk"][0] < 60
        assert rig.motion(arm)["acceleration"][0] < 2.5


def test_the_command_does_not_run_away_from_an_arm_that_is_blocked():
    rig = Rig()
    for _ in range(100):
        now_ns = rig.next_ns
        rig.tick(
            readings={arm: reading(arm, now_ns) for arm in HOME},
            switches=Switches(arrival_ns=now_ns, teleop=True),
            teleop={"left": TeleopInput(arrival_ns=now_ns, **twist(0.1, 0, 0, 0, 0, 0))},
        )
    assert 0.02 < moved(rig, "left")[0] < 0.04
    np.testing.assert_array_equal(leashed(np.ones(6), HOME["left"], HOME["left"], 0.03, 0.2), np.ones(6))


def test_the_operator_can_close_and_open_the_gripper():
    rig = Rig()
    for to_open in (True, True, False, False, True):
        teleoperate(rig, 0.05, left=twist(*np.zeros(6)) | {"open": to_open})
    assert [command.open for command in rig.commands] == [False, True]


def test_teleoperation_needs_nobody_else_alive():
    rig = Rig()
    for _ in range(20):
        rig.tick(heartbeats_ns={}, switches=Switches(arrival_ns=rig.next_ns, teleop=True))
    assert rig.executor.state is State.TELEOP


def test_an_arm_far_from_its_last_command_is_not_pulled_there():
    rig = Rig()
    teleoperate(rig, 0.1)
    teleoperate(rig, 0.5, pressed=False)
    away = {arm: ArmTarget(T_world_tcp=se3.translation(0.2, 0, 0) @ T) for arm, T in HOME.items()}
    for _ in range(5):
        now_ns = rig.next_ns
        rig.tick(
            readings={arm: reading(arm, now_ns, away[arm]) for arm in HOME},
            switches=Switches(arrival_ns=now_ns, teleop=True),
        )
    assert rig.executor.state is State.READY
    assert rig.transitions[-1].code == "not_following"


def test_an_input_must_be_a_twist_or_a_pose():
    with pytest.raises(ValueError, match="either"):
        TeleopInput(arrival_ns=0)
    with pytest.raises(ValueError, match="finite"):
        TeleopInput(arrival_ns=0, twist_world=np.full(6, np.nan))
