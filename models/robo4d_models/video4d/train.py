"""`robo4d train`: trains a part of the tiny model, and goes on from its last checkpoint when called again.

Runs on one CPU core, on all of them (OMP_NUM_THREADS says how many) or on a GPU with the same command; under
`torchrun` on several. Batch and noise of a step depend on the seed and its number alone, and a checkpoint holds
everything else, so that a run that was killed at any moment and resumed makes the same steps as one that was not.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import PLAN_SIZE, TASKS
from robo4d_models.video4d.data import Augmentation, PlanBatches, PlanSample, SampleFolder
from robo4d_models.video4d.losses import flow_loss, plan_errors, plan_losses
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to train."""

    steps: int = 16_000
    """Length of the whole run; the learning rate falls to 2 % of its peak over it, along a cosine."""
    batch: int = 16
    learning_rate: float = 1e-3
    warm_up: int = 200
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.02
    ema: float = 0.999
    """Decay of the running mean of the weights, which is what gets used."""
    clip: float = 3.0
    """Largest gradient norm, for the flow head and for all else separately: neither shrinks with the other."""
    seed: int = 0
    log_every: int = 50
    validate_every: int = 1000
    validation_batches: int = 8
    checkpoint_every_s: float = 300.0
    workers: int = 0
    """Processes that prepare batches; 0 prepares them in the training process itself."""
    compile: bool = False
    """Compile the network: 1-2 minutes at the start, then 1.3-1.5 times the speed."""


class PlanTraining(nn.Module):
    """The plan model and its losses as one module: what gets distributed over devices."""

    def __init__(self, model: PlanModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: PlanSample) -> dict[str, Tensor]:
        """The losses of a batch."""
        output = self.model(sample.observation)
        return plan_losses(output, sample.target) | {"flow": flow_loss(self.model, output, sample.target)}


def train(
    *,
    data: Path,
    out: Path,
    preset: Literal["tiny"] = "tiny",
    tasks: tuple[str, ...] = TASKS,
    config: TrainConfig = TrainConfig(),
    slice_minutes: float | None = None,
    smoke: bool = False,
) -> None:
    """Train the plan model of the tiny preset.

    Args:
        data: Folder of samples from `robo4d make-samples`; it may still grow.
        out: Folder of checkpoints, curves (curve.jsonl, TensorBoard) and the averaged weights. Training goes on from
            what is in it.
        preset: Which model.
        tasks: Which tasks' samples to use.
        config: How long and how.
        slice_minutes: Stop after this time; the next call goes on.
        smoke: A few steps with small batches, to see that everything works.
    """
    if smoke:
        config = TrainConfig(steps=6, batch=2, warm_up=2, log_every=2, validate_every=3, validation_batches=1)
    Console().print(f"training {preset} on samples of {data}, state in {out}")
    accelerator = Accelerator()
    torch.manual_seed(config.seed + accelerator.process_index)
    training = PlanTraining(PlanModel(PlanModelConfig()))
    folder = SampleFolder(data, tasks=tasks)
    batches = PlanBatches(
        folder,
        batch=config.batch,
        size=PLAN_SIZE,
        seed=config.seed + 1000 * accelerator.process_index,
        augmentation=Augmentation(),
        length=config.steps,
    )
    validation = _ValidationSet(data, tasks, config)
    Trainer(training, config, out, accelerator).run(batches, validation, slice_minutes=slice_minutes)


