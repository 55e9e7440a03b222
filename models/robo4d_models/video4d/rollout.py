"""Closed loop in the simulated cell: look with two fresh cameras, plan, move for a second, look again.

This is the quick check of a plan model while it trains. It follows keyframes as they come, without the tracker, the
planner's checks and the executor that stand between a video and a real arm.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array
from rich.console import Console

from robo4d import RgbdFrame, RgbdPair
from robo4d.geometry import Camera, se3
from robo4d.sim.cameras import sample_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.render import Renderer
from robo4d.sim.state import CONTROL_PERIOD_S, ArmCommand, CellState
from robo4d_models.video4d.checkpoints import read_curve
from robo4d_models.video4d.coding import ARMS, HELD_WIDTH, OPEN_WIDTH, RobotState
from robo4d_models.video4d.keyframes import KeyframePlan
from robo4d_models.video4d.planning import KeyframePlanner

_SPEED, _ANGULAR_SPEED = 0.13, 0.6
"""Of the commanded pose [m/s, rad/s]: those of the demonstrations."""
_REACHED_M, _REACHED_RAD = 0.008, 0.1
"""A keyframe at which a gripper acts counts as reached within this."""
_PASSED_M, _PASSED_RAD = 0.02, 0.2
"""Any other keyframe."""
_GRIPPER_S = 0.9
"""Time for a gripper to close or open."""
_STALLED_S = 0.7
"""An arm that has not come nearer for so long will not come nearer."""


class KeyframeFollower:
    """Commands the arms from keyframe to keyframe."""

    def __init__(self, state: CellState) -> None:
        self._targets = {arm: state.arms[arm].T_world_tcp for arm in ARMS}
        self._closed: Bool[Array, " a"] = np.array([state.arms[arm].gripper_width < HELD_WIDTH for arm in ARMS])
        self._plan: KeyframePlan | None = None
        self._index = 0
        self._busy_until_s = 0.0
        self._nearest = np.inf
        self._nearest_s = 0.0

    @property
    def done(self) -> bool:
        """Whether the plan has come to its end."""
        return self._plan is None or self._index == len(self._plan.times_s)

    def busy(self, state: CellState) -> bool:
        """Whether a gripper is acting, during which nothing else should begin."""
        return state.time_s < self._busy_until_s

    def follow(self, plan: KeyframePlan, state: CellState) -> None:
        """Go on with a new plan, from where the arms are."""
        self._plan, self._index = plan, 0
        self._nearest, self._nearest_s = np.inf, state.time_s

    def command(self, state: CellState) -> dict[str, ArmCommand]:
        """Targets for this control tick."""
        if self._plan is not None and not self.done and not self.busy(state):
            goals = self._plan.T_world_tcp[self._index]
            for i, arm in enumerate(ARMS):
                self._targets[arm] = _towards(self._targets[arm], goals[i])
            if self._reached(state, self._plan):
                closed = self._plan.closed[self._index]
                if np.any(closed != self._closed):
                    self._closed = closed
                    self._busy_until_s = state.time_s + _GRIPPER_S
                self._index += 1
                self._nearest, self._nearest_s = np.inf, state.time_s
        return {
            arm: ArmCommand(T_world_tcp=self._targets[arm], gripper_width=0.0 if self._closed[i] else OPEN_WIDTH)
            for i, arm in enumerate(ARMS)
        }

    def _reached(self, state: CellState, plan: KeyframePlan) -> bool:
        T_world_tcp = np.stack([state.arms[arm].T_world_tcp for arm in ARMS])
        distance, angle = (float(v.max()) for v in se3.distance(T_world_tcp, plan.T_world_tcp[self._index]))
        acts = bool(np.any(plan.closed[self._index] != self._closed))
        left = distance + 0.1 * angle
        if left < self._nearest - 0.001:
            self._nearest, self._nearest_s = left, state.time_s
        if state.time_s - self._nearest_s > _STALLED_S and distance < 2 * _PASSED_M:
            return True
        return distance < (_REACHED_M if acts else _PASSED_M) and angle < (_REACHED_RAD if acts else _PASSED_RAD)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """How one closed-loop episode went."""

    seed: int
    success: bool
    lifted: bool
    """Whether an object ever rose by 3 cm with a closed gripper near it."""
    time_s: float
    plans: int
    slots: list[int]
    """The next slot of each plan, for a look at where it went wrong."""


def rollout(
    *,
    weights: Path,
    task: str,
    episodes: int = 20,
    seed_offset: int = 0,
    out: Path | None = None,
    replan_s: float = 1.0,
    longest_s: float = 45.0,
    size: int = 96,
    sample: bool = False,
) -> None:
    """Measure how often a plan model succeeds at a task.

    Args:
        weights: The `plan.safetensors` of a training.
        task: Which task.
        episodes: Number of episodes, each with its own start and two cameras of its own.
        seed_offset: Seed of the first one.
        out: File of results, a JSON object a line; episodes that are in it are not run again.
        replan_s: Time between two looks.
        longest_s: End of an episode that does not finish.
        size: Height and width of the camera images [px].
        sample: Follow a random sample of the plan's distribution instead of its mean.
    """
    planner = KeyframePlanner.load(weights, task)
    cell = Cell(task)
    renderer = Renderer(cell.model, objects=cell.task.objects)
    known = {row["seed"]: Episode(**row) for row in read_curve(out)} if out is not None and out.exists() else {}
    console = Console()
    results: list[Episode] = []
    for seed in range(seed_offset, seed_offset + episodes):
        if seed not in known:
            known[seed] = _episode(cell, renderer, planner, seed, replan_s, longest_s, size, sample)
            if out is not None:
                with out.open("a") as file:
                    file.write(json.dumps(asdict(known[seed])) + "\n")
        results.append(known[seed])
        episode = known[seed]
        console.print(
            f"seed {seed}: {'success' if episode.success else 'failure'}, {'' if episode.lifted else 'not '}lifted, "
            f"{episode.time_s} s, next slots {episode.slots}"
        )
    rate, lifted = np.mean([r.success for r in results]), np.mean([r.lifted for r in results])
    console.print(f"{task}: success {rate:.0%}, lifted {lifted:.0%} of {len(results)}")


def _episode(
    cell: Cell,
    renderer: Renderer,
    planner: KeyframePlanner,
    seed: int,
    replan_s: float,
    longest_s: float,
    size: int,
    sample: bool,
) -> Episode:
    state = cell.reset(seed=seed)
    cameras = sample_cameras(np.random.default_rng([seed, 1]), 2, width=size, height=size)
    follower = KeyframeFollower(state)
    start_z = {name: state.T_world_body[name][2, 3] for name in cell.task.objects}
    lifted, next_look_s, slots = False, 0.0, list[int]()
    finished = 0
    while state.time_s < longest_s and finished < 2:
        if state.time_s >= next_look_s and not follower.busy(state):
            pair, robot = observe(cell, renderer, cameras), robot_state(state)
            plans = planner.sample(pair, robot, count=1, seed=len(slots)) if sample else [planner.expected(pair, robot)]
            plan = plans[0]
            finished = finished + 1 if len(plan.slots) == 0 else 0
            slots.append(int(plan.slots[0]) if len(plan.slots) else -1)
            follower.follow(plan, state)
            next_look_s = state.time_s + replan_s
        state = cell.step(follower.command(state))
        for name, z in start_z.items():
            near = min(
                np.linalg.norm(state.T_world_body[name][:3, 3] - a.T_world_tcp[:3, 3]) for a in state.arms.values()
            )
            lifted |= bool(state.T_world_body[name][2, 3] > z + 0.03 and near < 0.1)
    return Episode(
        seed=seed, success=cell.success(), lifted=lifted, time_s=round(state.time_s, 2), plans=len(slots), slots=slots
    )


def observe(cell: Cell, renderer: Renderer, cameras: list[Camera]) -> RgbdPair:
    """What two cameras see of the cell now."""
    renderer.update(cell.data)
    frames: list[RgbdFrame] = []
    for i, camera in enumerate(cameras):
        rgb, depth = renderer.rgbd(camera)
        frames.append(
            RgbdFrame(
                rgb=rgb,
                depth=depth,
                intrinsics=camera.intrinsics,
                camera=f"camera_{i + 1}",
                stamp_ns=round(cell.data.time * 1e9),
                T_world_camera=camera.T_world_camera,
            )
        )
    return RgbdPair(n=frames[0], m=frames[1])


def robot_state(state: CellState) -> RobotState:
    """What the robot measures of itself."""
    return RobotState(
        T_world_tcp=np.stack([state.arms[arm].T_world_tcp for arm in ARMS]),
        gripper_width=np.array([state.arms[arm].gripper_width for arm in ARMS]),
    )


def _towards(T_world_from: Array, T_world_goal: Array) -> Array:
    """The pose one control tick further on the straight way to a goal."""
    distance, angle = se3.distance(T_world_from, T_world_goal)
    time_s = max(float(distance) / _SPEED, float(angle) / _ANGULAR_SPEED)
    return se3.interpolate(T_world_from, T_world_goal, min(1.0, CONTROL_PERIOD_S / max(time_s, 1e-9)))
