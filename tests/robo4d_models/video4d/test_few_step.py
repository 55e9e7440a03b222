import dataclasses
import json

import numpy as np
import pytest
import torch
from robo4d_models.evaluate import evaluate
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.batches import plan_sample
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.few_step import few_step_errors, few_step_losses
from robo4d_models.video4d.flow_quality import energy_distance
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.planning import KeyframePlanner, load_plan_model
from robo4d_models.video4d.train import train
from robo4d_models.video4d.trainer import TrainConfig

OTHER_PARTS = ("refiner", "segmenter", "localiser")
CONFIG = TrainConfig(steps=2, batch=1, warm_up=1, log_every=1, validate_every=2, validation_batches=1)


def curved(width=32):
    """A plan model whose flow bends: far from straight, so that one step gets nowhere near where many do."""
    torch.manual_seed(0)
    model = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=width, flow_layers=1))
    torch.nn.init.normal_(model.flow.out.weight, std=0.5)
    return model.eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path):
    model = curved()
    checkpoints.save_weights(tmp_path / "plan.safetensors", model.state_dict(), dataclasses.asdict(model.config))
    for other in OTHER_PARTS:
        checkpoints.save_weights(tmp_path / f"{other}.safetensors", {"a": torch.ones(1)}, {})
    return tmp_path


def test_a_student_gets_in_one_step_nearer_to_where_its_teacher_gets_in_many(samples):
    student, teacher = curved(), curved().flow
    student.flow.requires_grad_(True)
    rng = np.random.default_rng(0)
    sample = plan_sample(SampleFolder(samples).draw(rng, 4), rng, size=32, augmentation=None)
    before = {name: error.mean() for name, error in few_step_errors(student, sample, teacher=teacher).items()}
    optimizer = torch.optim.Adam(student.flow.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        few_step_losses(student, sample, teacher=teacher)["few_step"].backward()
        optimizer.step()
    after = {name: error.mean() for name, error in few_step_errors(student, sample, teacher=teacher).items()}
    assert before["steps_1_mm"] > before["steps_4_mm"] > 1
    assert after["steps_1_mm"] < 0.6 * before["steps_1_mm"]
    assert after["steps_4_mm"] < before["steps_4_mm"]


def test_the_command_trains_the_flow_head_alone_and_makes_a_folder_of_weights(samples, folder):
    train(data=samples, out=folder, part="few_step", tasks=("store_cereal_box_under_shelf",), config=CONFIG)
    before, after = (load_plan_model(f / "plan.safetensors").state_dict() for f in (folder, folder / "few_step"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"flow"}
    assert {path.stem for path in (folder / "few_step").glob("*.safetensors")} == {"plan", *OTHER_PARTS}
    assert KeyframePlanner.load(folder / "few_step/plan.safetensors", "put_spatula_on_table")
    rows = checkpoints.read_curve(folder / "few_step/curve.jsonl")
    assert rows[-1]["validation"].keys() == {"steps_1_mm", "steps_2_mm", "steps_4_mm"}


def test_a_student_needs_a_teacher(samples, tmp_path):
    with pytest.raises(ValueError, match="robo4d train"):
        train(data=samples, out=tmp_path, part="few_step", config=CONFIG)


def test_the_table_has_a_row_for_each_number_of_steps_of_teacher_and_student(samples, folder):
    train(data=samples, out=folder, part="few_step", tasks=("store_cereal_box_under_shelf",), config=CONFIG)
    evaluate(checkpoint=str(folder), data=samples, clips=2, flow_steps=(1, 64), json_file=folder / "table.jsonl")
    rows = [json.loads(line) for line in (folder / "table.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == ["teacher, 1", "teacher, 64", "student, 1", "student, 64"]
    assert rows[0]["energy_mm"] > 2 * abs(rows[1]["energy_mm"])
    assert all(row["error_mm"] > 0 and row["spread_mm"] > 0 and row["ms"] > 0 for row in rows)


def test_the_energy_distance_tells_widths_and_places_apart_and_is_0_for_equals():
    torch.manual_seed(0)
    x, y = torch.randn(2, 400, 5, 3)
    assert energy_distance(x, y).abs().max() < 0.03
    assert energy_distance(x, 2 * y).min() > 0.1
    shifted = y + torch.tensor([1000.0, 0, 0])
    np.testing.assert_allclose(energy_distance(x, shifted), 2000, rtol=0.01)
