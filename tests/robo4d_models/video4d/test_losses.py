import numpy as np
import torch
from robo4d_models.video4d.batches import plan_sample
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.losses import flow_loss
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig


def test_rotations_that_the_flow_is_to_learn_are_not_rounded_under_autocast(samples):
    rng = np.random.default_rng(0)
    sample = plan_sample(SampleFolder(samples).draw(rng, 2), rng, size=32, augmentation=None)
    torch.manual_seed(0)
    model = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64))  # whose flow is zero, and is not rounded
    output, losses = model(sample.observation), []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(flow_loss(model, output, sample.target).item())
    assert losses[0] == losses[1]
