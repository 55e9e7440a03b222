"""One execution of one plan: where on the path the arms are, and how fast they pass along it.

The plan's own clock is passed through at a rate between 0 (paused) and 1 (as planned), the same for all arms. The
rate changes with bounded acceleration and jerk, so that starting, pausing, stopping and a change of speed are smooth
and never leave the path. At a gripper event the clock stands still until the gripper is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.execution.jerk_limited import toward
from robo4d.execution.path import PlanPath
from robo4d.execution.targets import ArmTarget, JointCourse
from robo4d.geometry import se3
from robo4d.plan import GripperEvent

_BLEND_SPEED = 0.05
"""Speed at most [m/s] at which a difference to the start vanishes; three times that in rotation [rad/s], and six times
in the joints."""
_COURSE_PERIOD_S = 0.02
"""Between the points of a joint course."""


@dataclass(frozen=True, kw_only=True)
class RateConfig:
    """How fast the passage along the path may change. Rates are shares of the planned speed."""

    acceleration: float = 4.0
    """[1/s]: a stop from full speed takes 0.35 s. At 0.2 m/s it adds 0.8 m/s^2 to the plan's own."""
    jerk: float = 40.0
    """[1/s^2]"""

    def __post_init__(self) -> None:
        """Refuse rates that never change."""
        if not min(self.acceleration, self.jerk) > 0:
            raise ValueError(f"acceleration and jerk of the rate must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class PathRate:
    """The speed along the path, as a share of the planned one."""

    rate: float = 0.0
    acceleration: float = 0.0
    """[1/s]"""

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves and nothing is about to."""
        return abs(self.rate) < 1e-9 and abs(self.acceleration) < 1e-9

    def toward(self, target: float, config: RateConfig, period_s: float) -> tuple[float, "PathRate"]:
        """Plan time that passes in a period while the rate goes to `target` [s], and the rate at its end."""
        displacement, rate, acceleration = toward(
            np.array([self.rate]),
            np.array([self.acceleration]),
            np.array([target]),
            max_acceleration=np.array([config.acceleration]),
            max_jerk=np.array([config.jerk]),
            period_s=period_s,
        )
        return max(0.0, float(displacement[0])), PathRate(rate=float(rate[0]), acceleration=float(acceleration[0]))


class PlanRun:
    """One execution, from the pose last commanded to the end of the plan."""

    def __init__(
        self,
        path: PlanPath,
        events: Sequence[GripperEvent],
        start: Mapping[str, ArmTarget],
        *,
        config: RateConfig,
        period_s: float,
    ) -> None:
        """Prepare to start.

        Args:
            path: The plan's motion.
            events: The plan's gripper events, in the order of time, at standstills.
            start: What the arms were last commanded. The difference to the plan's start vanishes smoothly.
            config: Bounds of the rate.
            period_s: Time from tick to tick [s].
        """
        self._path, self._events, self._config, self._period_s = path, list(events), config, period_s
        self._offsets = {name: _Offset.between(start[name], path.target(name, 0.0)) for name in path.arms}
        self._blend_s = max((offset.duration_s for offset in self._offsets.values()), default=0.0)
        self._speed = PathRate()
        self._time_s = 0.0
        self._blended_s = 0.0
        self.waiting = False
        """Whether the clock stands at a gripper event that `tick` gave and `release` has not ended."""

    @property
    def at_rest(self) -> bool:
        """Whether the arms do not move, neither along the path nor onto it."""
        return self._speed.at_rest

    @property
    def progress(self) -> float:
        """Share of the plan that is done."""
        return self._time_s / self._path.duration_s if self._path.duration_s else float(self.done)

    @property
    def done(self) -> bool:
        """Whether the end of the plan is reached and no gripper has to act."""
        return not self._events and not self.waiting and self._time_s >= self._path.duration_s and self._blended

    def tick(self, speed: float) -> tuple[GripperEvent, ...]:
        """Pass a period, at a rate that goes to `speed`; gives the gripper commands that are due."""
        step_s, self._speed = self._speed.toward(speed, self._config, self._period_s)
        self._blended_s += step_s
        stop_s = self._next_stop_s
        if not self.waiting:
            self._time_s = min(self._time_s + step_s, stop_s)
        if self.waiting or speed == 0 or self._time_s < stop_s or not self._blended:
            return ()
        due = tuple(event for event in self._events if event.time_s <= self._time_s)
        self._events = self._events[len(due) :]
        self.waiting = bool(due)
        return due

    def release(self) -> None:
        """The grippers are done: go on, without waiting for the time that the plan allowed them."""
        self.waiting = False
        self._time_s = min(self._path.standstill_end(self._time_s), self._next_stop_s)

    def targets(self) -> dict[str, ArmTarget]:
        """Where the arms of the plan are to be now."""
        share = self._offset_share(self._blended_s)
        return {
            name: offset.applied(self._path.target(name, self._time_s), share) for name, offset in self._offsets.items()
        }

    def course(self, speed: float) -> dict[str, JointCourse]:
        """Where the joints go from now until the next stop, if the rate goes to `speed` and stays there."""
        state, time_s, blended_s = self._speed, self._time_s, self._blended_s
        rows = [(time_s, state.rate, state.acceleration, blended_s)]
        while not self.waiting and time_s < self._next_stop_s and not (speed == 0 and state.at_rest):
            step_s, state = state.toward(speed, self._config, _COURSE_PERIOD_S)
            time_s, blended_s = min(time_s + step_s, self._next_stop_s), blended_s + step_s
            rows.append((time_s, state.rate, state.acceleration, blended_s))
        times_s, rates, accelerations, blended = np.array(rows).T
        share = np.array([self._offset_share(b) for b in blended])[:, None]
        courses = {}
        for name, offset in self._offsets.items():
            q, dq, ddq = self._path.joints(name, times_s)
            courses[name] = JointCourse(
                times_s=_COURSE_PERIOD_S * np.arange(len(rows)),
                joints=q + share * offset.joints,
                velocities=dq * rates[:, None],
                accelerations=ddq * rates[:, None] ** 2 + dq * accelerations[:, None],
            )
        return courses

    @property
    def _next_stop_s(self) -> float:
        return min([event.time_s for event in self._events[:1]] + [self._path.duration_s])

    @property
    def _blended(self) -> bool:
        return self._blended_s >= self._blend_s

    def _offset_share(self, blended_s: float) -> float:
        """1 at the start, 0 after the blend, with two derivatives that vanish at both ends."""
        s = min(blended_s / self._blend_s, 1.0) if self._blend_s else 1.0
        return 1 - s**3 * (10 - 15 * s + 6 * s**2)


@dataclass(frozen=True, kw_only=True)
class _Offset:
    """The last command relative to a plan's start, in world axes."""

    position: Float[Array, "3"]
    rotation: Float[Array, "3"]
    joints: Float[Array, "7"]

    @classmethod
    def between(cls, last: ArmTarget, start: ArmTarget) -> "_Offset":
        R_last, R_start = last.T_world_tcp[:3, :3], start.T_world_tcp[:3, :3]
        known = last.joints is not None and start.joints is not None
        return cls(
            position=last.T_world_tcp[:3, 3] - start.T_world_tcp[:3, 3],
            rotation=Rotation.from_matrix(R_last @ R_start.T).as_rotvec(),
            joints=np.asarray(last.joints) - np.asarray(start.joints) if known else np.zeros(7),
        )

    @property
    def duration_s(self) -> float:
        """For the blend of degree 5, whose peak speed is 1.875 times its mean speed [s]."""
        size = float(
            max(np.linalg.norm(self.position), np.linalg.norm(self.rotation) / 3, np.abs(self.joints).max() / 6)
        )
        return max(0.5, 1.875 * size / _BLEND_SPEED) if size > 1e-9 else 0.0

    def applied(self, target: ArmTarget, share: float) -> ArmTarget:
        """The target with a share of the offset."""
        if share == 0:
            return target
        R = Rotation.from_rotvec(share * self.rotation).as_matrix() @ target.T_world_tcp[:3, :3]
        return ArmTarget(
            T_world_tcp=se3.pose(R, target.T_world_tcp[:3, 3] + share * self.position),
            joints=None if target.joints is None else target.joints + share * self.joints,
        )
