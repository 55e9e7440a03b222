"""`robo4d train`: trains a part of the tiny model, and goes on from its last checkpoint when called again.

Runs on one CPU core, on all of them (OMP_NUM_THREADS says how many) or on a GPU with the same command; under
`torchrun` on several.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.aim import Aim, aim_errors, aim_losses
from robo4d_models.video4d.aim_batches import AimBatches
from robo4d_models.video4d.batches import (
    Augmentation,
    PlanBatches,
    PlanSample,
    RefinerBatches,
    RefinerSample,
    SegmenterBatches,
)
from robo4d_models.video4d.coding import PLAN_SIZE, TASKS
from robo4d_models.video4d.data import NoSamples, SampleFolder
from robo4d_models.video4d.few_step import begin_student, few_step_errors, few_step_losses
from robo4d_models.video4d.losses import flow_loss, plan_errors, plan_losses
from robo4d_models.video4d.places import localiser_errors
from robo4d_models.video4d.plan_model import FlowHead, PlanModel
from robo4d_models.video4d.refiner import Refiner, RefinerConfig, refiner_errors, refiner_losses
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.scene_coordinates import SceneBatches, SceneNetwork, scene_losses
from robo4d_models.video4d.segmenter import Segmenter, segmenter_errors, segmenter_losses
from robo4d_models.video4d.svd.train_config import SvdPart, SvdTraining
from robo4d_models.video4d.trainer import TrainConfig, Trainer, Training

TinyPart = Literal["plan", "aim", "refiner", "segmenter", "localiser", "few_step"]
_CONFIG = TrainConfig()
_REFINER = RefinerConfig()
_SVD = SvdTraining()
_VALIDATION_BATCH = 32
VALIDATION = "validation.json"
"""Names of the samples that a run is measured on, beside its checkpoints."""


def train(
    *,
    data: Path,
    out: Path,
    preset: Literal["tiny", "svd"] = "tiny",
    part: TinyPart | SvdPart | None = None,
    tasks: tuple[str, ...] = TASKS,
    config: TrainConfig = _CONFIG,
    refiner: RefinerConfig = _REFINER,
    svd: SvdTraining = _SVD,
    slice_minutes: float | None = None,
    smoke: bool = False,
) -> None:
    """Train a part of the tiny preset or of the svd preset.

    Args:
        data: Folder of samples from `robo4d make-samples`, which may still grow; for svd, of episodes from
            `robo4d collect`.
        out: Folder of the weights (<part>.safetensors, which `TinyGenerator.load` reads) and, in <part>/, of
            checkpoints and curves. Training goes on from what is in it, be it only weights. A few-step student of
            the weights in it becomes a folder of weights of its own: few_step/.
        preset: Which model.
        part: Which part of the preset: of tiny plan (unless told otherwise), aim, refiner, segmenter, localiser,
            or few_step; of svd network (unless told otherwise), points_vae, rgb_decoder, points_decoder, or few_step.
        tasks: Which tasks' samples to use, for the tiny preset.
        config: How long and how.
        refiner: Sizes of the refiner, and its ablations.
        svd: What else the svd preset needs.
        slice_minutes: Stop after this time; the next call goes on.
        smoke: A few steps with small batches, to see that everything works.
    """
    if smoke:
        config = replace(config, steps=6, batch=2, warm_up=2, log_every=2, validate_every=3, validation_batches=1)
    if preset == "svd":
        if part in ("plan", "aim", "refiner", "segmenter", "localiser"):
            raise ValueError(f"svd has no part {part}; its parts are {', '.join(get_args(SvdPart))}")
        if config.mixed_precision != "no":
            raise ValueError("svd computes its network in bfloat16 wherever there is a GPU: leave mixed_precision out")
        from robo4d_models.video4d.svd.train import train_svd  # it loads diffusers, which takes seconds

        train_svd(part=part or "network", data=data, out=out, svd=svd, config=config, slice_minutes=slice_minutes)
        return
    part = part or "plan"
    if part not in get_args(TinyPart):
        raise ValueError(f"tiny has no part {part}; its parts are {', '.join(get_args(TinyPart))}")
    Console().print(f"training the {part} of {preset} on samples of {data}, state in {out}")
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    torch.manual_seed(config.seed)
    seed = config.seed + 1000 * accelerator.process_index
    folder = SampleFolder(data, tasks=tasks)

    def validation_folder() -> SampleFolder | None:
        """Of the samples that were there when the run was first measured: its curve must not change with the set."""
        names = out / part / VALIDATION
        try:
            only = json.loads(names.read_text()) if names.is_file() else None
            kept = SampleFolder(data, tasks=tasks, validation=True, only=only)
        except NoSamples:  # not yet
            return None
        if only is None and accelerator.is_main_process:
            checkpoints.write_text(names, json.dumps(kept.names))
        return kept

    weights = out / f"{part}.safetensors"
    if part in ("plan", "few_step"):
        if part == "plan":
            model, constants = PlanModel(), dict[str, Tensor]()
            training, measure = Training(model, plan_step), _plan_validation
        else:
            model, teacher = begin_student(out / "plan.safetensors")
            teacher.to(torch.device(str(accelerator.device)))
            constants = {name: value.detach() for name, value in model.named_parameters() if not value.requires_grad}
            training = Training(model, partial(few_step_losses, teacher=teacher))
            measure = partial(_few_step_validation, teacher=teacher)
            if accelerator.is_main_process:
                checkpoints.copy_missing(out, out / part, ["aim", "refiner", "segmenter", "localiser"])
            weights = out / part / "plan.safetensors"
        about = asdict(model.config), constants
        batches = PlanBatches(
            folder, batch=config.batch, size=PLAN_SIZE, seed=seed, augmentation=Augmentation(), length=config.steps
        )

        def validate() -> dict[str, float]:
            if (kept := validation_folder()) is None:
                return {}
            return measure(
                model,
                PlanBatches(
                    kept,
                    batch=_VALIDATION_BATCH,
                    size=PLAN_SIZE,
                    seed=0,
                    augmentation=None,
                    length=config.validation_batches,
                ),
            )

    elif part == "aim":
        model = Aim()
        training = Training(model, aim_losses)
        about = asdict(model.config), dict[str, Tensor]()
        batches = AimBatches(folder, batch=config.batch, seed=seed, augmentation=Augmentation(), length=config.steps)

        def validate() -> dict[str, float]:
            if (kept := validation_folder()) is None:
                return {}
            return _aim_validation(
                model,
                AimBatches(kept, batch=_VALIDATION_BATCH, seed=0, augmentation=None, length=config.validation_batches),
            )

    elif part == "segmenter":
        model = Segmenter()
        training = Training(model, segmenter_losses)
        about = asdict(model.config), dict[str, Tensor]()
        batches = SegmenterBatches(folder, batch=config.batch, seed=seed, length=config.steps, augment=True)

        def validate() -> dict[str, float]:
            if (kept := validation_folder()) is None:
                return {}
            return _segmenter_validation(
                model,
                SegmenterBatches(
                    kept, batch=_VALIDATION_BATCH, seed=0, length=config.validation_batches, augment=False
                ),
            )

    elif part == "localiser":
        model = SceneNetwork()
        training = Training(model, scene_losses)
        about = asdict(model.config), dict[str, Tensor]()
        batches = SceneBatches(folder, batch=config.batch, seed=seed, augmentation=Augmentation(), length=config.steps)

        def validate() -> dict[str, float]:
            if (kept := validation_folder()) is None:
                return {}
            return _localiser_validation(
                model,
                SceneBatches(kept, batch=8, seed=0, augmentation=None, length=config.validation_batches),
            )

    else:
        model = Refiner(refiner)
        robot = RobotModel.of_franka()
        training = Training(model, refiner_step)
        about = asdict(model.config), robot.tensors()
        batches = RefinerBatches(
            folder, batch=config.batch, seed=seed, length=config.steps, robot=robot, drawn=refiner.drawn
        )

        def validate() -> dict[str, float]:
            if (kept := validation_folder()) is None:
                return {}
            return _refiner_validation(
                model,
                RefinerBatches(
                    kept, batch=8, seed=0, length=config.validation_batches, robot=robot, drawn=refiner.drawn
                ),
            )

    if weights.is_file() and not checkpoints.newest(out / part):
        begin_with(weights, model, about[0])
        Console().print(f"beginning with the weights of {weights}")
    trainer = Trainer(training, config, out=out / part, weights=weights, about=about, accelerator=accelerator)
    trainer.run(batches, validate, slice_minutes=slice_minutes)


def begin_with(weights: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Load the weights of an earlier run, of which no checkpoint is left, or which shipped, into a network.

    Raises:
        ValueError: they are of a network of another configuration.
    """
    values, theirs = checkpoints.load_weights(weights)
    if theirs != json.loads(json.dumps(config)):
        raise ValueError(f"{weights} has {theirs}, the network to train {config}: train it in a folder of its own")
    model.load_state_dict(values, strict=False)  # with the refiner come constants that are not its own


