"""The generators that can be rolled out, by name; each is made where its libraries are."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robo4d.interfaces import VideoGenerator
from robo4d.rollout.results import RolloutConfig
from robo4d.sim.cell import Cell
from robo4d.sim.oracle import OracleConfig, OracleGenerator
from robo4d.sim.state import CellState


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A generator under test."""

    generator: VideoGenerator
    truth: Callable[[], Sequence[CellState]] | None = None
    """Tells what the last video shows, frame by frame and the observation first, where that is known."""


MakeSubject = Callable[[str, Cell, RolloutConfig], Subject]
"""Makes a generator for a task. The live cell is given for what a robot would tell of itself."""
_WEIGHTS = "robo4d_models.rollout:weights"
"""Makes a generator from a folder of weights, or from those that ship; imported by name, as the core knows no torch."""


def make_subject(task: str, cell: Cell, config: RolloutConfig) -> Subject:
    """The generator that a configuration names.

    Raises:
        ValueError: there is none of that name.
    """
    if config.generator == "oracle":
        return _oracle(task, cell, config)
    module, function = _WEIGHTS.split(":")
    try:
        make: MakeSubject = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise ValueError(f"a generator `{config.generator}` needs the extra `models`: {error}") from error
    return make(task, cell, config)


def _oracle(task: str, cell: Cell, config: RolloutConfig) -> Subject:
    oracle = OracleGenerator(task, lambda stamp_ns: cell.snapshot(), OracleConfig(degradation=config.degradation))
    return Subject(generator=oracle, truth=lambda: oracle.foreseen)
