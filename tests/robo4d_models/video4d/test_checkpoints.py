import hashlib
from dataclasses import asdict

import pytest
import torch
from ball_world import TASK
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.pipeline import TinyGenerator
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.refiner import Refiner, RefinerConfig


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
    config = RefinerConfig(widths=(16, 24, 32), joint_layers=1)
    other = {name: torch.zeros(3) for name in Refiner(config).state_dict()}
    checkpoints.save_weights(folder / "refiner.safetensors", other, asdict(config))
    with pytest.raises(ValueError, match=r"refiner\.safetensors holds the weights of another model"):
        TinyGenerator.load(folder, TASK)
