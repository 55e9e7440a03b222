"""The training loop: optimiser, schedule, averaged weights, checkpoints and curves, for any network.

Batch and noise of a step depend on the data, the seed and its number alone, and a checkpoint holds everything else, so
that a run that was killed at any moment and resumed makes the same steps as one that was not, unless data came in.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from robo4d_models.video4d import checkpoints


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
    mixed_precision: Literal["no", "bf16"] = "no"
    """bf16: tiny's networks multiply in bfloat16; weights, targets and losses stay float32. Faster on GPUs, and on CPUs
    that have instructions for it (avx512_bf16, amx). The svd preset chooses by itself."""
    fused: bool = False
    """The optimizer's whole step in one kernel instead of some for each operation: the same but for rounding."""


class Batch(Protocol):
    """What a network is trained on in one step."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        ...


class Training(nn.Module):
    """A network and its losses as one module: what gets distributed over devices.

    Args:
        model: The network.
        losses: The losses of a batch, whose sum is minimised.
    """

    def __init__(self, model: nn.Module, losses: Callable[[Any, Any], dict[str, Tensor]]) -> None:
        super().__init__()
        self.model, self._losses = model, losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The losses of a batch."""
        return self._losses(self.model, batch)


class Trainer:
    """One run of training.

    Args:
        training: What is trained.
        config: How long and how.
        out: Folder of checkpoints, curve.jsonl and TensorBoard's files; the run goes on from what is in it.
        weights: File of the averaged weights, written with each checkpoint.
        about: Stored beside them: the network's configuration, and tensors that belong to it without being trained.
        accelerator: Where it runs.
    """

    def __init__(
        self,
        training: Training,
        config: TrainConfig,
        *,
        out: Path,
        weights: Path,
        about: tuple[dict[str, Any], dict[str, Tensor]],
        accelerator: Accelerator,
    ) -> None:
        self.config, self.out, self.accelerator = config, out, accelerator
        self._weights, self._about = weights, about
        self._device = torch.device(str(accelerator.device))
        self.training = training.to(self._device)
        trained = {name: value for name, value in training.model.named_parameters() if value.requires_grad}
        self.averaged = {name: value.detach().clone() for name, value in trained.items()}
        self.optimizer = torch.optim.AdamW(
            trained.values(),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=config.fused or None,  # None: what torch thinks best
        )
        self.step = 0
        if newest := checkpoints.newest(out):
            self._restore(newest)

    def run(
        self,
        batches: Dataset[Batch],
        validate: Callable[[], dict[str, float]],
        *,
        slice_minutes: float | None = None,
    ) -> None:
        """Train up to `config.steps`, the end of the slice, or the first SIGINT or SIGTERM.

        Args:
            batches: Batch i is that of step i.
            validate: Measures the network, which has its averaged weights while it is called.
            slice_minutes: Stop after this time, with a checkpoint.
        """
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
        record = _Record(self.out, self.step) if self.accelerator.is_main_process else None
        began = saved = logged = time.monotonic()
        logged_step = self.step
        sums: dict[str, float] = {}
        with stop, _progress(record.console if record else Console(quiet=True)) as progress:
            bar = progress.add_task("training", total=config.steps, completed=self.step)
            for batch in loader:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * self._schedule(self.step)
                torch.manual_seed(config.seed + 1_000_003 * self.step + self.accelerator.process_index)
                losses = module(batch.to(self._device))
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
                    taken = self.step - logged_step
                    rate = taken * config.batch * self.accelerator.num_processes / (now - logged)
                    row = {"clips_per_s": rate} | {name: value / taken for name, value in sums.items()}
                    if record:
                        record.training(self.step, row)
                    sums, logged, logged_step = {}, now, self.step
                if self.step % config.validate_every == 0 or self.step == config.steps:
                    with self.averaged_weights():
                        errors = validate()
                    if record:
                        record.validation(self.step, errors)
                    logged = time.monotonic()
                ending, due = self._any_process(
                    stop.requested or (slice_minutes is not None and now - began > 60 * slice_minutes),
                    now - saved > config.checkpoint_every_s,
                )
                if ending or due or self.step == config.steps:
                    self.save()
                    saved = now
                if ending:
                    break
        if record:
            record.close()

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
        config, constants = self._about
        checkpoints.save_weights(self._weights, self.averaged | constants, config)

    def _any_process(self, *wishes: bool) -> list[bool]:
        """Which wishes any process has: their clocks and signals differ, but all must save and end at the same step."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        shares: Any = self.accelerator.reduce(torch.tensor(wishes, dtype=torch.float32, device=self._device))
        return (shares > 0).tolist()

    def averaged_weights(self) -> "_Swapped":
        """A context in which the model has its averaged weights."""
        return _Swapped(self.training.model, self.averaged)

    def _restore(self, path: Path) -> None:
        state = checkpoints.load(path, self._device)
        self.step = state["step"]
        self.training.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])

    def _schedule(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to 2 %."""
        share = min(step / self.config.steps, 1.0)
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))
        return min(1.0, (step + 1) / self.config.warm_up) * cosine

    def _gradient_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        named = list(self.training.model.named_parameters())
        flow = [p for name, p in named if name.startswith("flow.")]
        return flow, [p for name, p in named if not name.startswith("flow.")]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        parameters = dict(self.training.model.named_parameters())
        for name, mean in self.averaged.items():
            mean.lerp_(parameters[name], 1 - decay)


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


class _Record:
    """What is told of a run: on the console, in curve.jsonl, and in TensorBoard's files. Goes on from a step."""

    def __init__(self, out: Path, step: int) -> None:
        self.console = Console()
        self._curve = checkpoints.Curve(out / "curve.jsonl", resumed_at=step)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step)

    def training(self, step: int, values: dict[str, float]) -> None:
        self._curve.add({"step": step, **values})
        self._tell("train", f"step {step}", values, step)

    def validation(self, step: int, values: dict[str, float]) -> None:
        self._curve.add({"step": step, "validation": values})
        self._tell("validation", f"[bold]step {step} validation[/bold]", values, step)

    def close(self) -> None:
        self._board.close()

    def _tell(self, group: str, title: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)
        self.console.print(title, *(f"{name} {value:.4g}" for name, value in values.items()))
