"""One demonstration in the simulated cell, as states: images are drawn from them afterwards."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from robo4d.episodes.format import Motion, SceneStates
from robo4d.episodes.perturb import Perturbation, PerturbationConfig
from robo4d.sim.cell import Cell
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, MAX_WIDTH, ArmCommand, CellState
from robo4d.sim.tasks import Distribution

_TIME_LIMIT_S = 60.0
"""An expert that needs longer has lost its way; the longest undisturbed demonstration takes 20 s."""
_TIME_TO_START_S = 2.0
"""Time for the arms to reach a disturbed start before the episode begins."""
_REST_S = 0.5
"""Recorded after the expert is done, so that the last frames show the goal."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What happened."""

    motion: Motion
    scene: SceneStates
    success: bool
    bodies: tuple[str, ...]
    """Names of objects and furniture, in the order of `motion.T_world_body`."""


def simulate(
    cell: Cell,
    *,
    seed: int,
    distribution: Distribution = "standard",
    rate_hz: float = 10.0,
    perturbation: PerturbationConfig | None = None,
    progress: Callable[[float], None] = lambda time_s: None,
) -> Demonstration:
    """Let the task's expert solve one episode. The same arguments give the same demonstration.

    Args:
        cell: The cell with the task.
        seed: Start of the episode, and its disturbances.
        distribution: Where starts are drawn from.
        rate_hz: Recorded frames per second; a whole number of control ticks must lie between two.
        perturbation: Disturbances, if there shall be any.
        progress: Told the simulated time [s] now and then.

    Raises:
        ValueError: the rate does not fit the control ticks.
    """
    ticks_per_frame = check_rate(rate_hz)
    state = cell.reset(seed=seed, distribution=distribution)
    disturb = Perturbation(perturbation, np.random.default_rng([seed, 1])) if perturbation else None
    if disturb:
        state = _go_to_start(cell, state, disturb)
    expert, recording = cell.task.expert(), _Recording(cell)
    asked: dict[str, ArmCommand] = {}
    start_s, rest = state.time_s, round(_REST_S / CONTROL_PERIOD_S)
    for tick in range(round(_TIME_LIMIT_S / CONTROL_PERIOD_S)):
        asked |= expert.command(state)
        executed = disturb.execute(asked) if disturb else asked
        if tick % ticks_per_frame == 0:
            recording.add(state, executed, asked, start_s)
            progress(state.time_s - start_s)
        state = cell.step(executed)
        if disturb and disturb.push_ends:
            expert = cell.task.expert()
        if expert.done(state):
            rest -= 1
            if rest == 0:
                break
    return recording.finish(cell.success())


def check_rate(rate_hz: float) -> int:
    """Control ticks between two frames.

    Raises:
        ValueError: no whole number of them.
    """
    ticks = round(1 / (rate_hz * CONTROL_PERIOD_S)) if rate_hz > 0 else 0
    if ticks < 1 or abs(ticks * rate_hz * CONTROL_PERIOD_S - 1) > 1e-6:
        legal = ", ".join(f"{1 / (n * CONTROL_PERIOD_S):g}" for n in (1, 2, 5, 10, 25, 50))
        raise ValueError(f"a rate must divide the control rate, such as {legal} Hz; got {rate_hz}")
    return ticks


def _go_to_start(cell: Cell, state: CellState, disturb: Perturbation) -> CellState:
    targets = {
        arm: ArmCommand(T_world_tcp=disturb.start(state.arms[arm].T_world_tcp), gripper_width=MAX_WIDTH) for arm in ARMS
    }
    for _ in range(round(_TIME_TO_START_S / CONTROL_PERIOD_S)):
        state = cell.step(targets)
    return state


class _Recording:
    """Collects one row for each frame."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._rows: list[dict[str, Array]] = []
        self._qpos: list[Array] = []
        self._bodies = (*cell.task.objects, *cell.task.furniture)

    def add(
        self, state: CellState, executed: dict[str, ArmCommand], asked: dict[str, ArmCommand], start_s: float
    ) -> None:
        arms = [state.arms[arm] for arm in ARMS]
        # An arm that was never commanded holds where it stands, with its gripper as it is.
        still = {
            arm: ArmCommand(T_world_tcp=a.T_world_target, gripper_width=float(np.clip(a.gripper_width, 0, MAX_WIDTH)))
            for arm, a in state.arms.items()
        }
        targets, labels = [[(still | commands)[arm] for arm in ARMS] for commands in (executed, asked)]
        self._rows.append(
            {
                "stamps_ns": np.array(round((state.time_s - start_s) * 1e9), np.int64),
                "joints": _rows([a.joints for a in arms]),
                "T_world_tcp": _rows([a.T_world_tcp for a in arms]),
                "gripper_width": _rows([a.gripper_width for a in arms]),
                "external_wrench": _rows([a.external_wrench for a in arms]),
                "T_world_target": _rows([c.T_world_tcp for c in targets]),
                "target_width": _rows([c.gripper_width for c in targets]),
                "T_world_expert": _rows([c.T_world_tcp for c in labels]),
                "expert_width": _rows([c.gripper_width for c in labels]),
                "T_world_body": _rows([state.T_world_body[body] for body in self._bodies]),
            }
        )
        self._qpos.append(self._cell.data.qpos.astype(np.float32))

    def finish(self, success: bool) -> Demonstration:
        model, data = self._cell.model, self._cell.data
        scene = SceneStates(
            qpos=np.stack(self._qpos),
            mocap_pos=data.mocap_pos.astype(np.float32),
            mocap_quat=data.mocap_quat.astype(np.float32),
            geom_rgba=model.geom_rgba.copy(),
            mat_rgba=model.mat_rgba.copy(),
            light_dir=model.light_dir.astype(np.float32),
            light_diffuse=model.light_diffuse.copy(),
        )
        motion = Motion(**{name: np.stack([row[name] for row in self._rows]) for name in self._rows[0]})
        return Demonstration(motion=motion, scene=scene, success=success, bodies=self._bodies)


def _rows(values: list[Array] | list[float]) -> Array:
    return np.array(values, np.float32)