class Trainer:
    """Optimiser, schedule, averaging, checkpoints and curves of one run."""

    def __init__(self, training: PlanTraining, config: TrainConfig, out: Path, accelerator: Accelerator) -> None:
        self.config, self.out, self.accelerator = config, out, accelerator
        # Pyright reads accelerate's device as never returning.
        device: torch.device = accelerator.device  # pyright: ignore
        self.training = training.to(device).to(memory_format=torch.channels_last)
        self.averaged = {name: value.detach().clone() for name, value in training.model.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            training.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.step = 0
        if newest := checkpoints.newest(out):
            self._restore(newest)
        self.curve = checkpoints.Curve(out / "curve.jsonl", resumed_at=self.step)

    def run(
        self,
        batches: PlanBatches,
        validate: Callable[[PlanModel], dict[str, float]],
        *,
        slice_minutes: float | None = None,
    ) -> None:
        """Train up to `config.steps`, the end of the slice, or the first SIGINT or SIGTERM."""
        config = self.config
        module, optimizer = self.accelerator.prepare(self.training, self.optimizer)
        if config.compile:
            self.training.model.compile()
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(self.step, config.steps),
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
        stop = _StopRequest()
        board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step)
        began = saved = logged = time.monotonic()
        sums: dict[str, float] = {}
        console = Console()
        with stop, _progress(console) as progress:
            bar = progress.add_task("training", total=config.steps, completed=self.step)
            for sample in loader:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * self._schedule(self.step)
                torch.manual_seed(config.seed + 1_000_003 * self.step + self.accelerator.process_index)
                losses = module(sample.to(self.accelerator.device))
                total: Tensor = sum(losses.values(), torch.zeros(()))
                optimizer.zero_grad(set_to_none=True)
                self.accelerator.backward(total)
                flow, rest = self._gradient_groups()
                nn.utils.clip_grad_norm_(flow, config.clip)
                norm = nn.utils.clip_grad_norm_(rest, config.clip)
                optimizer.step()
                self._average()
                self.step += 1
                progress.advance(bar)
                for name, value in {**losses, "total": total, "gradient_norm": norm}.items():
                    sums[name] = sums.get(name, 0.0) + value.item()

                now = time.monotonic()
                if self.step % config.log_every == 0:
                    row = {name: value / config.log_every for name, value in sums.items()}
                    rate = config.log_every * config.batch * self.accelerator.num_processes / (now - logged)
                    self.curve.add({"step": self.step, "clips_per_s": rate, **row})
                    _write_scalars(board, "train", row | {"clips_per_s": rate}, self.step)
                    console.print(f"step {self.step} {rate:.1f} clips/s " + _format(row))
                    sums, logged = {}, now
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    with self.averaged_weights():
                        errors = validate(self.training.model)
                    self.curve.add({"step": self.step, "validation": errors})
                    _write_scalars(board, "validation", errors, self.step)
                    console.print(f"[bold]step {self.step} validation[/bold] " + _format(errors))
                    logged = time.monotonic()
                ending = stop.requested or (slice_minutes is not None and now - began > 60 * slice_minutes)
                if ending or now - saved > config.checkpoint_every_s or self.step == config.steps:
                    self.save()
                    saved = now
                if ending:
                    break
        board.close()

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights for use."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "model": self.training.model.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
        }
        checkpoints.save(self.out, self.step, state)
        checkpoints.save_weights(self.out / "plan.safetensors", self.averaged, asdict(self.training.model.config))

    def averaged_weights(self) -> "_Swapped":
        """A context in which the model has its averaged weights."""
        return _Swapped(self.training.model, self.averaged)

    def _restore(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self.step = state["step"]
        self.training.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])

    def _schedule(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to 2 %."""
        share = min(step / self.config.steps, 1.0)
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))
        return min(1.0, (step + 1) / self.config.warm_up) * cosine

    def _gradient_groups(self) -> tuple[list[Tensor], list[Tensor]]:
        named = list(self.training.model.named_parameters())
        flow = [p for name, p in named if name.startswith("flow.")]
        return flow, [p for name, p in named if not name.startswith("flow.")]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.training.model.named_parameters():
            self.averaged[name].lerp_(value, 1 - decay)


class _ValidationSet:
    """Fixed batches of attempts, with cameras and starts that training never sees."""

    def __init__(self, folder: Path, tasks: tuple[str, ...], config: TrainConfig) -> None:
        self._folder, self._tasks, self._config = folder, tasks, config

    @torch.no_grad()
    def __call__(self, model: PlanModel) -> dict[str, float]:
        """Medians of the errors, and the share of right next slots, without augmentation and with the robot's state."""
        try:
            folder = SampleFolder(self._folder, tasks=self._tasks, validation=True)
        except ValueError:
            return {}
        batches = PlanBatches(
            folder,
            batch=32,
            size=PLAN_SIZE,
            seed=0,
            augmentation=None,
            length=self._config.validation_batches,
        )
        device = next(model.parameters()).device
        model.eval()
        parts: dict[str, list[Tensor]] = {}
        for i in range(len(batches)):
            sample = batches[i].to(device)
            for name, values in plan_errors(model(sample.observation), sample.target).items():
                parts.setdefault(name, []).append(values)
        model.train()
        joined = {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
        summary = {name: float(np.median(v)) for name, v in joined.items() if len(v) and name != "next_right"}
        return summary | {"next_right": float(joined["next_right"].mean())}


class _Swapped:
    """Puts weights into a model for the length of a `with` block."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self._parameters, self._weights = dict(model.named_parameters()), weights

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            parameter = self._parameters[name]
            kept = parameter.clone()
            parameter.copy_(weight)
            weight.copy_(kept)


class _StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to finish the step and save."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self.requested = True
        signal.signal(number, self._previous[number])  # a second one is not asked again


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _write_scalars(board: SummaryWriter, group: str, values: dict[str, float], step: int) -> None:
    for name, value in values.items():
        board.add_scalar(f"{group}/{name}", value, step)


def _format(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
