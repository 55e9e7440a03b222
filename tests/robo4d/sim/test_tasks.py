import functools
import itertools

import mujoco
import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.sim import tasks
from robo4d.sim.cell import Cell
from robo4d.sim.experts import elbows_above
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, ArmCommand

SINGLE_ARM = {"store_cereal_box_under_shelf": "left", "put_spatula_on_table": "right"}


@functools.cache
def cell_of(task):
    return Cell(task)


def run(cell, state, *, expert=None, until=lambda state: False, limit_s=45.0):
    """Let an expert work until it is done or a condition holds; returns all states."""
    expert = expert or cell.task.expert()
    states, end = [state], state.time_s + limit_s
    while not expert.done(states[-1]) and not until(states[-1]) and states[-1].time_s < end:
        states.append(cell.step(expert.command(states[-1])))
    return states


def touches_table(cell):
    names = {cell.model.geom("table").id, cell.model.geom("floor").id}
    bodies = cell.model.geom_bodyid
    return any(
        ({int(a), int(b)} & names) and cell.model.body(bodies[b if int(a) in names else a]).name.startswith(ARMS)
        for a, b in cell.data.contact.geom
    )


def is_lifted(task, height):
    body = tasks.TASKS[task].objects[0]
    return lambda state: state.T_world_body[body][2, 3] > height


def test_a_misspelt_task_is_answered_with_the_right_name():
    with pytest.raises(ValueError, match="Did you mean `put_spatula_on_table`"):
        tasks.load("put_spatula_on_tabel")


@pytest.mark.parametrize(
    ("distribution", "object_area", "yaw_deg", "furniture"),
    [("standard", (0.10, 0.20), 15, 0.03), ("wide", (0.20, 0.20), 30, 0.08)],
)
@pytest.mark.parametrize("task", tasks.TASKS)
def test_objects_start_all_over_the_area_and_furniture_over_the_range_that_is_promised(
    task, distribution, object_area, yaw_deg, furniture
):
    """Areas are sides, yaw and furniture half widths; the ends of a range are rare, so 0.8 of it must be reached."""
    spread, rng = tasks.SPREADS[distribution], np.random.default_rng(0)
    assert spread.object_yaw == pytest.approx(np.deg2rad(yaw_deg))
    assert spread.furniture_xy == pytest.approx(furniture)
    assert (spread.home > 0) == (spread.looks > 0) == (distribution == "wide")
    starts = [tasks.TASKS[task].sample_start(rng, spread).T_world_body for _ in range(200)]
    reached = {name: np.ptp([start[name][:2, 3] for start in starts], axis=0) for name in starts[0]}
    assert (reached[tasks.TASKS[task].objects[0]] > 0.8 * np.array(object_area)).all()
    assert all((area > 0.8 * 2 * furniture).all() for area in reached.values())


@pytest.mark.parametrize(("task", "distribution"), list(itertools.product(tasks.TASKS, tasks.SPREADS)))
def test_the_expert_succeeds_slowly_and_without_touching_the_table_or_flipping_an_elbow(task, distribution):
    cell = cell_of(task)
    states = [cell.reset(seed=1, distribution=distribution)]
    assert not cell.success()
    expert = cell.task.expert()
    while not expert.done(states[-1]):
        states.append(cell.step(expert.command(states[-1])))
        assert states[-1].time_s < 45
        assert not touches_table(cell)
        assert elbows_above(cell).all()
    assert cell.success()
    path = np.array([[s.arms[arm].T_world_tcp[:3, 3] for arm in ARMS] for s in states])
    assert np.linalg.norm(np.diff(path, axis=0), axis=-1).max() / CONTROL_PERIOD_S <= 0.15


@pytest.mark.parametrize("task", SINGLE_ARM)
def test_a_fresh_expert_carries_on_with_a_disturbed_arm(task):
    cell, arm = cell_of(task), SINGLE_ARM[task]
    state = cell.reset(seed=2)
    start = state.T_world_body[cell.task.objects[0]][2, 3]
    state = run(cell, state, until=is_lifted(task, start + 0.04))[-1]
    turned = se3.exp(np.array([0, 0, 0, 0.1, -0.1, 0.2]))
    T = state.arms[arm].T_world_tcp @ turned
    T[:3, 3] += [-0.04, 0.03, 0.06]
    for _ in range(50):
        state = cell.step({arm: ArmCommand(T_world_tcp=T, gripper_width=0.0)})
    assert not cell.success()
    run(cell, state)
    assert cell.success()


def test_a_missed_grasp_is_tried_again():
    cell = cell_of("put_spatula_on_table")
    state = cell.reset(seed=3)
    expert = cell.task.expert()
    near = lambda s: np.linalg.norm(s.arms["right"].T_world_tcp[:3, 3] - s.T_world_body["spatula"][:3, 3]) < 0.07  # noqa: E731
    state = run(cell, state, expert=expert, until=near)[-1]
    T = state.arms["right"].T_world_tcp
    for _ in range(60):
        state = cell.step({"right": ArmCommand(T_world_tcp=T, gripper_width=0.0)})
    assert state.arms["right"].gripper_width < 0.005
    run(cell, state)
    assert cell.success()


def test_a_box_dropped_on_the_table_is_picked_up_and_stored():
    cell = cell_of("store_cereal_box_under_shelf")
    state = cell.reset(seed=4)
    cell.place("cereal_box", se3.translation(0.42, 0.3, 0.08))
    state = cell.step({})
    assert not cell.success()
    run(cell, state, limit_s=60)
    assert cell.success()


def test_a_box_still_held_is_no_success():
    cell = cell_of("store_cereal_box_under_shelf")
    state = cell.reset(seed=0)
    stored = lambda s: cell.task.expert and s.T_world_body["cereal_box"][2, 3] < 0.15  # noqa: E731
    state = run(cell, state, until=stored)[-1]
    for _ in range(25):
        state = cell.step({})
    assert state.arms["left"].gripper_width > 0.03
    assert not cell.success()


def test_physics_are_the_same_in_a_second_cell():
    first, second = (Cell("put_spatula_on_table") for _ in range(2))
    a, b = (run(c, c.reset(seed=7), limit_s=2)[-1] for c in (first, second))
    assert np.array_equal(a.T_world_body["spatula"], b.T_world_body["spatula"])
    assert mujoco.mj_stateSize(first.model, mujoco.mjtState.mjSTATE_INTEGRATION) == len(second.snapshot().physics)
