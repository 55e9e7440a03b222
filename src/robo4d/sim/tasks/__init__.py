"""The tasks of the paper (section 4.1), one file each."""

import difflib

from robo4d.sim.tasks.place_apple_from_bowl_into_bin import PlaceAppleFromBowlIntoBin
from robo4d.sim.tasks.put_spatula_on_table import PutSpatulaOnTable
from robo4d.sim.tasks.store_cereal_box_under_shelf import StoreCerealBoxUnderShelf
from robo4d.sim.tasks.task import SPREADS, Distribution, Expert, Spread, Start, Task

_ALL: tuple[Task, ...] = (StoreCerealBoxUnderShelf(), PutSpatulaOnTable(), PlaceAppleFromBowlIntoBin())
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def load(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        raise ValueError(f"no task `{name}`.{hint} Tasks: {', '.join(TASKS)}")
    return TASKS[name]


__all__ = ["SPREADS", "TASKS", "Distribution", "Expert", "Spread", "Start", "Task", "load"]
