"""A student of the plan model's flow head: it samples in 1 to 4 steps what its teacher samples in many.

Reflow (Liu et al. 2022, arXiv:2209.03003; of large models InstaFlow, arXiv:2309.06380): the student learns by the
teacher's own loss, but from pairs of a noise and what the teacher makes of that very noise, where the teacher's pairs
knew nothing of each other. Its paths do not cross and so become straight, and one Euler step gets as far as many.
Network, loss and sampler stay what they are; shortcut models (arXiv:2410.12557) need the length of a step as a further
input, consistency models (arXiv:2303.01469) another loss and sampler. `svd.parts.few_step` is the same for `svd`.
"""

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from robo4d_models.video4d.batches import PlanSample
from robo4d_models.video4d.losses import straight_path_loss
from robo4d_models.video4d.plan_model import FlowHead, PlanModel
from robo4d_models.video4d.planning import load_plan_model

FOLDER = "few_step"
"""Of the student, in the folder of its teacher's weights; it is a folder of weights itself."""
TEACHER_STEPS = 32
"""Euler steps of the teacher in training: with 16, its plans are 7 % narrower than with 64."""
REFERENCE_STEPS = 64
"""Euler steps of the teacher where students are held against it."""


def begin_student(teacher: Path) -> tuple[PlanModel, FlowHead]:
    """A student, equal to its teacher and frozen but for the flow head, and the teacher's flow head.

    Args:
        teacher: Weights of a trained plan model.

    Raises:
        ValueError: there are none, or they are of another model.
    """
    student = load_plan_model(teacher).requires_grad_(False)
    flow = copy.deepcopy(student.flow)
    student.flow.requires_grad_(True)
    return student, flow


def few_step_losses(
    student: PlanModel, sample: PlanSample, *, teacher: FlowHead, draws: int = 4
) -> dict[str, Float[Tensor, ""]]:
    """Flow matching on the teacher's pairs, each at several times: a pair costs the teacher `TEACHER_STEPS` passes."""
    with torch.no_grad():
        features = student(sample.observation).features
        noise = _noise_like(features)
        data = teacher.transport(noise, features, TEACHER_STEPS)
    noise, data, features, known = (
        torch.cat([value] * draws) for value in (noise, data, features, sample.target.known)
    )
    # Half of the times are the one at which the only step of one-step sampling is taken.
    t = torch.rand(len(data), device=data.device) * torch.randint(2, (len(data),), device=data.device)
    return {"few_step": straight_path_loss(student.flow, t, noise, data, features, known)}


@torch.no_grad()
def few_step_errors(student: PlanModel, sample: PlanSample, *, teacher: FlowHead) -> dict[str, Float[Tensor, " n"]]:
    """Distance [mm] of the student's positions in few steps from the teacher's in many, from the same noise."""
    features = student(sample.observation).features
    noise = _noise_like(features, torch.Generator().manual_seed(0))
    expected = teacher.transport(noise, features, REFERENCE_STEPS)
    rows = sample.target.known > 0
    return {
        f"steps_{steps}_mm": _distance_mm(student.flow.transport(noise, features, steps), expected)[rows].flatten()
        for steps in (1, 2, 4)
    }


def _noise_like(features: Float[Tensor, "b s a c"], generator: torch.Generator | None = None) -> Tensor:
    return torch.randn((*features.shape[:-1], FlowHead.RESIDUAL), generator=generator).to(features.device)


def _distance_mm(a: Float[Tensor, "b s a 6"], b: Float[Tensor, "b s a 6"]) -> Float[Tensor, "b s a"]:
    return 1000 * FlowHead.POSITION_SCALE * (a - b)[..., :3].norm(dim=-1)