def plan_step(model: PlanModel, sample: PlanSample) -> dict[str, Tensor]:
    """The losses of the plan model on a batch."""
    output = model(sample.observation)
    return plan_losses(output, sample.target) | {"flow": flow_loss(model, output, sample.target)}


def refiner_step(model: Refiner, sample: RefinerSample) -> dict[str, Tensor]:
    """The losses of the refiner on a batch."""
    return refiner_losses(sample.drafts, model(sample.drafts, sample.motion), sample.target)


@torch.no_grad()
def _plan_validation(model: PlanModel, batches: PlanBatches) -> dict[str, float]:
    """Medians of the errors, and the share of right next slots, without augmentation and with the robot's state."""
    device = next(model.parameters()).device
    rows = (batches[i].to(device) for i in range(len(batches)))
    joined = _joined(plan_errors(model(sample.observation), sample.target) for sample in rows)
    right = {"next_right": float(np.mean(joined.pop("next_right")))}
    return {name: float(np.median(values)) for name, values in joined.items() if len(values)} | right


def _few_step_validation(model: PlanModel, batches: PlanBatches, *, teacher: FlowHead) -> dict[str, float]:
    """Means of the student's distances from its teacher, by the number of steps."""
    device = next(model.parameters()).device
    rows = (batches[i].to(device) for i in range(len(batches)))
    joined = _joined(few_step_errors(model, sample, teacher=teacher) for sample in rows)
    return {name: float(np.mean(values)) for name, values in joined.items()}


