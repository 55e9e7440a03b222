import pytest

from robo4d.sim import bench
from robo4d.sim.cell import Cell


def test_physics_are_timed_with_the_arms_at_work_and_beside_mujoco_alone():
    cell = Cell("put_spatula_on_table")
    figures = bench.physics(cell)
    assert cell.success(), "the task was done, and untouched by what ran beside it"
    assert 0 < figures["physics_real_time_factor"] < figures["physics_real_time_factor_mujoco"]


def test_an_expert_that_cannot_do_its_task_is_no_measurement():
    cell = Cell("put_spatula_on_table")
    cell.data.time = 61.0
    with pytest.raises(ValueError, match="another --seed-offset"):
        bench.physics(cell)
