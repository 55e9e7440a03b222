import dataclasses

import box_scene
import numpy as np
import pytest
from cell_film import film

from robo4d.geometry import se3
from robo4d.sim.state import ARMS
from robo4d.track import GripperTrack
from robo4d.tracking import GripperPrior, GripperRenderer
from robo4d.tracking.masks import gripper_masks, projected_masks
from robo4d.tracking.panda import panda_gripper


class Repeats:
    """A segmenter for which nothing moves."""

    def segment(self, rgb, prompt):
        return np.repeat(prompt[None], len(rgb), axis=0)


@pytest.mark.gl
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


def test_a_gripper_is_drawn_where_it_was_tracked_but_not_where_something_hides_it_or_nobody_vouches_for_it():
    hands, width = box_scene.path(4), [0.08, 0.08, 0.04, 0.08]
    eye = box_scene.CAMERAS[0].T_world_camera
    middle = eye[:3, 3] + 0.7 * (hands[1][:3, 3] - eye[:3, 3])
    wall = box_scene.Box((-0.3, -0.3, -0.01), (0.3, 0.3, 0.01), se3.pose(eye[:3, :3], middle))
    video, pair, _ = box_scene.film({"left": hands}, opening_m=width, extra=[[], [wall], [], []])
    track = dataclasses.replace(
        GripperTrack.example(),
        times_s=box_scene.PERIOD_S * np.arange(4),
        Ts_world_tcp=hands @ box_scene.MODEL.T_hand_tcp,
        confidence=np.ones(4),
        inlier=np.array([True, True, True, False]),
        view=np.full(4, -1),
        opening_m=np.array([0.08, np.nan, 0.04, 0.08]),
        open=np.ones(4, bool),
    )
    masks = projected_masks({"left": track}, video, pair, renderer=GripperRenderer(box_scene.MODEL))["left"]
    assert masks.shape == (2, 4, 128, 128)
    for view, camera in enumerate(box_scene.CAMERAS):
        for t in (0, 2):
            hand = box_scene.depth_image(box_scene.gripper(hands[t], width[t], forearm=False), camera) > 0
            assert masks[view, t].sum() > 100
            assert not (masks[view, t] & ~hand).any()
    assert not masks[0, 1].any()
    assert masks[1, 1].any()
    assert not masks[:, 3].any()
