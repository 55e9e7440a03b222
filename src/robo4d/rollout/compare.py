"""`robo4d compare-rollouts`: which part loses the starts that the true future would have solved."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

_SAME = ("distribution", "size", "max_looks", "ros")
"""What rollouts must have in common to be compared start by start."""


def compare_rollouts(files: Annotated[tuple[Path, ...], tyro.conf.Positional]) -> None:
    """Lay each start that a generator fails in to a part, by what the oracle does with the same start.

    Args:
        files: What `robo4d rollout --json` wrote: of the generator first, then of the oracle, with one readout or more.
    """
    if len(files) < 2:
        raise ValueError(
            "at least two files are needed: one of the generator, and one of the oracle on the same starts"
        )
    shares = compare([json.loads(file.read_text()) for file in files])
    parts = [part for part in PARTS if any(row[part] for row in shares.values())]
    table = Table(box=None, header_style="bold")
    for title in ("task", "starts", *parts):
        table.add_column(title, justify="left" if title == "task" else "right")
    for task, row in shares.items():
        table.add_row(task, str(row.total()), *(str(row[part]) for part in parts))
    Console().print(table)


PARTS = ("solved", "video", "tracker", "video or tracker", "planner or executor", "tracker, planner or executor")
"""What a start can count as."""


def compare(rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """How many starts of each task are solved, or lost by which of `PARTS`.

    Args:
        rollouts: As in the files: the generator's, then the oracle's.

    Raises:
        ValueError: others than the first are not the oracle's, they differ in more than readout, or share no starts.
    """
    measured, *oracles = rollouts
    if strangers := [rollout["generator"] for rollout in oracles if rollout["generator"] != "oracle"]:
        raise ValueError(f"all but the first must be rollouts of the oracle, got {', '.join(strangers)}")
    for name in _SAME:
        if len({rollout[name] for rollout in rollouts}) > 1:
            told = ", ".join(str(rollout[name]) for rollout in rollouts)
            raise ValueError(f"the rollouts have different {name}: {told}; run them alike")
    solved, *truths = (_solved(rollout) for rollout in rollouts)
    common = set(solved).intersection(*truths)
    if not common:
        raise ValueError("the rollouts have no start in common: run them with the same --task and --seed-offset")
    shares: dict[str, Counter[str]] = {}
    for task, seed in sorted(common):
        with_truth = {o["readout"]: truth[task, seed] for o, truth in zip(oracles, truths, strict=True)}
        part = lost_by(solved[task, seed], measured["readout"], with_truth)
        shares.setdefault(task, Counter())[part] += 1
    return shares


def lost_by(solved: bool, readout: str, with_truth: Mapping[str, bool]) -> str:
    """Which of `PARTS` a start counts as.

    Args:
        solved: Whether the generator's rollout solves it.
        readout: With which readout.
        with_truth: Whether the oracle's does, by readout. Its `plan_head` is the true motion itself.
    """
    if solved:
        return "solved"
    if with_truth.get(readout) or with_truth.get("tracker"):
        return "video"
    if with_truth.get("plan_head"):
        return "tracker" if readout in with_truth else "video or tracker"
    return "planner or executor" if "plan_head" in with_truth else "tracker, planner or executor"


def _solved(rollout: Mapping[str, Any]) -> dict[tuple[str, int], bool]:
    return {(row["task"], seed): seed not in row["failed_seeds"] for row in rollout["tasks"] for seed in row["seeds"]}
