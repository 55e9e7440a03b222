"""`robo4d experts`: how often the scripted experts succeed, and how they move."""

import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from jaxtyping import Bool
from numpy import ndarray as Array
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from robo4d.episodes.dataset import progress_bar
from robo4d.episodes.workers import Workers
from robo4d.sim.cell import Cell
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, MAX_WIDTH
from robo4d.sim.tasks import TASKS, Distribution

_TIME_LIMIT_S = 60.0
"""An expert that needs longer has failed."""
_SPEED_PERIOD = 5
"""Control ticks over which a speed is measured: 0.1 s, so that the ring of a contact does not count."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One episode to do."""

    task: str
    distribution: Distribution
    seed: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went."""

    success: bool
    duration_s: float
    max_speed: float
    """Of either TCP [m/s]."""
    max_joint_speed: float
    """Of any joint [rad/s]."""
    elbow_flips: int
    """How often an elbow passed to the other side, above or below, of the line from its shoulder to its wrist."""
    grasps: int
    """How often a gripper closed; more than the task asks for means that a grasp was missed."""
    real_time_factor: float
    """Of physics and arm control, without the expert."""


def experts(
    *,
    task: str = "all",
    distribution: Literal["standard", "wide", "both"] = "both",
    episodes: int = 50,
    seed_offset: int = 0,
    workers: int = 2,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Let the experts do their tasks from random starts, and print the table of successes.

    It measures and does not judge: the exit status is 0 however few succeed.

    Args:
        task: A task, or `all`.
        distribution: Where starts are drawn from.
        episodes: Starts for each task and distribution.
        seed_offset: First seed; another one gives other starts.
        workers: Processes.
        json_file: Write the table, and the outcome of each start, to this file, too.
    """
    if task != "all" and task not in TASKS:
        raise ValueError(f"no task `{task}`; there are {', '.join(TASKS)}, and all")
    names = list(TASKS) if task == "all" else [task]
    distributions: list[Distribution] = ["standard", "wide"] if distribution == "both" else [distribution]
    starts = [
        Start(task=name, distribution=kind, seed=seed_offset + i)
        for name in names
        for kind in distributions
        for i in range(episodes)
    ]
    outcomes: dict[tuple[str, str], dict[int, Outcome]] = defaultdict(dict)
    remaining, done = iter(starts), 0
    with progress_bar("episodes", len(starts)) as show:

        def finished(start: Start, outcome: Outcome) -> None:
            nonlocal done
            done += 1
            outcomes[start.task, start.distribution][start.seed] = outcome

        Workers(workers, run).run(lambda: next(remaining, None), finished, lambda share: show(done + share))
        show(done)
    rows = [_row(name, kind, results) for (name, kind), results in outcomes.items()]
    _print(rows)
    if json_file:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")


def run(start: Start, progress: Callable[[float], None]) -> Outcome:
    """One episode, from start to end."""
    cell = _cell(start.task)
    state = cell.reset(seed=start.seed, distribution=start.distribution)
    expert = cell.task.expert()
    positions: list[list[Array]] = []
    above = [elbows_above(cell)]
    max_joint_speed, grasps, wall_s = 0.0, 0, 0.0
    was_closed = dict.fromkeys(ARMS, False)
    for tick in range(round(_TIME_LIMIT_S / CONTROL_PERIOD_S)):
        if expert.done(state):
            break
        commands = expert.command(state)
        for arm, command in commands.items():
            closed = command.gripper_width < MAX_WIDTH / 2
            grasps += closed and not was_closed[arm]
            was_closed[arm] = closed
        begun = time.process_time()
        state = cell.step(commands)
        wall_s += time.process_time() - begun
        above.append(elbows_above(cell))
        positions.append([state.arms[arm].T_world_tcp[:3, 3] for arm in ARMS])
        max_joint_speed = max(max_joint_speed, *(float(abs(a.joint_velocities).max()) for a in state.arms.values()))
        if tick % 50 == 0:
            progress(tick * CONTROL_PERIOD_S / _TIME_LIMIT_S)
    path = np.array(positions)
    moved = np.linalg.norm(path[_SPEED_PERIOD:] - path[:-_SPEED_PERIOD], axis=-1)
    return Outcome(
        success=expert.done(state) and cell.success(),
        duration_s=state.time_s,
        max_speed=float(moved.max() / (_SPEED_PERIOD * CONTROL_PERIOD_S)) if moved.size else 0.0,
        max_joint_speed=max_joint_speed,
        elbow_flips=int(np.diff(np.array(above), axis=0).sum()),
        grasps=grasps,
        real_time_factor=len(positions) * CONTROL_PERIOD_S / max(wall_s, 1e-9),
    )


def elbows_above(cell: Cell) -> Bool[Array, " a"]:
    """Whether each arm's elbow is above the line from its shoulder to its wrist, as in the natural posture."""
    above: list[bool] = []
    for arm in ARMS:
        shoulder, elbow, wrist = (cell.data.body(f"{arm}_link{number}").xpos for number in (2, 4, 5))
        along = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
        from_line = (elbow - shoulder) - (elbow - shoulder) @ along * along
        above.append(bool(from_line[2] > 0))
    return np.array(above)


@functools.cache
def _cell(task: str) -> Cell:
    """Each worker builds a task's cell once."""
    return Cell(task)


def _row(task: str, distribution: str, outcomes: dict[int, Outcome]) -> dict[str, Any]:
    successes = [outcome for outcome in outcomes.values() if outcome.success]
    interval = binomtest(len(successes), len(outcomes)).proportion_ci(method="wilson")
    usual_grasps = min((outcome.grasps for outcome in successes), default=0)
    return {
        "task": task,
        "distribution": distribution,
        "episodes": len(outcomes),
        "successes": len(successes),
        "ci95": [float(interval.low), float(interval.high)],
        "failed_seeds": sorted(seed for seed, outcome in outcomes.items() if not outcome.success),
        "mean_duration_s": float(np.mean([o.duration_s for o in successes])) if successes else None,
        "max_speed": max(outcome.max_speed for outcome in outcomes.values()),
        "max_joint_speed": max(outcome.max_joint_speed for outcome in outcomes.values()),
        "elbow_flips": sum(outcome.elbow_flips for outcome in outcomes.values()),
        "regrasps": sum(max(0, outcome.grasps - usual_grasps) for outcome in outcomes.values()),
        "real_time_factor": float(np.median([outcome.real_time_factor for outcome in outcomes.values()])),
        "outcomes": {seed: asdict(outcome) for seed, outcome in sorted(outcomes.items())},
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold")
    titles = (
        "task",
        "starts",
        "succeeded",
        "95 % interval",
        "mean s",
        "max m/s",
        "max rad/s",
        "elbow flips",
        "regrasps",
        "physics x real time",
    )
    for title in titles:
        table.add_column(title, justify="left" if title in ("task", "starts") else "right")
    for row in rows:
        mean_s = row["mean_duration_s"]
        table.add_row(
            str(row["task"]),
            str(row["distribution"]),
            f"{row['successes']} of {row['episodes']}",
            "{:.0%} to {:.0%}".format(*row["ci95"]),
            f"{mean_s:.1f}" if isinstance(mean_s, float) else "-",
            f"{row['max_speed']:.3f}",
            f"{row['max_joint_speed']:.2f}",
            str(row["elbow_flips"]),
            str(row["regrasps"]),
            f"{row['real_time_factor']:.0f}",
        )
    console = Console()
    console.print(table)
    for row in rows:
        if row["failed_seeds"]:
            console.print(f"failed: {row['task']}, {row['distribution']}, starts {row['failed_seeds']}")
