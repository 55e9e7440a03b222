import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from ball_world import moment, pair
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator
from robo4d_models.video4d.planning import KeyframePlanner
from robo4d_models.video4d.refiner import RefinerConfig
from robo4d_models.video4d.train import TrainConfig, train
from robo4d_models.video4d.trainer import Trainer, Training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import Dataset

CONFIG = TrainConfig(
    steps=6, batch=1, warm_up=2, log_every=1, validate_every=6, validation_batches=1, checkpoint_every_s=0.0
)
TASKS = ("store_cereal_box_under_shelf",)


def losses(folder):
    rows = checkpoints.read_curve(folder / "plan/curve.jsonl")
    return [(row["step"], row["total"]) for row in rows if "total" in row]


@pytest.fixture(scope="module")
def uninterrupted(samples, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    train(data=samples, out=out, tasks=TASKS, config=CONFIG)
    return out


def test_a_killed_run_goes_on_as_if_nothing_had_happened(samples, uninterrupted, tmp_path):
    script = (
        "from pathlib import Path; from robo4d_models.video4d.train import TrainConfig, train; "
        f"train(data=Path({str(samples)!r}), out=Path({str(tmp_path)!r}), tasks={TASKS}, config={CONFIG})"
    )
    with subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("step 4"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    killed_at = losses(tmp_path)[-1][0]
    assert killed_at < 6

    train(data=samples, out=tmp_path, tasks=TASKS, config=CONFIG)

    assert losses(tmp_path) == losses(uninterrupted)
    ours = checkpoints.load(checkpoints.newest(tmp_path / "plan"), "cpu")
    theirs = checkpoints.load(checkpoints.newest(uninterrupted / "plan"), "cpu")
    assert ours["step"] == theirs["step"] == 6
    torch.testing.assert_close(ours["averaged"], theirs["averaged"], rtol=0, atol=0)


class Numbers(Dataset):
    def __len__(self):
        return CONFIG.steps

    def __getitem__(self, index):
        return torch.tensor([1.0, index, -2.0])


def test_the_fused_optimizer_makes_the_same_steps(tmp_path):
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        trainer = Trainer(
            Training(torch.nn.Linear(3, 1), lambda model, x: {"error": model(x).square().mean()}),
            replace(CONFIG, fused=fused),
            out=tmp_path / str(fused),
            weights=tmp_path / f"{fused}.safetensors",
            about=({}, {}),
            accelerator=Accelerator(cpu=True),
        )
        trainer.run(Numbers(), dict)
        assert trainer.optimizer.param_groups[0]["fused"] is (fused or None)
        weights.append(trainer.training.model.weight.detach())
    torch.testing.assert_close(*weights)


@pytest.fixture
def fresh_accelerator():
    """It is one for all of a process, and keeps its precision."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("fresh_accelerator")
def test_networks_multiply_in_bfloat16_on_request(samples, uninterrupted, tmp_path):
    config = replace(CONFIG, mixed_precision="bf16")
    train(data=samples, out=tmp_path, tasks=TASKS, config=config, slice_minutes=0)
    ((_, rounded),), (_, exact) = losses(tmp_path), losses(uninterrupted)[0]
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact
    weights, _ = checkpoints.load_weights(tmp_path / "plan.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_svd_chooses_its_precision_by_itself(tmp_path):
    with pytest.raises(ValueError, match="leave mixed_precision out"):
        train(data=tmp_path, out=tmp_path, preset="svd", config=replace(CONFIG, mixed_precision="bf16"))


def test_validation_is_on_the_curve(uninterrupted):
    rows = checkpoints.read_curve(uninterrupted / "plan/curve.jsonl")
    assert [row["step"] for row in rows if "validation" in row] == [6]


def test_the_averaged_weights_load_into_a_planner(uninterrupted):
    planner = KeyframePlanner.load(uninterrupted / "plan.safetensors", "put_spatula_on_table")
    assert planner.task == "put_spatula_on_table"


def test_only_the_last_checkpoints_stay(uninterrupted):
    assert len(list((uninterrupted / "plan").glob("checkpoint-*.pt"))) == checkpoints.KEPT


def test_all_files_of_a_run_are_small(uninterrupted):
    """A machine without a network may return none that is larger."""
    assert max(path.stat().st_size for path in uninterrupted.rglob("*")) < 16 * 2**20


def test_a_slice_ends_with_a_checkpoint_and_weights_for_use(samples, tmp_path):
    config = replace(CONFIG, checkpoint_every_s=1e9)
    train(data=samples, out=tmp_path, part="segmenter", tasks=TASKS, config=config, slice_minutes=0)
    assert checkpoints.newest(tmp_path / "segmenter").name == "checkpoint-000000001.pt"
    assert (tmp_path / "segmenter.safetensors").is_file()


def test_tensorboard_has_the_curves_too(uninterrupted):
    events = EventAccumulator(str(uninterrupted / "plan/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/total")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("validation/next_mm")] == [6]


def test_what_a_run_is_measured_on_stays_while_samples_come_in(samples, tmp_path):
    data = shutil.copytree(samples, tmp_path / "samples")
    config = replace(CONFIG, learning_rate=0.0, weight_decay=0.0, validate_every=1, steps=2)
    train(data=data, out=tmp_path, part="segmenter", tasks=TASKS, config=config, slice_minutes=0)
    np.save(data / f"{TASKS[0]}-20-0.npy", np.stack([moment(np.random.default_rng(7))]))
    train(data=data, out=tmp_path, part="segmenter", tasks=TASKS, config=config)
    rows = checkpoints.read_curve(tmp_path / "segmenter/curve.jsonl")
    first, second = (row["validation"] for row in rows if "validation" in row)
    assert first == second


def test_a_damaged_validation_sample_is_named(samples, tmp_path):
    data = shutil.copytree(samples, tmp_path / "samples")
    (data / f"{TASKS[0]}-20-0.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"-20-0\.npy is cut off"):
        train(data=data, out=tmp_path, tasks=TASKS, config=replace(CONFIG, validate_every=1))


def test_missing_weights_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="robo4d train"):
        KeyframePlanner.load(tmp_path / "plan.safetensors", "put_spatula_on_table")


def test_a_folder_without_samples_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="robo4d make-samples"):
        train(data=tmp_path, out=tmp_path / "out", smoke=True)


def test_a_line_that_a_kill_cut_off_is_left_out_of_the_curve(tmp_path):
    path = tmp_path / "curve.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "tot')
    assert checkpoints.read_curve(path) == [{"step": 1}]
    checkpoints.Curve(path, resumed_at=1).add({"step": 2})
    assert [row["step"] for row in checkpoints.read_curve(path)] == [1, 2]


def test_weights_without_a_checkpoint_are_where_training_begins(samples, uninterrupted, tmp_path):
    shutil.copy(uninterrupted / "plan.safetensors", tmp_path)
    train(data=samples, out=tmp_path, tasks=TASKS, config=replace(CONFIG, learning_rate=0.0))
    ours, _ = checkpoints.load_weights(tmp_path / "plan.safetensors")
    theirs, _ = checkpoints.load_weights(uninterrupted / "plan.safetensors")
    torch.testing.assert_close(ours, theirs)


def test_weights_of_another_network_are_not_begun_with(samples, tmp_path):
    small = RefinerConfig(widths=(16, 24, 32), joint_layers=0)
    train(data=samples, out=tmp_path, part="refiner", tasks=TASKS, refiner=small, smoke=True)
    shutil.rmtree(tmp_path / "refiner")
    with pytest.raises(ValueError, match="train it in a folder of its own"):
        train(
            data=samples, out=tmp_path, part="refiner", tasks=TASKS, refiner=replace(small, joint_layers=1), smoke=True
        )


@pytest.mark.parametrize("part", ["refiner", "aim", "segmenter", "localiser"])
def test_the_other_parts_are_trained_by_the_same_command(samples, tmp_path, part):
    train(data=samples, out=tmp_path, part=part, tasks=TASKS, smoke=True)
    rows = checkpoints.read_curve(tmp_path / part / "curve.jsonl")
    assert [row["step"] for row in rows if "total" in row] == [2, 4, 6]
    assert any("validation" in row for row in rows)
    weights, _ = checkpoints.load_weights(tmp_path / f"{part}.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_an_ablation_is_a_folder_of_weights_like_any_other(samples, uninterrupted, tmp_path):
    alone = RefinerConfig(widths=(16, 24, 32), joint_layers=0, drawn=False)
    train(data=samples, out=tmp_path, part="refiner", tasks=TASKS, refiner=alone, smoke=True)
    shutil.copy(uninterrupted / "plan.safetensors", tmp_path)
    generator = TinyGenerator.load(tmp_path, TASKS[0], config=TinyConfig(frames=1, size=32))
    assert generator.generate(pair(32), seed=0).rgb.shape == (2, 1, 32, 32, 3)
