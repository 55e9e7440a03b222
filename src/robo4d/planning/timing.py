"""When the arms are where: one jerk-limited clock that drives all arms through the video.

All arms follow the same video time, as the demonstrations did: a gripper event of one arm stops both, since the other
may hold the same object or wait for it. The clock is the only thing that is timed. Between two stops its rate, and
the first two derivatives of it, are bounded so that no arm can exceed a limit anywhere in that part of the path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ruckig
from jaxtyping import Float
from numpy import ndarray as Array

_SHARE = 0.95
"""Part of each limit that the clock uses; the rest covers interpolation and the bounds between samples."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Quantities along the path (distances, joint positions) and the limits of their rates."""

    derivatives: Float[Array, "3 n k"]
    """First to third derivative by video time."""
    max_velocity: Float[Array, "n k"]
    max_acceleration: Float[Array, " k"]
    max_jerk: Float[Array, " k"]


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Bounds of the clock: of the video time that passes per second, and its derivatives."""

    rate: float
    """[s/s]"""
    acceleration: float
    """[1/s]"""
    jerk: float
    """[1/s^2]"""

    @classmethod
    def example(cls) -> "RateLimits":
        """Real time at most, reached within about a second."""
        return cls(rate=1.0, acceleration=1.5, jerk=10.0)


def rate_limits(demands: Sequence[Demand], max_rate: float) -> RateLimits:
    """Bounds under which every quantity x(u(t)) keeps its limits.

    With u the video time: dx/dt = x' u', d2x/dt2 = x'' u'^2 + x' u'', d3x/dt3 = x''' u'^3 + 3 x'' u' u'' + x' u'''.
    Each term gets an equal part of its limit.

    Args:
        demands: Samples of the part of the path.
        max_rate: Bound of the rate itself [s/s]: the motion is never faster than this multiple of the video.
    """
    tiny = 1e-12  # a quantity that stands still bounds nothing
    rate, acceleration, jerk = max_rate, np.inf, np.inf
    for d in demands:
        first, second, third = np.abs(d.derivatives) + tiny
        rate = min(
            rate,
            _SHARE * np.min(d.max_velocity / first),
            np.sqrt(_SHARE / 2 * np.min(d.max_acceleration / second)),
            np.cbrt(_SHARE / 3 * np.min(d.max_jerk / third)),
        )
    for d in demands:
        first, second, _ = np.abs(d.derivatives) + tiny
        acceleration = min(
            acceleration,
            _SHARE / 2 * np.min(d.max_acceleration / first),
            _SHARE / 9 * np.min(d.max_jerk / second) / rate,
        )
        jerk = min(jerk, _SHARE / 3 * np.min(d.max_jerk / first))
    # A hand that stands still would allow infinite values: change the rate over a tenth of a second at the fastest.
    return RateLimits(
        rate=float(rate), acceleration=float(min(acceleration, 10 * rate)), jerk=float(min(jerk, 100 * rate))
    )


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Video time over plan time, sampled at a fixed period."""

    times_s: Float[Array, " n"]
    """Plan time of each sample [s], from 0."""
    video_times_s: Float[Array, " n"]
    rates: Float[Array, " n"]
    """First derivative of the video time by plan time [s/s]."""
    accelerations: Float[Array, " n"]
    """Second derivative [1/s]."""
    stops_s: tuple[float, ...]
    """Plan time, on a sample, of the arrival at each stop, the start and the end among them [s]."""


def duration_s(stops_s: Sequence[float], limits: Sequence[RateLimits]) -> float:
    """Time that `clock` would be in motion [s], found without sampling it."""
    lengths = np.diff(np.array(stops_s))
    return sum(_rest_to_rest(float(length), bound).duration for length, bound in zip(lengths, limits, strict=True))


def clock(
    stops_s: Sequence[float], limits: Sequence[RateLimits], dwells_s: Sequence[float], *, period_s: float
) -> Clock:
    """The fastest clock that passes from stop to stop within the limits, and waits there.

    Args:
        stops_s: Video times at which the clock stands still [s], increasing; the first and last are its ends.
        limits: Bounds between one stop and the next.
        dwells_s: How long it waits at each stop [s].
        period_s: Distance of the samples [s].
    """
    samples: list[tuple[float, float, float]] = []
    arrivals: list[float] = []
    for index, stop in enumerate(stops_s):
        arrivals.append(len(samples) * period_s)
        samples += [(stop, 0.0, 0.0)] * (1 + round(dwells_s[index] / period_s))
        if index == len(limits):
            break
        part = _rest_to_rest(stops_s[index + 1] - stop, limits[index])
        steps = max(1, int(np.ceil(part.duration / period_s)))
        scale = part.duration / (steps * period_s)  # slowed down a little, to arrive on a sample
        for step in range(1, steps):
            (position,), (rate,), (acceleration,) = part.at_time(scale * step * period_s)
            samples.append((stop + position, scale * rate, scale**2 * acceleration))
    video_times, rates, accelerations = np.array(samples).T
    return Clock(
        times_s=period_s * np.arange(len(samples)),
        video_times_s=np.clip(video_times, stops_s[0], stops_s[-1]),
        rates=rates,
        accelerations=accelerations,
        stops_s=tuple(arrivals),
    )


def _rest_to_rest(length: float, limits: RateLimits) -> ruckig.Trajectory:
    """The fastest jerk-limited motion of a scalar over `length`, from rest to rest.

    Only start and target are given to Ruckig, never waypoints: its community edition sends those to a server.
    """
    problem = ruckig.InputParameter(1)
    problem.current_position, problem.target_position = [0.0], [length]
    problem.max_velocity, problem.max_acceleration, problem.max_jerk = (
        [limits.rate],
        [limits.acceleration],
        [limits.jerk],
    )
    trajectory = ruckig.Trajectory(1)
    result = ruckig.Ruckig(1).calculate(problem, trajectory)
    if result not in (ruckig.Result.Working, ruckig.Result.Finished):
        raise ValueError(f"no jerk-limited motion over {length} s of video within {limits}: {result}")
    return trajectory
