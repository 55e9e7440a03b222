"""What plans are worth that are sampled in few steps of the flow: the table of `robo4d eval --flow-steps`."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robo4d_models.video4d.batches import PlanBatches, PlanSample
from robo4d_models.video4d.coding import PLAN_SIZE
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.few_step import FOLDER, REFERENCE_STEPS
from robo4d_models.video4d.keyframes import NOW
from robo4d_models.video4d.plan_model import PlanModel
from robo4d_models.video4d.planning import load_plan_model

COLUMNS = ("error_mm", "spread_mm", "energy_mm", "ms")
_DRAWS = 16
"""Plans of each observation: as many as the generator draws."""


def sampling_quality(folder: Path, data: Path, *, steps: Sequence[int], observations: int) -> list[dict[str, object]]:
    """What the plans of a model, and of its student if it has one, are worth when sampled in few steps.

    Args:
        folder: Of weights.
        data: Of samples, from `robo4d make-samples`; those kept for validation are used.
        steps: Numbers of Euler steps, a row each.
        observations: How many.

    Returns:
        For each model and number of steps, over all positions of keyframes still to come [mm]:
        `error_mm`, distance of the mean of the samples from the demonstration; `spread_mm`, their standard deviation;
        `energy_mm`, energy distance (Székely 2013) to other samples of the teacher in 64 steps, about 0 if both have
        one distribution; and `ms`, the time of an observation's 16 plans.

    Raises:
        ValueError: there are no weights, or no samples.
    """
    teacher = load_plan_model(folder / "plan.safetensors").eval()
    models = {"teacher": teacher}
    if (student := folder / FOLDER).is_dir():
        models["student"] = load_plan_model(student / "plan.safetensors").eval()
    kept = SampleFolder(data, validation=True)
    batches = PlanBatches(kept, batch=1, size=PLAN_SIZE, seed=0, augmentation=None, length=observations)
    found: dict[tuple[str, int], list[dict[str, Tensor]]] = {(name, n): [] for name in models for n in steps}
    for i in range(observations):
        sample = batches[i]
        rows = sample.target.known[0, :NOW] > 0
        if not rows.any():  # the task is done
            continue
        true = 1000 * sample.target.T_world_tcp[0, :NOW][rows][..., :3, 3]
        reference, _ = _draw(teacher, sample, rows, REFERENCE_STEPS, seed=2 * i)
        for (name, n), measured in found.items():
            drawn, ms = _draw(models[name], sample, rows, n, seed=2 * i + 1)
            measured.append(
                {
                    "error_mm": (drawn.mean(dim=0) - true).norm(dim=-1),
                    "spread_mm": drawn.var(dim=0).sum(dim=-1).sqrt(),
                    "energy_mm": energy_distance(drawn, reference),
                    "ms": torch.tensor([[ms]]),
                }
            )
    return [
        {"row": f"{name}, {n}", "flow_steps": n, "observations": observations, **_means(measured)}
        for (name, n), measured in found.items()
    ]


def energy_distance(x: Float[Tensor, "n *b 3"], y: Float[Tensor, "m *b 3"]) -> Float[Tensor, "*b"]:
    """2 E|x - y| - E|x - x'| - E|y - y'|, from independent draws along the first axis, without bias."""

    def mean_distance(a: Float[Tensor, "n *b 3"], b: Float[Tensor, "m *b 3"], pairs: int) -> Float[Tensor, "*b"]:
        return (a[:, None] - b[None]).norm(dim=-1).sum(dim=(0, 1)) / pairs

    n, m = len(x), len(y)
    return 2 * mean_distance(x, y, n * m) - mean_distance(x, x, n * (n - 1)) - mean_distance(y, y, m * (m - 1))


def _draw(
    model: PlanModel, sample: PlanSample, rows: Bool[Tensor, " slots"], steps: int, *, seed: int
) -> tuple[Float[Tensor, "n s a 3"], float]:
    """Positions [mm] of plans at some rows, and the time that they took [ms]."""
    began = time.perf_counter()
    output = model.sample(sample.observation, temperatures=torch.ones(_DRAWS), steps=steps, seeds=[seed])
    return 1000 * output.position[:, :NOW][:, rows], 1000 * (time.perf_counter() - began)


def _means(measured: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Of each column, over the keyframes of all observations."""
    return {name: float(torch.cat([row[name] for row in measured]).mean()) for name in COLUMNS}
