import math

import numpy as np
import pytest

from robo4d.episodes.perturb import Perturbation, PerturbationConfig
from robo4d.episodes.simulate import check_rate
from robo4d.geometry import se3
from robo4d.sim.state import CONTROL_PERIOD_S, ArmCommand

MINUTE = round(60 / CONTROL_PERIOD_S)


def offsets(config, seed=0, ticks=MINUTE):
    """Displacement of the executed commands from a constant one, (tick, xyz) [m], and (tick,) [rad]."""
    disturb, command = Perturbation(config, np.random.default_rng(seed)), ArmCommand.example()
    executed = np.stack([disturb.execute({"left": command})["left"].T_world_tcp for _ in range(ticks)])
    _, angles = se3.distance(executed, np.broadcast_to(command.T_world_tcp, executed.shape))
    return executed[:, :3, 3] - command.T_world_tcp[:3, 3], angles


def test_noise_has_the_configured_spread_and_is_smooth():
    config = PerturbationConfig(push=(0, 0))
    shifts, _ = offsets(config)
    np.testing.assert_allclose(shifts.std(axis=0), config.noise[0], rtol=0.3)
    assert np.abs(np.diff(shifts, axis=0)).mean() < 0.3 * config.noise[0]
    lag = round(config.noise_time_s / CONTROL_PERIOD_S)
    x = shifts[:, 0]
    assert np.corrcoef(x[:-lag], x[lag:])[0, 1] == pytest.approx(math.exp(-1), abs=0.25)


def test_pushes_reach_the_configured_displacement_and_fade_again():
    config = PerturbationConfig(noise=(0, 0))
    shifts, angles = offsets(config)
    size = np.linalg.norm(shifts, axis=-1)
    assert size.max() == pytest.approx(config.push[0], rel=0.01)
    assert angles.max() == pytest.approx(config.push[1], rel=0.01)
    pushed = size > 0
    count = int(np.diff(pushed.astype(int)).clip(min=0).sum())
    expected = 60 / (config.push_interval_s + config.push_duration_s)
    assert 0.5 * expected < count < 2 * expected


def test_the_demonstrator_is_told_once_when_a_push_ends():
    config = PerturbationConfig(noise=(0, 0))
    disturb, command = Perturbation(config, np.random.default_rng(0)), ArmCommand.example()
    strength, ends = [], []
    for _ in range(MINUTE):
        executed = disturb.execute({"left": command})["left"].T_world_tcp
        strength.append(np.linalg.norm(executed[:3, 3] - command.T_world_tcp[:3, 3]))
        ends.append(disturb.push_ends)
    faded = [i for i in range(1, MINUTE) if strength[i - 1] > 0 and strength[i] == 0]
    assert faded
    assert [i for i, end in enumerate(ends) if end] == faded


def test_the_gripper_is_never_disturbed_and_the_same_seed_disturbs_alike():
    a, b, other = (Perturbation(PerturbationConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    command = ArmCommand.example()
    for _ in range(50):
        x, y, z = (p.execute({"right": command})["right"] for p in (a, b, other))
        assert x.gripper_width == command.gripper_width
        np.testing.assert_array_equal(x.T_world_tcp, y.T_world_tcp)
    assert not np.allclose(x.T_world_tcp, z.T_world_tcp)


def test_a_disturbed_start_stays_within_its_limits():
    config, home = PerturbationConfig(), ArmCommand.example().T_world_tcp
    disturb = Perturbation(config, np.random.default_rng(0))
    starts = np.stack([disturb.start(home) for _ in range(500)])
    _, angles = se3.distance(starts, np.broadcast_to(home, starts.shape))
    shifts = np.abs(starts[:, :3, 3] - home[:3, 3])
    assert 0.9 * config.start[0] < shifts.max() <= config.start[0]
    assert 0.9 * config.start[1] < angles.max() <= config.start[1] + 1e-9


@pytest.mark.parametrize(("rate_hz", "ticks"), [(50, 1), (10, 5), (5, 10), (1, 50)])
def test_rates_that_divide_the_control_rate_are_allowed(rate_hz, ticks):
    assert check_rate(rate_hz) == ticks


@pytest.mark.parametrize("rate_hz", [0, -1, 30, 100, 7])
def test_other_rates_are_refused(rate_hz):
    with pytest.raises(ValueError, match="10, 5, 2, 1 Hz"):
        check_rate(rate_hz)
