"""An expert that moves one object with one arm, and can start anywhere on the way.

Which phase it is in follows from the state each time: is the object where it belongs? is it held? is the gripper
around it? Only the timing of the present motion is remembered, so that a fresh expert goes on from any state.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim.scene import T_WORLD_BASE, T_WORLD_HOME
from robo4d.sim.state import MAX_WIDTH, ArmCommand, ArmState, CellState
from robo4d.sim.tasks.motion import Path

APPROACH, RETREAT = 0.10, 0.22
"""Length of the straight way along the approach direction to a grasp, and back from it [m]."""
_HOLD_S = 0.9
"""From the command to close to the start of the motion, if the width is right by then."""
_CLOSING_S = 1.5
"""When the gripper has not closed on the object by then, it missed."""
_WIDTH_TOLERANCE = 0.005
"""Between the gripper's width and the object's, when it is held [m]."""
_HELD_WITHIN = 0.04
"""Distance of the tool from the nearest grasp while the object is held [m]."""
_AT_GRASP, _AT_GRASP_ANGLE = 0.012, np.deg2rad(10)
"""A gripper this near to a grasp [m, rad] may close."""
_METRES_PER_RADIAN = 0.1
"""What an angle counts beside a distance when the nearest grasp is sought."""
_COST_OF_WIDTH = 10.0
"""[1/m], beside squared angles in rad^2: a narrow side leaves the open fingers more room."""
_RELEASED = 0.015
"""The gripper may leave when it is wider open than the object by this [m]."""
_LOST = 0.05
"""A path is planned anew when the arm is farther from it than this [m]."""


@dataclass(frozen=True, kw_only=True)
class Grasps:
    """The ways to hold an object."""

    Ts_object_tcp: Float[Array, "n 4 4"]
    widths: Float[Array, " n"]
    """Opening of the gripper on the object [m]."""


@runtime_checkable
class Job(Protocol):
    """What is particular about moving one object."""

    @property
    def arm(self) -> str:
        """Which one does it."""
        ...

    @property
    def object(self) -> str:
        """What is moved."""
        ...

    def grasps(self, state: CellState) -> Grasps:
        """All ways to hold the object."""
        ...

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """All poses T_world_object that it may be put at."""
        ...

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Poses T_world_object on the way from where the object is to a goal, which is the last of them."""
        ...

    def placed(self, state: CellState) -> bool:
        """Whether the object stands where it belongs, be it still held or not."""
        ...

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """How awkward it is to hold the object with these two TCP poses; infinite where it cannot be done."""
        ...


def reaching_out(arm: str, Ts_world_tcp: Float[Array, "n 4 4"], elevation: float) -> Float[Array, "n 4 4"]:
    """The poses turned so that the arm reaches straight out to them, looking down by an elevation [rad]."""
    p_world_tcp = Ts_world_tcp[:, :3, 3]
    outward = p_world_tcp[:, :2] - T_WORLD_BASE[arm][:2, 3]
    ahead = np.zeros_like(p_world_tcp)
    ahead[:, :2] = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])
    z = np.cos(elevation) * ahead - np.sin(elevation) * up
    x = np.sin(elevation) * ahead + np.cos(elevation) * up
    return se3.pose(np.stack([x, np.cross(z, x), z], axis=-1), p_world_tcp)


def awkwardness(Ts_world_tcp: Float[Array, "n 4 4"], Ts_world_best: Float[Array, "n 4 4"]) -> Float[Array, " n"]:
    """Square of the angle [rad^2] to the best orientation; infinite where the fingers would touch the table."""
    _, angle = se3.distance(Ts_world_tcp, Ts_world_best)
    return np.where(sunk(Ts_world_tcp) > 1e-9, np.inf, angle**2)


def sunk(Ts_world_tcp: Float[Array, "n 4 4"]) -> Float[Array, " n"]:
    """How much higher the poses must be for the fingers to clear the table [m]."""
    lowest = (Ts_world_tcp[:, 2, :3] @ _FINGERTIPS.T).min(axis=1) + Ts_world_tcp[:, 2, 3]
    return np.maximum(_TABLE_CLEARANCE - lowest, 0.0)


