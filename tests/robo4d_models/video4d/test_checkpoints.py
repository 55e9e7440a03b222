import hashlib
import shutil
from dataclasses import asdict

import pytest
import torch
from ball_world import TASK
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.pipeline import TinyGenerator
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.refiner import Refiner, RefinerConfig

from robo4d import shipped


@pytest.fixture
def folder(tmp_path):
    """Weights of a small plan model, with their hash."""
    config = PlanModelConfig(widths=(16, 32, 64), flow_width=64)
    file = tmp_path / "plan.safetensors"
    checkpoints.save_weights(file, PlanModel(config).state_dict(), asdict(config))
    (tmp_path / checkpoints.HASHES).write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
    return tmp_path


def test_weights_that_are_whole_are_loaded(folder):
    assert TinyGenerator.load(folder, TASK).planner.task == TASK


def test_weights_with_another_content_than_their_hash_says_are_refused(folder):
    content = bytearray((folder / "plan.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "plan.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.safetensors is not the one that .*SHA256SUMS names"):
        TinyGenerator.load(folder, TASK)


def test_a_file_that_was_cut_off_is_refused_by_name(folder):
    (folder / checkpoints.HASHES).unlink()
    content = (folder / "plan.safetensors").read_bytes()
    (folder / "plan.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"plan\.safetensors is cut off or damaged"):
        TinyGenerator.load(folder, TASK)


def test_the_weights_of_another_network_are_refused_by_name(folder):
    (folder / checkpoints.HASHES).unlink()
    config = RefinerConfig(widths=(16, 24, 32), joint_layers=1)
    other = {name: torch.zeros(3) for name in Refiner(config).state_dict()}
    checkpoints.save_weights(folder / "refiner.safetensors", other, asdict(config))
    with pytest.raises(ValueError, match=r"refiner\.safetensors holds the weights of another model"):
        TinyGenerator.load(folder, TASK)


def test_weights_that_no_hash_is_known_of_are_refused_by_name(folder):
    shutil.copy(folder / "plan.safetensors", folder / "refiner.safetensors")
    with pytest.raises(ValueError, match=r"refiner\.safetensors not named in SHA256SUMS"):
        TinyGenerator.load(folder, TASK)


def test_weights_that_ship_must_have_hashes(folder, monkeypatch):
    (folder / checkpoints.HASHES).unlink()
    checkpoints.verify(folder)
    monkeypatch.setattr(shipped, "TINY", folder)
    with pytest.raises(ValueError, match=r"SHA256SUMS of the weights that ship is missing"):
        TinyGenerator.load(folder, TASK)


def state(value):
    """As a trainer has it."""
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.full((30, 10), value), "exp_avg_sq": None}
    return {
        "step": 3,
        "model": {"a": torch.full((40, 10), value), "b": torch.full((2,), value)},
        "optimizer": {"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.98), "params": [0]}]},
    }


def test_a_checkpoint_in_parts_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PART_BYTES", 1500)
    checkpoints.save(tmp_path, 3, state(1.0))
    assert len(list(tmp_path.glob("*.part*"))) > 1
    read = checkpoints.load(checkpoints.newest(tmp_path), "cpu")
    torch.testing.assert_close(read, state(1.0), rtol=0, atol=0)
    assert read["optimizer"]["param_groups"] == state(1.0)["optimizer"]["param_groups"]


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_checkpoint_whose_writing_was_cut_off_is_none(tmp_path, monkeypatch, written):
    monkeypatch.setattr(checkpoints, "_PART_BYTES", 1500)
    checkpoints.save(tmp_path, 3, state(1.0))
    write, done = checkpoints._write, []

    def killed(path, content):
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(write(path, content))

    monkeypatch.setattr(checkpoints, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 4, state(2.0))
    torch.testing.assert_close(checkpoints.load(checkpoints.newest(tmp_path), "cpu"), state(1.0))
    monkeypatch.setattr(checkpoints, "_write", write)
    for step in (5, 6):
        checkpoints.save(tmp_path, step, state(3.0))
    assert {path.stem for path in tmp_path.iterdir()} == {"checkpoint-000000005", "checkpoint-000000006"}
    torch.testing.assert_close(checkpoints.load(checkpoints.newest(tmp_path), "cpu"), state(3.0))


def test_a_checkpoint_that_lacks_a_part_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PART_BYTES", 1500)
    for step in (3, 4):
        checkpoints.save(tmp_path, step, state(float(step)))
    (tmp_path / "checkpoint-000000004.part01").unlink()
    assert checkpoints.newest(tmp_path).name == "checkpoint-000000003.pt"


def test_a_checkpoint_in_one_file_is_read_too(tmp_path):
    torch.save(state(1.0), tmp_path / "checkpoint-000000003.pt")
    torch.testing.assert_close(checkpoints.load(checkpoints.newest(tmp_path), "cpu"), state(1.0))
