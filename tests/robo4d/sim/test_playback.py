import numpy as np
import pytest

from robo4d.episodes.simulate import simulate
from robo4d.sim.cameras import sample_cameras
from robo4d.sim.labels import GRIPPER_LABELS, Label
from robo4d.sim.playback import shell_around, stage


def finger_px(camera, points_world):
    """Width of a finger, 20 mm, at each of the points [px]."""
    _, z = camera.project(points_world)
    return 0.02 * camera.intrinsics.fx / z


@pytest.mark.parametrize(("diagonal", "middle_px"), [(0.3, 4.0), (0.55, 4.0), (0.77, 2.86), (0.94, 2.34)])
def test_fingers_are_as_wide_as_they_can_be_with_all_work_in_the_picture(diagonal, middle_px):
    rng, side = np.random.default_rng(0), diagonal / np.sqrt(3)
    work = np.array([0.5, 0.0, 0.2]) + rng.uniform(-side / 2, side / 2, (5000, 3))
    cameras = sample_cameras(rng, 20, width=128, height=128, shell=shell_around(work.astype(np.float32)))
    widths = np.stack([finger_px(camera, work) for camera in cameras])
    assert np.median(widths) == pytest.approx(middle_px, rel=0.05)
    assert widths.min() >= middle_px / (1 + diagonal / 2), "at the far corner, seen from the nearest place, 1 m away"
    for camera in cameras:
        assert (np.abs(camera.project(work)[0] - 64) <= 64).all()


def test_cameras_see_the_object_at_the_start_and_the_gripper_that_works():
    scenery = stage("put_spatula_on_table")  # its crock hides most of the object
    demonstration = simulate(scenery.cell, seed=3, distribution="wide", rate_hz=2.0)
    cameras = scenery.sample_cameras(
        np.random.default_rng(0), 6, width=128, height=128, motion=demonstration.motion, scene=demonstration.scene
    )
    tools = demonstration.motion.T_world_tcp[:, 1, :3, 3].astype(float)
    widths = np.stack([finger_px(camera, tools) for camera in cameras])
    assert widths.min() > 2.9
    assert np.median(widths) > 3.5
    scenery.show(demonstration.scene, 0)
    labels = [scenery.renderer.labels(camera) for camera in cameras]
    assert min((image == Label.OBJECT).sum() for image in labels) >= 20
    assert min(np.isin(image, GRIPPER_LABELS["right"]).sum() for image in labels) >= 80
