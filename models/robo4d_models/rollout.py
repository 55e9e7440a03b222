"""The tiny preset as a subject of `robo4d rollout`."""

from pathlib import Path

import numpy as np

from robo4d import shipped
from robo4d.rollout.generators import Subject
from robo4d.rollout.results import RolloutConfig
from robo4d.sim.cell import Cell
from robo4d.sim.state import CellState
from robo4d_models.video4d.coding import ARMS, RobotState
from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator
from robo4d_models.video4d.planning import FLOW_STEPS


def tiny(task: str, cell: Cell, config: RolloutConfig) -> Subject:
    """The generator with the weights that ship (`tiny`), or with those of a folder.

    Raises:
        ValueError: there are no such weights.
    """
    folder = shipped.TINY if config.generator == "tiny" else Path(config.generator)
    sizes = TinyConfig(flow_steps=config.flow_steps or FLOW_STEPS)
    generator = TinyGenerator.load(folder, task, state=lambda stamp_ns: _robot_state(cell.state()), config=sizes)
    return Subject(generator=generator)


def _robot_state(state: CellState) -> RobotState:
    """What the robot measures of itself."""
    return RobotState(
        T_world_tcp=np.stack([state.arms[arm].T_world_tcp for arm in ARMS]),
        gripper_width=np.array([state.arms[arm].gripper_width for arm in ARMS]),
        joints=np.stack([state.arms[arm].joints for arm in ARMS]),
    )
