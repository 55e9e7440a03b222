"""`robo4d bench model`: what a plan and a step of training cost. That of `svd` is in svd/bench.py, that of `tiny` here.

`tiny` is measured beside a network of diffusers that predicts the same frames of the same views (`peer`), in one run.
Of equal size means: with as many parameters as plan model and refiner together. Inputs are made up, which changes no
time: see `synthetic`. The robot tells its joints, so that its arms are drawn. The peer's video is what its network
returns; tiny's is done: points in the frame of view n, and tracks.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import Dataset

from robo4d import shipped
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.batches import Augmentation, PlanBatches, RefinerBatches
from robo4d_models.video4d.coding import PLAN_SIZE, TASKS
from robo4d_models.video4d.measuring import PeakMemory, machine_name, seconds_of
from robo4d_models.video4d.pipeline import WITNESSES, TinyConfig, TinyGenerator
from robo4d_models.video4d.planning import load_plan_model
from robo4d_models.video4d.refiner import Refiner, RefinerConfig
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.synthetic import attempt_of, folder_of, observed
from robo4d_models.video4d.train import plan_step, refiner_step
from robo4d_models.video4d.trainer import Training

STEPS = (1, 2, 4, 8, 25)
"""Euler steps of the flows that are measured."""
CANDIDATES = 4
"""Videos of one look that are made at once, beside one alone."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was measured."""

    name: str
    steps: int | None
    """Of the flow; None for a step of training."""
    parameters: int
    seconds: float
    """Median of the repetitions."""
    cpu_seconds: float
    """Median of the processor time of all threads: what the machine's other load does not change much."""
    first_seconds: float
    """The run before them, in one step, which is not counted."""
    peak_mb: float
    """The most memory, weights included, beyond what the process held before it loaded them; see `PeakMemory`."""
    clips_per_s: float | None = None
    """Of training. A clip is a moment's two views for the plan model, one of the video's moments in both views for the
    refiner, and all of them for the peer."""
    batch_seconds: float | None = None
    """To make a batch from recorded moments, which is not counted above: other processes do it while one trains."""


class _Subject(NamedTuple):
    """What is measured, loaded."""

    model_parameters: int
    run: Callable[[int], Any]
    """In so many steps."""


