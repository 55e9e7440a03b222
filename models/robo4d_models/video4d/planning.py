"""Plans from weights: the plan model at work."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from robo4d import RgbdPair
from robo4d.geometry import se3
from robo4d_models.video4d import checkpoints, pace
from robo4d_models.video4d.coding import RobotState, encode_pair, rotation_from_6d
from robo4d_models.video4d.keyframes import NOW, KeyframePlan
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig, PlanOutput

FLOW_STEPS = 4
"""Euler steps of a sample, unless told otherwise."""
_SHORTEST_S = 0.05
"""No keyframe follows another one sooner [s]."""


class KeyframePlanner:
    """Turns observations into keyframes.

    Args:
        model: The plan model.
        task: Which task the robot is to do.
    """

    def __init__(self, model: PlanModel, task: str) -> None:
        self._model = model.eval()
        self.task = task

    @classmethod
    def load(cls, weights: Path, task: str) -> "KeyframePlanner":
        """The planner with the weights that `robo4d train` wrote.

        Raises:
            ValueError: there is no such file, or it is not of this model.
        """
        return cls(load_plan_model(weights), task)

    def expected(self, pair: RgbdPair, state: RobotState | None) -> KeyframePlan:
        """The mean of the plans that the model believes in. Without `state`, the arms are read from the images."""
        with torch.no_grad():
            output = self._model(encode_pair(pair, task=self.task, state=state))
        return decode(output, 0)

    def sample(
        self,
        pair: RgbdPair,
        state: RobotState | None,
        *,
        temperatures: Sequence[float],
        seeds: Sequence[int],
        steps: int = FLOW_STEPS,
    ) -> list[list[KeyframePlan]]:
        """For each seed a plan of each temperature, in Euler steps of the flow; see `PlanModel.sample`."""
        observation = encode_pair(pair, task=self.task, state=state)
        output = self._model.sample(observation, temperatures=torch.tensor(temperatures), steps=steps, seeds=seeds)
        count = len(temperatures)
        return [[decode(output, i * count + j) for j in range(count)] for i in range(len(seeds))]


def load_plan_model(weights: Path) -> PlanModel:
    """The plan model with the weights that `robo4d train` wrote.

    Raises:
        ValueError: there is no such file, or it is not of this model.
    """
    values, config = checkpoints.load_weights(weights)
    config["widths"] = tuple(config["widths"])  # JSON knows no tuples
    model = PlanModel(PlanModelConfig(**config))
    checkpoints.fill(model, values, weights)
    return model


def decode(output: PlanOutput, index: int) -> KeyframePlan:
    """One plan of a batch: the slots from the most probable next one on, as far as they are used."""
    next_slot = int(output.next_slot[index].argmax())
    ahead = [slot for slot in range(next_slot, NOW) if slot == next_slot or output.used[index, slot] > 0]
    rows = torch.tensor([NOW, *ahead], dtype=torch.long)
    R_world_tcp = rotation_from_6d(output.rotation[index, rows]).double().cpu().numpy()
    poses = se3.pose(R_world_tcp, output.position[index, rows].double().cpu().numpy())
    T_world_tcp = torch.from_numpy(poses)
    log_speed, pause_s = output.log_speed[index].double().cpu(), output.pause_s[index, rows[1:]].double().cpu()
    durations_s = pace.duration_s(T_world_tcp[:-1], T_world_tcp[1:], log_speed=log_speed[None], pause_s=pause_s)
    return KeyframePlan(
        T_world_tcp=poses[1:],
        closed=output.closed[index, rows[1:]].cpu().numpy() > 0,
        times_s=durations_s.clamp(min=_SHORTEST_S).cumsum(dim=0).numpy(),
        slots=np.array(ahead, dtype=int),
        next_probability=output.next_slot[index].softmax(dim=-1).double().cpu().numpy(),
        T_world_tcp_now=poses[0],
    )
