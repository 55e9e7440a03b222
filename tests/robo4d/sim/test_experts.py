import json

import mujoco
import pytest

from robo4d.cli import main
from robo4d.sim.cell import Cell
from robo4d.sim.experts import elbows_above

TASK = "put_spatula_on_table"


def test_the_measurement_tells_success_speed_and_smoothness_in_a_table_and_in_a_file(tmp_path, capsys):
    file = tmp_path / "experts.json"
    only = ["--task", TASK, "--distribution", "standard", "--episodes", "1", "--workers", "1"]
    with pytest.raises(SystemExit) as end:
        main(["experts", *only, "--json", str(file)])
    assert not end.value.code
    assert "1 of 1" in capsys.readouterr().out
    (row,) = json.loads(file.read_text())
    assert (row["task"], row["distribution"], row["episodes"], row["successes"]) == (TASK, "standard", 1, 1)
    low, high = row["ci95"]
    assert 0.15 < low < 0.25, "Wilson's interval of 1 in 1"
    assert high == pytest.approx(1)
    assert 10 < row["mean_duration_s"] < 20
    assert 0.05 < row["max_speed"] <= 0.15
    assert row["elbow_flips"] == 0


def test_an_elbow_that_hangs_below_its_arm_is_seen():
    cell = Cell(TASK)
    assert elbows_above(cell).tolist() == [True, True]
    for joint, angle in ((2, 1.2), (3, 2.8), (4, -2.0)):
        cell.data.joint(f"left_joint{joint}").qpos = angle
    mujoco.mj_forward(cell.model, cell.data)
    assert elbows_above(cell).tolist() == [False, True]