def bench_model(
    *,
    preset: Literal["svd", "tiny"] = "svd",
    repetitions: int = 3,
    steps: int = 25,
    compile_rows: bool = True,
    memory: bool = False,
    checkpoint: Path = shipped.TINY,
    batch: int = 4,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure the model on this machine, all rows in one run.

    Args:
        preset: Which model.
        repetitions: Runs of each row after a first one that is not counted.
        steps: Of svd's rows that sample as the paper does.
        compile_rows: Also measure svd with torch.compile, which takes minutes to begin.
        memory: Also compute what training the full svd, and plans of it, need.
        checkpoint: Folder of tiny's weights.
        batch: Clips of a step of training, for tiny and its peer.
        json_file: Write the rows to this file, too; benchmarks/ has one for each machine that was measured.
    """
    if preset == "tiny":
        bench_tiny(checkpoint, repetitions=repetitions, batch=batch, json_file=json_file)
        return
    from robo4d_models.video4d.svd.bench import bench_svd  # it loads diffusers, which takes seconds

    bench_svd(repetitions=repetitions, steps=steps, compile_rows=compile_rows, memory=memory, json_file=json_file)


def bench_tiny(
    checkpoint: Path,
    *,
    repetitions: int,
    batch: int,
    steps: tuple[int, ...] = STEPS,
    config: TinyConfig | None = None,
    peer_widths: tuple[int, int, int] | None = None,
    json_file: Path | None = None,
) -> None:
    """Measure tiny and its peer.

    Videos are made on the processor, as `TinyGenerator` does, and training runs on the GPU where there is one.

    Args:
        checkpoint: Folder of weights.
        repetitions: Runs of each row after a first one.
        batch: Clips of a step of training.
        steps: Euler steps to measure.
        config: What is generated.
        peer_widths: Channels of the peer, where it is not to have its own.
        json_file: Write the rows to this file, too.

    Raises:
        ValueError: the folder lacks weights, or they are not of this model.
    """
    from robo4d_models.video4d.peer import CHANNELS, Peer  # it loads diffusers, which takes seconds

    config = config or TinyConfig()
    torch.manual_seed(0)
    processor = torch.device("cpu")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = [os.getloadavg()[0]]
    values, sizes = checkpoints.load_weights(checkpoint / "refiner.safetensors")
    robot = RobotModel.from_tensors(values)
    attempt = attempt_of(robot, size=config.size, frames=config.frames, period_s=config.period_s)
    pair, state = observed(attempt)
    refiner_config = RefinerConfig(widths=tuple(sizes["widths"]), joint_layers=sizes["joint_layers"])

    def plan_model() -> nn.Module:
        return load_plan_model(checkpoint / "plan.safetensors")

    def refiner() -> nn.Module:
        return Refiner(refiner_config)

    def peer() -> Peer:
        return Peer(peer_widths, layers=1) if peer_widths else Peer()

    def generator() -> TinyGenerator:
        return TinyGenerator.load(checkpoint, TASKS[0], state=lambda stamp_ns: state, config=config)

    def plan() -> _Subject:
        planner, temperatures = generator().planner, [config.temperature, *[1.0] * WITNESSES]
        return _Subject(
            _parameters(plan_model()),
            lambda n: planner.sample(pair, state, temperatures=temperatures, seeds=[0], steps=n),
        )

    def videos(futures: int) -> _Subject:
        tiny = generator()

        def run(n: int) -> None:
            tiny.config = replace(config, flow_steps=n)
            tiny.generate_batch(pair, seeds=range(futures))

        return _Subject(_parameters(plan_model(), refiner()), run)

    def peer_video() -> _Subject:
        model, first = peer().eval(), torch.randn(2, CHANNELS, config.size, config.size)
        return _Subject(_parameters(model), lambda n: model.sample(first, frames=config.frames, steps=n))

    console = Console()
    rows: list[Row] = []

    def measure(name: str, make: Callable[[], _Subject], where: torch.device, n: int | None = None) -> None:
        rows.append(_measured(name, make, where, n, repetitions))
        console.print(f"{name}{f', {n} steps' if n else ''}: {rows[-1].seconds:.3g} s")

    def measure_training(
        name: str,
        make: Callable[[], nn.Module],
        losses: Callable[..., dict[str, Tensor]],
        batches: Dataset[Any] | list[Tensor],
    ) -> None:
        made: list[Any] = []
        seconds = [seconds_of(lambda i=i: made.append(batches[i].to(device)), device) for i in range(1 + repetitions)]
        measure(name, lambda: _training(Training(make(), losses).to(device), made), device)
        making = None if isinstance(batches, list) else median(seconds[1:])
        rows[-1] = replace(rows[-1], clips_per_s=batch / rows[-1].seconds, batch_seconds=making)

    videos(1).run(1)  # what is loaded once belongs to no row
    for n in steps:  # side by side, so that the machine's other load meets all
        measure("tiny: plan", plan, processor, n)
        measure("tiny: video", partial(videos, 1), processor, n)
        measure(f"tiny: {CANDIDATES} videos at once", partial(videos, CANDIDATES), processor, n)
        measure("diffusers: video", peer_video, processor, n)
    with folder_of(attempt) as folder:
        plans = PlanBatches(
            folder, batch=batch, size=PLAN_SIZE, seed=0, augmentation=Augmentation(), length=1 + repetitions
        )
        drafts = RefinerBatches(folder, batch=batch, seed=0, length=1 + repetitions, robot=robot)
        measure_training("tiny: training of the plan model", plan_model, plan_step, plans)
        measure_training("tiny: training of the refiner", refiner, refiner_step, drafts)
    shape = (2 * batch, config.frames, CHANNELS, config.size, config.size)
    noise = [torch.randn(shape) for _ in range(1 + repetitions)]
    measure_training("diffusers: training", peer, lambda model, x: model.losses(x[:, 0], x), noise)
    load.append(os.getloadavg()[0])
    _report(console, rows)
    if json_file:
        figures = {
            "machine": machine_name(processor),
            "trained_on": machine_name(device),
            "load": load,
            "torch": torch.__version__,
            "preset": "tiny",
            "config": asdict(config),
            "batch": batch,
            "repetitions": repetitions,
            "rows": [asdict(row) for row in rows],
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def _measured(
    name: str, make: Callable[[], _Subject], device: torch.device, steps: int | None, repetitions: int
) -> Row:
    memory = PeakMemory(device)
    subject = make()
    first = seconds_of(lambda: subject.run(1), device)
    seconds, cpu_seconds = list[float](), list[float]()
    for _ in range(repetitions):
        began = time.process_time()
        seconds.append(seconds_of(lambda: subject.run(steps or 1), device))
        cpu_seconds.append(time.process_time() - began)
    return Row(
        name=name,
        steps=steps,
        parameters=subject.model_parameters,
        seconds=median(seconds),
        cpu_seconds=median(cpu_seconds),
        first_seconds=first,
        peak_mb=memory.megabytes(),
    )


def _training(training: Training, batches: list[Any]) -> _Subject:
    """Steps of training as in `Trainer`, without its running mean of the weights; each takes the next batch."""
    optimizer = torch.optim.AdamW(training.parameters(), lr=1e-4)
    number = count()

    def run(_: int) -> None:
        loss = sum(training(batches[next(number)]).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.parameters(), 3.0)
        optimizer.step()

    training.train()
    return _Subject(_parameters(training), run)


def _parameters(*models: nn.Module) -> int:
    return sum(value.numel() for model in models for value in model.parameters())


def _report(console: Console, rows: list[Row]) -> None:
    table = Table("what", "steps", "parameters", "s", "CPU s", "first s", "peak MB", "clips/s", "s a batch", box=None)
    for row in rows:
        table.add_row(
            row.name,
            "" if row.steps is None else str(row.steps),
            f"{row.parameters / 1e6:.2f} M",
            f"{row.seconds:.3g}",
            f"{row.cpu_seconds:.3g}",
            f"{row.first_seconds:.3g}",
            f"{row.peak_mb:.0f}",
            "" if row.clips_per_s is None else f"{row.clips_per_s:.3g}",
            "" if row.batch_seconds is None else f"{row.batch_seconds:.3g}",
        )
    console.print(table)
