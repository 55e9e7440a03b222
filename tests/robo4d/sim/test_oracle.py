import dataclasses

import numpy as np
import pytest

from robo4d import RgbdFrame, RgbdPair
from robo4d.foresight import foreseen_pair
from robo4d.geometry import se3
from robo4d.interfaces import Cancelled
from robo4d.rgbd import ArmPosture
from robo4d.sim.cameras import mounted_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.oracle import OracleConfig, OracleGenerator
from robo4d.sim.render import Renderer
from robo4d.tracking.degrade import Degradation

TASK = "store_cereal_box_under_shelf"
SHORT = OracleConfig(frames=3)

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def live():
    cell = Cell(TASK)
    expert, state = cell.task.expert(), cell.reset(seed=4)
    for _ in range(75):  # on the way to the box
        state = cell.step(expert.command(state))
    return cell


@pytest.fixture(scope="module")
def oracle(live):
    return OracleGenerator(TASK, lambda stamp_ns: live.snapshot(), SHORT)


@pytest.fixture(scope="module")
def pair(live):
    return observe(live)


def observe(cell):
    frames = []
    with Renderer(cell.model) as renderer:
        renderer.update(cell.data)
        for name, camera in zip("nm", mounted_cameras(width=64, height=48), strict=True):
            rgb, depth = renderer.rgbd(camera)
            frames.append(
                RgbdFrame(
                    rgb=rgb,
                    depth=depth,
                    intrinsics=camera.intrinsics,
                    camera=name,
                    stamp_ns=7,
                    T_world_camera=camera.T_world_camera,
                )
            )
    return RgbdPair(n=frames[0], m=frames[1])


def test_the_video_shows_what_the_expert_does_next(live, oracle, pair):
    video = oracle.generate(pair, seed=0)
    states = oracle.foreseen
    expert, state = live.task.expert(), live.state()
    before = live.snapshot()
    for _ in range(75):
        state = live.step(expert.command(state))
    after = observe(live)
    live.restore(before)
    np.testing.assert_allclose(states[-1].arms["left"].joints, state.arms["left"].joints, atol=1e-9)
    assert np.linalg.norm(states[-1].arms["left"].T_world_tcp[:3, 3] - states[0].arms["left"].T_world_tcp[:3, 3]) > 0.05
    for view, frame in enumerate((after.n, after.m)):
        assert (np.abs(video.rgb[view, -1].astype(int) - frame.rgb).max(axis=-1) <= 1).mean() > 0.99
        depth = se3.apply(se3.inverse(frame.T_world_camera) @ after.n.T_world_camera, video.points[view, -1])[..., 2]
        np.testing.assert_allclose(depth[frame.depth > 0], frame.depth[frame.depth > 0], atol=1e-3)


def test_the_live_cell_is_not_touched(live, oracle, pair):
    before = live.snapshot()
    oracle.generate(pair, seed=0)
    np.testing.assert_array_equal(live.snapshot().physics, before.physics)


def test_times_names_and_cameras_are_those_of_the_observation(oracle, pair):
    video = oracle.generate(pair, seed=0)
    np.testing.assert_allclose(video.times_s, [0.5, 1.0, 1.5])
    assert (video.frame, video.stamp_ns) == ("n", 7)
    assert video.intrinsics == (pair.n.intrinsics, pair.m.intrinsics)


def test_it_goes_on_from_a_frame_of_its_last_video_as_the_expert_would(oracle, pair):
    first = oracle.generate(pair, seed=0)
    end = oracle.foreseen[-1]
    arms = {arm: ArmPosture(joints=s.joints, opening_m=s.gripper_width) for arm, s in end.arms.items()}
    ahead = foreseen_pair(first, pair, time_s=1.5, arms=arms)
    second = oracle.generate(ahead, seed=0)
    np.testing.assert_allclose(oracle.foreseen[0].arms["left"].joints, end.arms["left"].joints, atol=1e-9)
    assert (
        np.linalg.norm(oracle.foreseen[-1].arms["left"].T_world_tcp[:3, 3] - end.arms["left"].T_world_tcp[:3, 3]) > 0.02
    )
    assert second.stamp_ns == ahead.stamp_ns
    oracle.generate(pair, seed=0)
    np.testing.assert_allclose(oracle.foreseen[-1].arms["left"].joints, end.arms["left"].joints, atol=1e-9)


def test_the_seed_selects_the_faults(live, pair):
    config = dataclasses.replace(SHORT, frames=1, degradation=Degradation.typical(0.005))
    oracle = OracleGenerator(TASK, lambda stamp_ns: live.snapshot(), config)
    one, again, other = (oracle.generate(pair, seed=seed).points for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_it_stops_between_frames_when_asked_to(oracle, pair):
    steps = []

    def progress(step, total):
        steps.append((step, total))
        return step < 1

    with pytest.raises(Cancelled):
        oracle.generate(pair, seed=0, progress=progress)
    assert steps == [(0, 3), (1, 3)]


def test_a_camera_at_an_unknown_place_is_refused(oracle, pair):
    lost = dataclasses.replace(pair, m=dataclasses.replace(pair.m, T_world_camera=None))
    with pytest.raises(ValueError, match="must know its pose"):
        oracle.generate(lost, seed=0)


@pytest.mark.parametrize("change", [{"frames": 0}, {"period_s": 0.25}, {"period_s": 0.0}])
def test_frames_between_control_ticks_are_refused(change):
    with pytest.raises(ValueError, match="whole control ticks"):
        OracleConfig(**change)
