import numpy as np

from robo4d.episodes.simulate import simulate
from robo4d.sim.labels import GRIPPER_LABELS, Label
from robo4d.sim.playback import stage


def test_cameras_see_the_object_at_the_start_and_the_gripper_that_works():
    scenery = stage("put_spatula_on_table")  # its crock hides most of the object
    demonstration = simulate(scenery.cell, seed=3, distribution="wide", rate_hz=2.0)
    cameras = scenery.sample_cameras(
        np.random.default_rng(0), 6, width=128, height=128, motion=demonstration.motion, scene=demonstration.scene
    )
    scenery.show(demonstration.scene, 0)
    labels = [scenery.renderer.labels(camera) for camera in cameras]
    assert min((image == Label.OBJECT).sum() for image in labels) >= 20
    assert min(np.isin(image, GRIPPER_LABELS["right"]).sum() for image in labels) >= 80
