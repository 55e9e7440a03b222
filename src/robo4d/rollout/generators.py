"""The generators that can be rolled out, by name; each is made where its libraries are."""

import importlib
from collections.abc import Callable

from robo4d.interfaces import VideoGenerator
from robo4d.rollout.results import RolloutConfig
from robo4d.sim.cell import Cell
from robo4d.sim.oracle import OracleConfig, OracleGenerator

MakeGenerator = Callable[[str, Cell, RolloutConfig], VideoGenerator]
"""Makes a generator for a task. The live cell is given for what a robot would tell of itself."""
_WEIGHTS = "robo4d_models.rollout:weights"
"""Makes a generator from a folder of weights, or from those that ship; imported by name, as the core knows no torch."""


def make_generator(task: str, cell: Cell, config: RolloutConfig) -> VideoGenerator:
    """The generator that a configuration names.

    Raises:
        ValueError: there is none of that name.
    """
    if config.generator == "oracle":
        return OracleGenerator(task, lambda stamp_ns: cell.snapshot(), OracleConfig(degradation=config.degradation))
    module, function = _WEIGHTS.split(":")
    try:
        make: MakeGenerator = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise ValueError(f"a generator `{config.generator}` needs the extra `models`: {error}") from error
    return make(task, cell, config)
