"""A folder of weights as a generator for `robo4d rollout`."""

import numpy as np

from robo4d.interfaces import VideoGenerator
from robo4d.rollout.results import RolloutConfig
from robo4d.sim.cell import Cell
from robo4d.sim.state import CellState
from robo4d_models.generators import load_generator, weights_folder
from robo4d_models.video4d.coding import ARMS, RobotState


def weights(task: str, cell: Cell, config: RolloutConfig) -> VideoGenerator:
    """The generator with the weights that ship (`tiny`), or with those of a folder, of the preset tiny or svd.

    Raises:
        ValueError: there are no such weights, or they have no use for the configuration's `flow_steps`.
    """
    return load_generator(
        weights_folder(config.generator),
        task,
        state=lambda stamp_ns: _robot_state(cell.state()),
        flow_steps=config.flow_steps,
    )


def _robot_state(state: CellState) -> RobotState:
    """What the robot measures of itself."""
    return RobotState(
        T_world_tcp=np.stack([state.arms[arm].T_world_tcp for arm in ARMS]),
        gripper_width=np.array([state.arms[arm].gripper_width for arm in ARMS]),
        joints=np.stack([state.arms[arm].joints for arm in ARMS]),
    )
