"""`robo4d bench model` of svd: what a plan costs, as the paper's released code computes it, as we do, and as diffusers.

Weights are random: they change no time. On a GPU the model has its full size, on a CPU it is narrow.
"""

import gc
import json
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from robo4d_models.video4d.measuring import machine_name, seconds_of
from robo4d_models.video4d.svd.memory import memory_table
from robo4d_models.video4d.svd.model import SvdConfig
from robo4d_models.video4d.svd.ways import NARROW, Way, flops_of, ways


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to make a plan."""

    name: str
    seconds: float
    """From condition to images of both views; the shortest of the repetitions."""
    tflop: float
    peak_gb: float
    """Of the GPU's allocator, or of the process (so far) without one."""
    utilisation: float
    """Share of the ceiling that matrix products reach in the same type on this machine."""
    passes: int
    """Times that one view, or one stream of a view, goes through the network, in part or as a whole."""
    difference: float | None
    """Of the latents, from those of the first row of ours, relative to their size: that of this network with random
    weights. Trained ones tell more. None where the way makes other latents, or none."""


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
        memory: Also compute what training the full model needs.
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
    exact: Tensor | None = None
    for name, make in ways(config, device, full=full, steps=steps, compile_rows=compile_rows).items():
        row, latents = _measure(name, make, device, repetitions, ceilings)
        if latents is not None:
            exact = latents if exact is None else exact
            row = replace(row, difference=float((latents - exact).norm() / exact.norm()))
        rows.append(row)
        console.print(f"{name}: {rows[-1].seconds:.3g} s")
    table = Table("way", "s", "times released", "TFLOP", "peak GB", "utilisation", "passes", "difference", box=None)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.seconds:.3g}",
            f"{rows[0].seconds / row.seconds:.1f}",
            f"{row.tflop:.3g}",
            f"{row.peak_gb:.1f}",
            f"{row.utilisation:.2f}",
            str(row.passes),
            "" if row.difference is None else f"{row.difference:.1g}",
        )
    console.print(table)
    figures = {
        "machine": machine_name(device),
        "torch": torch.__version__,
        "preset": "svd",
        "full_size": full,
        "config": config.to_json(),
        "matmul_tflop_s": {str(dtype).removeprefix("torch."): value for dtype, value in ceilings.items()},
        "rows": [asdict(row) for row in rows],
    }
    if memory:
        figures["training_memory"] = memory_table()
        console.print_json(data=figures["training_memory"])
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """The fastest of some matrix products of a size that suits the device [TFLOP/s]."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / min(seconds_of(lambda: a @ b, device) for _ in range(10)) / 1e12


def _measure(
    name: str, make: Callable[[], Way], device: torch.device, repetitions: int, ceilings: dict[torch.dtype, float]
) -> tuple[Row, Tensor | None]:
    """The figures of a way, without the difference, and its latents."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with torch.no_grad():
        way = make()
        flops = flops_of(way.run)  # the first run compiles, records, chooses kernels
        if way.flops:
            flops = way.flops()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        made: list[Any] = []
        seconds = min(seconds_of(lambda: made.append(way.run()), device) for _ in range(repetitions))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    row = Row(
        name=name,
        seconds=seconds,
        tflop=flops / 1e12,
        peak_gb=peak,
        utilisation=flops / 1e12 / seconds / ceilings[way.dtype],
        passes=way.passes,
        difference=None,
    )
    return row, made[-1].float() if isinstance(made[-1], Tensor) else None
