"""`robo4d rollout`: closed-loop success in the simulated cell, over unseen starts and unseen cameras."""

import fcntl
import importlib
import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro
from rich.console import Console
from rich.table import Table

from robo4d.episodes.dataset import progress_bar
from robo4d.episodes.workers import Workers
from robo4d.rollout.episode import run
from robo4d.rollout.results import EpisodeResult, Job, ReadoutName, RolloutConfig, summary
from robo4d.sim.tasks import TASKS, Distribution, load

FIRST_SEED = 1_000_000
"""Seeds of rollouts begin here; data sets begin at 0, so that no start has been trained on."""
_LOG = "episodes.jsonl"
_OVER_ROS = "robo4d_ros.rollout:run_over_ros"
"""Runs episodes over ROS 2; imported by name, as the core knows no ROS."""


class RunOverRos(Protocol):
    """What `--ros` calls: see `EpisodeResult`."""

    def __call__(
        self, jobs: Sequence[Job], finished: Callable[[Job, EpisodeResult], None], progress: Callable[[float], None]
    ) -> None:
        """Run all jobs, one after the other; `progress` is told the share of the present one."""
        ...


def rollout(
    *,
    task: str = "all",
    generator: str = "tiny",
    episodes: int = 30,
    distribution: Distribution = "standard",
    degrade_mm: float = 0.0,
    degrade_blur_px: float = 0.0,
    degrade_misalignment_mm: float = 0.0,
    degrade_misalignment_deg: float = 0.0,
    size: int = 128,
    candidates: int = 1,
    readout: ReadoutName = "tracker",
    flow_steps: int | None = None,
    max_looks: int = 20,
    seed_offset: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    workers: int = 2,
    out: Path = Path("rollouts"),
    report: bool = False,
    ros: bool = False,
) -> None:
    """Measure how often a generator, with the tracker, planner and executor behind it, solves a task.

    Each episode has a start and two cameras of its own. The robot looks, executes the whole plan, and looks again,
    until the task is done or given up. Called again, it goes on where it stopped.

    Args:
        task: Name of a task, or `all`.
        generator: `tiny` (the weights that ship), a folder of weights, or `oracle` (the future that the expert makes).
        episodes: Of each task.
        distribution: Where starts are drawn from.
        degrade_mm: Noise of the oracle's depth [mm], with bias, flying pixels and holes in proportion.
        degrade_blur_px: Blur of the oracle's colours and depth, as its standard deviation [px].
        degrade_misalignment_mm: How far the oracle's view m as a whole is from where it should be [mm].
        degrade_misalignment_deg: How far it is turned about the middle of its points [deg].
        size: Height and width of the images [px].
        candidates: Videos of each look, of which the best is followed.
        readout: Who tells where the grippers go: `tracker` follows them through the video, as the paper does;
            `plan_head` is what the generator has planned to draw; `fused` holds the one against the other.
        flow_steps: Steps in which a model of the preset tiny samples its plans; few suit a few-step student.
        max_looks: An episode that needs more has failed.
        seed_offset: Selects other starts and cameras of the same distribution.
        json_file: Write the table to this file, too.
        workers: Processes.
        out: Folder that keeps the result of every episode, and the report pages.
        report: Write a page about the first episode of each task that is run.
        ros: Run all parts as ROS 2 nodes, instead of in one process.
    """
    config = RolloutConfig(
        generator=generator,
        distribution=distribution,
        size=size,
        degrade_mm=degrade_mm,
        degrade_blur_px=degrade_blur_px,
        degrade_misalignment_mm=degrade_misalignment_mm,
        degrade_misalignment_deg=degrade_misalignment_deg,
        candidates=candidates,
        readout=readout,
        flow_steps=flow_steps,
        max_looks=max_looks,
        ros=ros,
    )
    if episodes < 1:
        raise ValueError(f"at least one episode is needed, got {episodes}")
    names = list(TASKS) if task == "all" else [load(task).name]
    wanted = [(name, FIRST_SEED + seed_offset + i) for i in range(episodes) for name in names]
    with result_log(out) as (known, add), progress_bar("episodes", len(wanted)) as show:
        results = {(r.task, r.seed): r for r in known if r.config == config and (r.task, r.seed) in set(wanted)}
        jobs = [Job(name, seed, config) for name, seed in wanted if (name, seed) not in results]
        if report:
            jobs = _with_reports(jobs, out)

        def finished(job: Job, result: EpisodeResult) -> None:
            add(result)
            results[job.task, job.seed] = result

        def progress(shares: float) -> None:
            show(len(results) + shares)

        progress(0.0)
        if ros:
            _run_over_ros(jobs, finished, progress)
        else:
            remaining = iter(jobs)
            Workers(workers, run).run(lambda: next(remaining, None), finished, progress)
    rows = [summary(name, [results[name, seed] for other, seed in wanted if other == name]) for name in names]
    total = summary(task, [results[key] for key in wanted])
    _print(rows)
    if json_file:
        json_file.write_text(json.dumps({**total, "tasks": rows}, indent=1) + "\n")


@contextmanager
def result_log(out: Path) -> Generator[tuple[list[EpisodeResult], Callable[[EpisodeResult], None]]]:
    """The log of results in a folder: what is in it, and a function to add to it. A line is whole, or not there.

    Raises:
        ValueError: another process is writing to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOG).open("a+b") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system unlocks it when the process ends, however
        except BlockingIOError as error:
            raise ValueError(f"another rollout is writing to {out}: wait for it, or choose another --out") from error
        log.seek(0)
        whole, _, torn = log.read().rpartition(b"\n")
        if torn:  # a process was killed while it wrote
            log.truncate(len(whole) + 1 if whole else 0)
        known = [EpisodeResult.from_json(line.decode()) for line in whole.split(b"\n") if line]

        def add(result: EpisodeResult) -> None:
            log.write(result.to_json().encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())

        yield known, add


def _with_reports(jobs: Sequence[Job], out: Path) -> list[Job]:
    """The same jobs; the first of each task shall write a page."""
    first = {job.task: job for job in reversed(jobs)}
    pages = {job: out / f"{job.task}-{job.seed}.html" for job in first.values()}
    return [Job(job.task, job.seed, job.config, pages.get(job)) for job in jobs]


def _run_over_ros(
    jobs: Sequence[Job], finished: Callable[[Job, EpisodeResult], None], progress: Callable[[float], None]
) -> None:
    module, function = _OVER_ROS.split(":")
    try:
        run_over_ros: RunOverRos = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise ValueError(f"--ros needs ROS 2 and the built workspace: {error}; see `robo4d doctor`") from error
    run_over_ros(jobs, finished, progress)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("task", "succeeded", "rate", "95 %", "looks", "time s", "CPU s", "failures: what lost them"):
        table.add_column(title, justify="left" if title in ("task", "failures: what lost them") else "right")
    for row in rows:
        low, high = row["ci95"]
        stages = ", ".join(f"{count} {stage}" for stage, count in row["failures_by_stage"].items() if count)
        table.add_row(
            row["task"],
            f"{row['successes']} of {row['episodes']}",
            f"{row['success_rate']:.0%}",
            f"{low:.0%} to {high:.0%}",
            f"{row['mean_looks']:.1f}",
            f"{row['mean_time_s']:.0f}",
            f"{row['mean_cpu_s']:.0f}",
            stages or "-",
        )
    console = Console()
    console.print(table)
    for row in rows:
        if row["failed_seeds"]:
            console.print(f"{row['task']}, failed seeds {row['failed_seeds']}: {row['symptoms_of_failures']}")
