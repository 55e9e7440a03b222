import numpy as np
import pytest
from cell_film import film

from robo4d.geometry import se3
from robo4d.sim.state import ARMS
from robo4d.tracking import GripperPrior, GripperRenderer
from robo4d.tracking.masks import gripper_masks
from robo4d.tracking.panda import panda_gripper

pytestmark = pytest.mark.gl


class Repeats:
    """A segmenter for which nothing moves."""

    def segment(self, rgb, prompt):
        return np.repeat(prompt[None], len(rgb), axis=0)


def test_the_segmenter_is_asked_where_the_robot_has_its_grippers():
    scene = film()
    priors = {
        arm: GripperPrior(T_world_tcp=state.T_world_tcp, opening_m=state.gripper_width)
        for arm, state in scene.states[0].arms.items()
    }
    priors["lost"] = GripperPrior(T_world_tcp=se3.translation(0, 0, 50), opening_m=0.08)
    masks = gripper_masks(Repeats(), scene.video, scene.pair, priors=priors, renderer=GripperRenderer(panda_gripper()))
    moments = 1 + len(scene.video.times_s) - int(scene.video.times_s[0] == 0)
    for arm in ARMS:
        assert masks[arm].shape == (2, moments, *scene.video.rgb.shape[2:4])
        assert masks[arm][:, 0].any(axis=(1, 2)).any()
    assert not (masks["left"] & masks["right"]).any()
    assert not masks["lost"].any()