@torch.no_grad()
def _aim_validation(model: Aim, batches: AimBatches) -> dict[str, float]:
    """Medians of the errors of planned and of aimed grasps, and what nine of ten aimed ones keep to."""
    device = next(model.parameters()).device
    joined = _joined(aim_errors(model, batches[i].to(device)) for i in range(len(batches)))
    medians = {name: float(np.median(values)) for name, values in joined.items()}
    return medians | {"aimed_p90_mm": float(np.quantile(joined["aimed_mm"], 0.9))}


@torch.no_grad()
def _refiner_validation(model: Refiner, batches: RefinerBatches) -> dict[str, float]:
    """Means of the errors of the video and, as `draft_...`, of the draft that it was made from."""
    device = next(model.parameters()).device
    rows = (batches[i].to(device) for i in range(len(batches)))
    joined = _joined(refiner_errors(s.drafts, model(s.drafts, s.motion), s.target) for s in rows)
    return {name: float(np.mean(values)) for name, values in joined.items() if len(values)}


@torch.no_grad()
def _segmenter_validation(model: Segmenter, batches: SegmenterBatches) -> dict[str, float]:
    """Mean of the IoU of each class."""
    device = next(model.parameters()).device
    joined = _joined(segmenter_errors(model, batches[i].to(device)) for i in range(len(batches)))
    return {name: float(np.mean(values)) for name, values in joined.items() if len(values)}


def _localiser_validation(model: SceneNetwork, batches: SceneBatches) -> dict[str, float]:
    """Medians of the errors of places and poses."""
    device = next(model.parameters()).device
    joined = _joined(localiser_errors(model, batches[i].to(device)) for i in range(len(batches)))
    return {name: float(np.median(values)) for name, values in joined.items() if len(values)}


def _joined(rows: Iterable[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The values of all batches, by name."""
    parts: dict[str, list[Tensor]] = {}
    for row in rows:
        for name, values in row.items():
            parts.setdefault(name, []).append(values)
    return {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
