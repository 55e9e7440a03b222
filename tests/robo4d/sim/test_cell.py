import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.sim.arm import MAX_SPEED
from robo4d.sim.cell import Cell
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, ArmCommand

TASK = "put_spatula_on_table"


@pytest.fixture(scope="module")
def cell():
    return Cell(TASK)


def hold(state, arm, *, offset=(0, 0, 0), width=0.08):
    return ArmCommand(T_world_tcp=se3.translation(*offset) @ state.arms[arm].T_world_target, gripper_width=width)


def fingerprint(state):
    arms = [np.concatenate([a.joints, a.external_wrench, [a.gripper_width]]) for a in state.arms.values()]
    return np.concatenate([*arms, *(T.ravel() for T in state.T_world_body.values())])


def test_a_start_depends_on_its_seed_alone(cell):
    first = fingerprint(cell.reset(seed=5, distribution="wide"))
    other = fingerprint(cell.reset(seed=6, distribution="wide"))
    assert not np.array_equal(first, other)
    assert np.array_equal(first, fingerprint(cell.reset(seed=5, distribution="wide")))


def test_wide_starts_look_different_and_standard_ones_do_not(cell):
    cell.reset(seed=0)
    plain = cell.model.mat_rgba.copy()
    cell.reset(seed=1, distribution="wide")
    assert not np.array_equal(plain, cell.model.mat_rgba)
    cell.reset(seed=2)
    assert np.array_equal(plain, cell.model.mat_rgba)


def test_an_unknown_distribution_is_refused(cell):
    with pytest.raises(ValueError, match="standard, wide"):
        cell.reset(seed=0, distribution="huge")


def test_a_restored_cell_goes_on_bit_identically(cell):
    state = cell.reset(seed=3)
    goal = {"right": hold(state, "right", offset=(0.05, 0, -0.1), width=0.0)}
    for _ in range(20):
        cell.step(goal)
    snapshot = cell.snapshot()
    ends = []
    for _ in range(2):
        cell.restore(snapshot)
        for _ in range(20):
            state = cell.step({})
        ends.append(fingerprint(state))
    assert np.array_equal(*ends)


def test_a_target_that_jumps_is_reached_smoothly_within_the_speed_limit(cell):
    state = cell.reset(seed=0)
    goal = {"left": hold(state, "left", offset=(0.1, -0.1, 0.1))}
    positions = [state.arms["left"].T_world_tcp[:3, 3]]
    for _ in range(150):
        state = cell.step(goal)
        positions.append(state.arms["left"].T_world_tcp[:3, 3])
    velocities = np.diff(positions, axis=0) / CONTROL_PERIOD_S
    assert np.linalg.norm(velocities, axis=1).max() < 1.1 * MAX_SPEED
    assert np.linalg.norm(np.diff(velocities, axis=0), axis=1).max() / CONTROL_PERIOD_S < 3.0
    assert np.allclose(state.arms["left"].T_world_tcp, goal["left"].T_world_tcp, atol=2e-3)


def test_an_arm_without_a_command_holds_its_target(cell):
    state = cell.reset(seed=0)
    before = state.arms["right"].T_world_tcp
    for _ in range(50):
        state = cell.step({})
    assert np.allclose(state.arms["right"].T_world_tcp, before, atol=1e-3)


@pytest.mark.parametrize("wrong", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.diag([2.0, 1, 1, 1])])
def test_an_invalid_target_is_refused(wrong):
    with pytest.raises(ValueError, match="rigid pose"):
        ArmCommand(T_world_tcp=wrong, gripper_width=0.0)


def test_an_impossible_width_is_refused(cell):
    with pytest.raises(ValueError, match="gripper width"):
        ArmCommand(T_world_tcp=np.eye(4), gripper_width=0.09)


def test_an_unknown_arm_is_refused_and_nothing_moves(cell):
    state = cell.reset(seed=0)
    with pytest.raises(ValueError, match="left, right"):
        cell.step({"middle": hold(state, "left")})
    assert cell.state().time_s == state.time_s


def test_a_gripper_takes_most_of_a_second_to_close(cell):
    state = cell.reset(seed=0)
    ticks = 0
    while state.arms["left"].gripper_width > 0.002:
        state = cell.step({"left": hold(state, "left", width=0.0)})
        ticks += 1
        assert ticks < 100
    assert 0.6 < ticks * CONTROL_PERIOD_S < 1.3


@pytest.mark.parametrize("force", [0.0, 70.1, np.nan])
def test_an_impossible_grip_force_is_refused(force):
    with pytest.raises(ValueError, match="grip force"):
        ArmCommand(T_world_tcp=np.eye(4), gripper_width=0.0, grip_force=force)


def test_a_gripper_holds_with_the_force_that_is_asked_for_as_far_as_its_spring_reaches():
    cell = Cell("store_cereal_box_under_shelf")
    T_world_tcp = cell.reset(seed=0).arms["left"].T_world_tcp
    cell.model.opt.gravity[:] = 0
    cell.place("cereal_box", T_world_tcp @ se3.translation(0, 0, 0.065))
    for asked, reached in ((5.0, 5.0), (20.0, 20.0), (70.0, 45.0)):  # the box is 45 mm wide
        for _ in range(60):
            cell.step({"left": ArmCommand(T_world_tcp=T_world_tcp, gripper_width=0.0, grip_force=asked)})
        assert -cell.data.actuator("left_actuator8").force[0] == pytest.approx(reached, abs=0.2)


def test_a_gripper_stops_at_an_object_and_feels_its_weight_when_lifting():
    cell = Cell("store_cereal_box_under_shelf")
    state, expert = cell.reset(seed=0), None
    expert = cell.task.expert()
    box_z = state.T_world_body["cereal_box"][2, 3]
    while state.T_world_body["cereal_box"][2, 3] < box_z + 0.03:
        state = cell.step(expert.command(state))
        assert state.time_s < 12
    assert state.arms["left"].gripper_width == pytest.approx(0.045, abs=0.002)
    assert state.arms["left"].external_wrench[2] == pytest.approx(-0.2 * 9.81, abs=0.6)
    assert np.allclose(state.arms["right"].external_wrench, 0)


def test_both_arms_stand_clear_at_every_start(cell):
    for seed in range(4):
        state = cell.reset(seed=seed, distribution="wide")
        assert all(np.allclose(state.arms[arm].external_wrench, 0) for arm in ARMS)