def lifted(Ts_world_a: Float[Array, "n 4 4"], height_m: Float[Array, " n"]) -> Float[Array, "n 4 4"]:
    """The poses, so much higher [m]."""
    moved = Ts_world_a.copy()
    moved[:, 2, 3] += height_m
    return moved


_FINGERTIPS = np.array([[x, y, 0.009] for x in (-0.01, 0.01) for y in (-0.06, 0.06)])
"""Outer corners of the open fingers, TCP frame [m]."""
_TABLE_CLEARANCE = 0.002
"""[m]."""
_HIGHEST_DROP_M = 0.02
"""From where things are let go, above where they lie [m]."""


class PickAndPlace:
    """Carries out a job.

    When the object is placed, the arm goes home.

    Args:
        job: What to move, and where.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._T_world_home = T_WORLD_HOME[job.arm]
        self._phase = ""
        self._start_s = 0.0
        self._path: Path | None = None
        self._T_object_tcp = np.eye(4)

    def command(self, state: CellState, *, rest: bool = False) -> ArmCommand:
        """The job's arm's next target; that of an arm at rest is its home."""
        phase = "leave" if rest else self._next_phase(state)
        if self._path is None or phase != self._phase or self._must_replan(state):
            self._phase, self._start_s = phase, state.time_s
            self._path = Path(self._route(state))
        closed = self._phase in ("close", "carry")
        T_world_tcp = self._path.at(state.time_s - self._start_s)
        return ArmCommand(T_world_tcp=T_world_tcp, gripper_width=0.0 if closed else MAX_WIDTH)

    def vias(self, state: CellState) -> list[Float[Array, "4 4"]]:
        """Poses T_world_tcp that the last command heads for, the goal last; none while the gripper acts."""
        if self._path is None or self._phase in ("close", "release"):
            return []
        return self._path.ahead(state.time_s - self._start_s)

    def done(self, state: CellState) -> bool:
        """Whether the object is placed and the arm is back home."""
        distance, _ = se3.distance(state.arms[self._job.arm].T_world_tcp, self._T_world_home)
        return self._job.placed(state) and bool(distance < 0.03)

    def _next_phase(self, state: CellState) -> str:
        """From reach over close, carry and release to leave; back to reach when the object is lost."""
        arm, elapsed = state.arms[self._job.arm], state.time_s - self._start_s
        moving = self._path is not None and elapsed < self._path.duration_s
        distance, angle, width = self._nearest_grasp(state)
        squeeze = arm.gripper_width - width
        held = abs(squeeze) < _WIDTH_TOLERANCE and distance < _HELD_WITHIN
        closing = distance < _HELD_WITHIN and elapsed < (_HOLD_S if held else _CLOSING_S)
        goes_on = {"reach": moving, "carry": held and moving, "close": closing}
        if goes_on.get(self._phase, False):
            return self._phase
        if self._job.placed(state):
            opened = squeeze > _RELEASED or arm.gripper_width > MAX_WIDTH - 0.003
            return "leave" if opened or distance > _HELD_WITHIN else "release"
        if held:
            return "carry" if self._phase in ("close", "carry") else "close"
        if squeeze > 0 and distance < _AT_GRASP and angle < _AT_GRASP_ANGLE:
            return "close"
        return "reach"

    def _must_replan(self, state: CellState) -> bool:
        """Whether the arm is off the path, the object has moved away from its end, or the end has not served."""
        assert self._path is not None
        elapsed = state.time_s - self._start_s
        on_path, _ = se3.distance(state.arms[self._job.arm].T_world_tcp, self._path.at(elapsed))
        if on_path > _LOST:
            return True
        if self._phase == "reach":
            T_world_grasp = state.T_world_body[self._job.object] @ self._T_object_tcp
            distance, angle = se3.distance(T_world_grasp, self._path.goal)
            if distance > 0.01 or angle > np.deg2rad(5):
                return True
        return self._phase in ("reach", "carry") and elapsed > self._path.duration_s + 0.3

    def _route(self, state: CellState) -> list[Float[Array, "4 4"]]:
        """The way of the tool in the present phase."""
        arm = state.arms[self._job.arm]
        T_world_tcp = _start(arm)
        if self._phase == "reach":
            return [T_world_tcp, *self._way_to_grasp(state, T_world_tcp)]
        if self._phase == "carry":
            T_object_tcp = se3.inverse(state.T_world_body[self._job.object]) @ arm.T_world_tcp
            goals = self._job.goals(state)
            # A thing that is held deeper than it was meant to be is laid down from a little higher.
            missing_m = sunk(goals @ T_object_tcp)
            goals = lifted(goals, np.where(missing_m < _HIGHEST_DROP_M, missing_m, 0))
            costs = self._job.cost(state, np.repeat(arm.T_world_tcp[None], len(goals), axis=0), goals @ T_object_tcp)
            route = self._job.route(state, goals[np.argmin(costs)])
            return [T_world_tcp, *(T_world_object @ T_object_tcp for T_world_object in route)]
        if self._phase == "leave":
            return [T_world_tcp, *self._back_off(state, T_world_tcp), self._T_world_home]
        return [T_world_tcp, T_world_tcp]

    def _way_to_grasp(self, state: CellState, T_world_tcp: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        T_world_object = state.T_world_body[self._job.object]
        grasps, goals = self._job.grasps(state), self._job.goals(state)
        Ts = grasps.Ts_object_tcp
        costs = np.min([self._job.cost(state, T_world_object @ Ts, goal @ Ts) for goal in goals], axis=0)
        self._T_object_tcp = Ts[np.argmin(costs + _COST_OF_WIDTH * grasps.widths)]
        T_world_grasp = T_world_object @ self._T_object_tcp
        T_world_before = T_world_grasp @ se3.translation(0, 0, -APPROACH)
        vias = self._back_off(state, T_world_tcp)
        if se3.distance(T_world_tcp, T_world_grasp)[0] > 2 * APPROACH:
            lowest = (vias or [T_world_tcp])[-1].copy()
            lowest[2, 3] = max(lowest[2, 3], T_world_before[2, 3])
            vias = [*vias, lowest]
        return [*vias, T_world_before, T_world_grasp]

    def _back_off(self, state: CellState, T_world_tcp: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Straight back from the object, if the gripper is about it."""
        distance, _, _ = self._nearest_grasp(state)
        return [T_world_tcp @ se3.translation(0, 0, -RETREAT)] if distance < APPROACH else []

    def _nearest_grasp(self, state: CellState) -> tuple[float, float, float]:
        """Distance [m], angle [rad] and width [m] of the grasp that the tool is nearest to."""
        grasps = self._job.grasps(state)
        Ts_world_grasp = state.T_world_body[self._job.object] @ grasps.Ts_object_tcp
        T_world_tcp = state.arms[self._job.arm].T_world_tcp
        distances, angles = se3.distance(np.broadcast_to(T_world_tcp, Ts_world_grasp.shape), Ts_world_grasp)
        i = np.argmin(distances + _METRES_PER_RADIAN * angles)
        return float(distances[i]), float(angles[i]), float(grasps.widths[i])


class SingleArmExpert:
    """The expert of a task that is one job."""

    def __init__(self, job: Job) -> None:
        self._arm, self._pick_and_place = job.arm, PickAndPlace(job)

    def command(self, state: CellState) -> dict[str, ArmCommand]:
        """Target of the job's arm; the other one waits."""
        return {self._arm: self._pick_and_place.command(state)}

    def vias(self, state: CellState) -> dict[str, list[Float[Array, "4 4"]]]:
        """What the last command heads for."""
        return {self._arm: self._pick_and_place.vias(state)}

    def done(self, state: CellState) -> bool:
        """Whether nothing is left to do."""
        return self._pick_and_place.done(state)


def _start(arm: ArmState) -> Float[Array, "4 4"]:
    """Where a new path begins: at the last command, so that the motion stays smooth, unless the arm is elsewhere."""
    distance, angle = se3.distance(arm.T_world_tcp, arm.T_world_target)
    return arm.T_world_target if distance < _LOST and angle < np.deg2rad(20) else arm.T_world_tcp
