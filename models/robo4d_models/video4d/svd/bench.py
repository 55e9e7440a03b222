"""`robo4d bench model` of svd: what a plan costs, as the paper's released code computes it, as we do, and as diffusers.

Weights are random: they change no time. On a GPU the model has its full size, on a CPU it is narrow.
"""

import gc
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from robo4d_models.video4d.measuring import PeakMemory, machine_name, seconds_of
from robo4d_models.video4d.svd.memory import memory_table
from robo4d_models.video4d.svd.model import SvdConfig
from robo4d_models.video4d.svd.ways import NARROW, Made, Way, flops_of, ways


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to make a plan."""

    name: str
    seconds: float
    """Of a whole plan: encoding the images of the observation, sampling, decoding; the shortest of the repetitions."""
    tflop: float
    peak_gb: float
    """Weights, and what plans take beyond them (compiling included): of the GPU's allocator, or else of the process."""
    utilisation: float
    """Seconds that its operations would take at the ceiling of matrix products in their type, of those it takes."""
    passes: int
    """Times that one view, or one stream of a view, goes through the network, in part or as a whole."""
    difference: dict[str, float] | None = None
    """Of latents, colours and coded points, each from those of the first row of ours, relative to their size: that of
    this model with random weights. Trained ones tell more. None where the way makes others, or none."""


def bench_svd(
    *,
    repetitions: int = 3,
    steps: int = 25,
    compile_rows: bool = True,
    memory: bool = False,
    json_file: Path | None = None,
) -> None:
    """Measure the model on this machine, all rows in one run.

    Args:
        repetitions: Runs of each row after a first one that is not counted.
        steps: Of the rows that sample as the paper does.
        compile_rows: Also measure with torch.compile, which takes minutes to begin.
        memory: Also compute what training the full model, and plans of it, need.
        json_file: Write the rows to this file, too; benchmarks/ has one for each machine that was measured.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    full = device.type == "cuda"
    config = SvdConfig() if full else NARROW
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.bfloat16) if full else (torch.float32,)  # processors compute the other in software
    ceilings = {dtype: matmul_ceiling(device, dtype) for dtype in dtypes}
    console = Console()
    rows: list[Row] = []
    exact: Made | None = None
    load = [os.getloadavg()[0]]
    for name, make in ways(config, device, full=full, steps=steps, compile_rows=compile_rows).items():
        row, made = _measure(name, make, device, repetitions, ceilings)
        if made:
            exact = exact or made
            row = replace(row, difference=differences(made, exact))
        rows.append(row)
        console.print(f"{name}: {rows[-1].seconds:.3g} s")
    load.append(os.getloadavg()[0])
    columns = (
        "way",
        "s",
        "times released",
        "TFLOP",
        "peak GB",
        "utilisation",
        "passes",
        "latents",
        "colours",
        "points",
    )
    table = Table(
        *columns,
        box=None,
        caption="A row + adds to the row before it, a row with changes what it names in the last one of these. Seconds "
        "are of encoding, sampling and decoding. Latents, colours and points: their difference from the first of ours.",
    )
    for row in rows:
        table.add_row(
            row.name,
            f"{row.seconds:.3g}",
            f"{rows[0].seconds / row.seconds:.1f}",
            f"{row.tflop:.3g}",
            f"{row.peak_gb:.2g}",
            f"{row.utilisation:.2f}",
            str(row.passes),
            *(f"{value:.1g}" for value in (row.difference or {}).values()),
        )
    console.print(table)
    figures = {
        "machine": machine_name(device),
        "load": load,
        "torch": torch.__version__,
        "preset": "svd",
        "full_size": full,
        "config": config.to_json(),
        "matmul_tflop_s": {str(dtype).removeprefix("torch."): value for dtype, value in ceilings.items()},
        "rows": [asdict(row) for row in rows],
    }
    if memory:
        figures["memory"] = memory_table()
        console.print_json(data=figures["memory"])
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """The fastest of some matrix products of a size that suits the device [TFLOP/s]."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / min(seconds_of(lambda: a @ b, device) for _ in range(10)) / 1e12


def differences(made: Made, exact: Made) -> dict[str, float]:
    """Of each part of a plan from that of another one, relative to its size."""
    pairs = {field.name: (getattr(made, field.name), getattr(exact, field.name)) for field in fields(Made)}
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


def _measure(
    name: str, make: Callable[[], Way], device: torch.device, repetitions: int, ceilings: dict[torch.dtype, float]
) -> tuple[Row, Made | None]:
    """The figures of a way, without the difference, and what it makes."""
    torch.compiler.reset()  # Dynamo gives up on code that it has compiled for too many models
    gc.collect()
    with torch.no_grad():
        way = make()
        memory = PeakMemory(device)
        made = way.run()  # compiles, records, chooses kernels
        seconds = min(seconds_of(way.run, device) for _ in range(repetitions))
        peak = weights_gb(way) + memory.megabytes() / 1e3
        # Last, and never of compiled code: what Dynamo first meets under a counter it leaves uncompiled for good.
        flops = flops_of(way.plain)
    row = Row(
        name=name,
        seconds=seconds,
        tflop=sum(flops.values()) / 1e12,
        peak_gb=peak,
        utilisation=sum(count / 1e12 / ceilings[dtype] for dtype, count in flops.items()) / seconds,
        passes=way.passes,
    )
    return row, made and Made(**{field.name: getattr(made, field.name).float().cpu() for field in fields(Made)})


def weights_gb(way: Way) -> float:
    """What the parts of a way hold before it runs [GB]."""
    tensors = (tensor for part in way.parts for tensor in itertools.chain(part.parameters(), part.buffers()))
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values()) / 1e9
