import ast
from pathlib import Path

import numpy as np
import pytest

import robo4d.planning
from robo4d.planning.timing import Demand, RateLimits, clock, duration_s, rate_limits

LIMITS = RateLimits.example()


def test_the_clock_passes_all_stops_at_rest():
    ticks = clock([0.0, 1.2, 2.0], [LIMITS, LIMITS], [0.0, 0.5, 0.0], period_s=0.01)
    for stop, arrival in zip([0.0, 1.2, 2.0], ticks.stops_s, strict=True):
        sample = round(arrival / 0.01)
        assert ticks.video_times_s[sample] == pytest.approx(stop, abs=1e-12)
        assert ticks.rates[sample] == ticks.accelerations[sample] == 0


def test_the_clock_waits_at_a_stop():
    ticks = clock([0.0, 1.2, 2.0], [LIMITS, LIMITS], [0.0, 0.5, 0.0], period_s=0.01)
    first = round(ticks.stops_s[1] / 0.01)
    assert np.all(ticks.video_times_s[first : first + 51] == 1.2)
    assert ticks.video_times_s[first + 52] > 1.2


def test_the_clock_keeps_its_limits_and_never_runs_back():
    ticks = clock([0.0, 3.0], [LIMITS], [0.0, 0.0], period_s=0.001)
    assert np.all(np.diff(ticks.video_times_s) >= 0)
    assert ticks.rates.max() <= LIMITS.rate + 1e-9
    assert np.abs(ticks.accelerations).max() <= LIMITS.acceleration + 1e-9
    assert np.abs(np.diff(ticks.accelerations)).max() / 0.001 <= LIMITS.jerk + 1e-6


def test_the_duration_is_known_beforehand():
    ticks = clock([0.0, 1.2, 2.0], [LIMITS, LIMITS], [0.0, 0.0, 0.0], period_s=0.001)
    assert ticks.times_s[-1] == pytest.approx(duration_s([0.0, 1.2, 2.0], [LIMITS, LIMITS]), abs=0.003)


def test_rate_limits_bound_every_derivative_of_every_quantity():
    rng = np.random.default_rng(0)
    demand = Demand(
        derivatives=rng.normal(size=(3, 40, 2)),
        max_velocity=rng.uniform(0.5, 1, (40, 2)),
        max_acceleration=np.array([0.7, 1.0]),
        max_jerk=np.array([4.0, 3.0]),
    )
    bound = rate_limits([demand], max_rate=5.0)
    first, second, third = np.abs(demand.derivatives)
    assert np.all(first * bound.rate <= demand.max_velocity)
    assert np.all(second * bound.rate**2 + first * bound.acceleration <= demand.max_acceleration)
    jerk = third * bound.rate**3 + 3 * second * bound.rate * bound.acceleration + first * bound.jerk
    assert np.all(jerk <= demand.max_jerk)


def test_what_stands_still_is_only_bound_by_the_video():
    still = Demand(
        derivatives=np.zeros((3, 5, 1)), max_velocity=np.ones((5, 1)), max_acceleration=np.ones(1), max_jerk=np.ones(1)
    )
    assert rate_limits([still], max_rate=0.8).rate == 0.8


def test_waypoints_are_never_given_to_ruckig():
    # Its community edition sends intermediate positions to a server: https://github.com/pantor/ruckig/issues/112
    package = Path(next(iter(robo4d.planning.__path__))).parent
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.arg
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute | ast.keyword)
    }
    assert "target_position" in names
    assert not {name for name in names if name and ("intermediate" in name or "waypoint" in name)}
