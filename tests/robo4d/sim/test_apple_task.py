import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.sim.cell import Cell
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, CellState
from robo4d.sim.tasks.place_apple_from_bowl_into_bin import RADIUS

_REPLACED_EVERY_S = 4.0


@pytest.fixture(scope="module")
def cell() -> Cell:
    return Cell("place_apple_from_bowl_into_bin")


def _arms_touch(cell: Cell) -> bool:
    """Whether any two parts of different arms are in contact."""
    bodies = cell.model.geom_bodyid[cell.data.contact.geom]
    sides = [{name.split("_")[0] for name in (cell.model.body(a).name, cell.model.body(b).name)} for a, b in bodies]
    return set(ARMS) in sides


def _tcps(state: CellState) -> np.ndarray:
    return np.stack([state.arms[arm].T_world_tcp[:3, 3] for arm in ARMS])


def test_both_arms_bring_the_apple_over_the_shelf_into_the_bin_even_if_the_expert_is_replaced_now_and_then(cell: Cell):
    state = cell.reset(seed=1)
    expert, replaced = cell.task.expert(), 0
    was_on_shelf, fastest = False, 0.0
    while not expert.done(state) and state.time_s < 60:
        if state.time_s > (replaced + 1) * _REPLACED_EVERY_S:
            expert, replaced = cell.task.expert(), replaced + 1
        before, state = _tcps(state), cell.step(expert.command(state))
        fastest = max(fastest, np.linalg.norm(_tcps(state) - before, axis=1).max() / CONTROL_PERIOD_S)
        T_shelf_apple = se3.inverse(state.T_world_body["shelf"]) @ state.T_world_body["apple"]
        is_held = np.linalg.norm(_tcps(state) - state.T_world_body["apple"][:3, 3], axis=1).min() < 0.05
        was_on_shelf |= not is_held and np.abs(T_shelf_apple[:2, 3]).max() < 0.03
        assert not _arms_touch(cell)
    assert cell.success()
    assert expert.done(state)
    assert was_on_shelf
    assert fastest < 0.15
    assert replaced > 4


def test_the_right_arm_alone_picks_up_an_apple_that_fell_on_its_side_of_the_table(cell: Cell):
    state = cell.reset(seed=2)
    cell.place("apple", se3.translation(0.66, -0.16, RADIUS))
    expert, left_start = cell.task.expert(), state.arms["left"].T_world_tcp
    while not expert.done(state) and state.time_s < 40:
        state = cell.step(expert.command(state))
        assert se3.distance(state.arms["left"].T_world_tcp, left_start)[0] < 0.02
    assert cell.success()


def test_the_left_arm_fetches_an_apple_that_slips_out_of_its_gripper(cell: Cell):
    state = cell.reset(seed=3)
    cell.place("apple", se3.translation(0.40, 0.17, RADIUS))
    expert = cell.task.expert()
    while state.time_s < 20 and state.T_world_body["apple"][2, 3] < 0.12:
        state = cell.step(expert.command(state))
    T_world_slipped = state.T_world_body["apple"].copy()
    T_world_slipped[2, 3] -= 0.08
    cell.place("apple", T_world_slipped)
    for _ in range(50):
        state = cell.step(expert.command(state))
    assert state.T_world_body["apple"][2, 3] < RADIUS + 0.005
    while state.time_s < 40 and state.T_world_body["apple"][2, 3] < 0.12:
        state = cell.step(expert.command(state))
    assert state.T_world_body["apple"][2, 3] >= 0.12


@pytest.mark.parametrize("distribution", ["standard", "wide"])
def test_every_start_has_the_apple_at_rest_in_the_bowl_and_furniture_apart(cell: Cell, distribution: str):
    for seed in range(6):
        state = cell.reset(seed=seed, distribution=distribution)
        T = state.T_world_body
        assert np.linalg.norm((T["apple"] - T["bowl"])[:2, 3]) < 0.02
        assert not cell.success()
        assert np.abs(cell.data.joint("apple").qvel).max() < 1e-2
        assert T["bowl"][1, 3] - 0.10 > T["shelf"][1, 3] + 0.10
        assert T["bin"][1, 3] + 0.11 < T["shelf"][1, 3] - 0.10


def test_an_apple_in_the_bin_is_a_success_once_it_lies_on_the_floor(cell: Cell):
    state = cell.reset(seed=0)
    cell.place("apple", state.T_world_body["bin"] @ se3.translation(0, 0, 0.08))
    cell.step({})
    assert not cell.success()
    for _ in range(50):
        cell.step({})
    assert cell.success()
