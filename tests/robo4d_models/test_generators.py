import dataclasses

import pytest
import torch
from robo4d_models.generators import load_generator, weights_folder
from robo4d_models.rollout import weights
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.pipeline import TinyGenerator
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.svd.pipeline import SvdGenerator
from small_svd import small_model

from robo4d import shipped
from robo4d.rollout.results import RolloutConfig
from robo4d.sim.cell import Cell

TASK = "put_spatula_on_table"


@pytest.fixture(scope="module")
def svd_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svd")
    small_model().save(folder)
    return folder


def test_a_folder_tells_which_generator_it_is_for(svd_folder, tmp_path):
    torch.manual_seed(0)
    model = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64))
    checkpoints.save_weights(tmp_path / "plan.safetensors", model.state_dict(), dataclasses.asdict(model.config))
    tiny = load_generator(tmp_path, TASK, flow_steps=2)
    assert isinstance(tiny, TinyGenerator)
    assert tiny.config.flow_steps == 2
    assert isinstance(load_generator(svd_folder, TASK), SvdGenerator)


def test_a_name_means_the_weights_that_ship_or_a_path(tmp_path):
    assert weights_folder("tiny") == shipped.TINY
    assert weights_folder(str(tmp_path)) == tmp_path


def test_weights_of_svd_can_be_rolled_out_but_have_no_flow_whose_steps_count(svd_folder):
    cell, config = Cell(TASK), RolloutConfig(generator=str(svd_folder))
    assert isinstance(weights(TASK, cell, config), SvdGenerator)
    with pytest.raises(ValueError, match="leave flow_steps out"):
        weights(TASK, cell, dataclasses.replace(config, flow_steps=2))
