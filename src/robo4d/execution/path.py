"""A plan as curves that can be evaluated at any moment of its own clock."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.execution.targets import ArmTarget
from robo4d.geometry import se3
from robo4d.plan import ArmPlan, Plan

_REST = 1e-6
"""Up to such velocities [m/s, rad/s] and accelerations an arm is at rest: rounding leaves some."""


class PlanPath:
    """The motion of each arm over the plan's clock, as `Plan.resampled` defines it."""

    def __init__(self, plan: Plan) -> None:
        """The path of a plan that has a motion."""
        self.duration_s = plan.duration_s
        self._plan = plan
        self._curves = {name: arm.curves(plan.times_s) for name, arm in plan.arms.items()}

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms that move."""
        return tuple(self._curves)

    def target(self, arm: str, time_s: float) -> ArmTarget:
        """Where the arm is at a time of the plan's clock [s]."""
        at_s, curves = np.clip([time_s], 0, self.duration_s), self._curves[arm]
        T_world_tcp = se3.pose(curves.rotation.rotations(at_s), curves.position(at_s))
        return ArmTarget(T_world_tcp=T_world_tcp[0], joints=curves.joints(at_s)[0])

    def joints(
        self, arm: str, times_s: Float[Array, " n"]
    ) -> tuple[Float[Array, "n 7"], Float[Array, "n 7"], Float[Array, "n 7"]]:
        """Joint angles and their first two derivatives by the plan's clock."""
        position, velocity, acceleration = (self._curves[arm].joints(times_s, order) for order in range(3))
        return position, velocity, acceleration

    def samples(self, period_s: float) -> tuple[Float[Array, " n"], dict[str, ArmPlan]]:
        """The motion of all arms at a fixed period, and its times [s]."""
        times_s = np.linspace(0, self.duration_s, 1 + int(np.ceil(self.duration_s / period_s)))
        return times_s, {name: curves.at(times_s) for name, curves in self._curves.items()}

    def is_at_rest(self, time_s: float) -> bool:
        """Whether no arm moves at a moment of the plan's clock."""
        return all(_speed(curves.at(np.array([time_s])))[0] <= _REST for curves in self._curves.values())

    def standstill_end(self, time_s: float) -> float:
        """The last moment of the plan's clock until which no arm moves, from a moment at which none does [s]."""
        times_s = self._plan.times_s
        speed = np.max([_speed(arm) for arm in self._plan.arms.values()], axis=0)
        moving = np.flatnonzero((times_s > time_s) & (speed > _REST))
        return max(time_s, float(times_s[moving[0] - 1])) if len(moving) else self.duration_s


def _speed(arm: ArmPlan) -> Float[Array, " n"]:
    """The greatest component of velocity and acceleration, of the TCP and of the joints."""
    rates = (arm.velocities, arm.accelerations, arm.joint_velocities, arm.joint_accelerations)
    return np.abs(np.concatenate(rates, axis=1)).max(axis=1)
