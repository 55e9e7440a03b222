import dataclasses

import numpy as np
import pytest
from box_scene import CAMERAS, MODEL, PERIOD_S, Box, camera, film, path

from robo4d import se3
from robo4d.tracking import (
    GripperPrior,
    GripperRenderer,
    Limits,
    OpenRule,
    Readout,
    ReadoutConfig,
    Reason,
    track_video,
)
from robo4d.tracking.degrade import Degradation, degrade_video

RENDERER = GripperRenderer(MODEL)
T_N_M = se3.inverse(CAMERAS[0].T_world_camera) @ CAMERAS[1].T_world_camera
HIDING = (Box((0.3, -0.5, 0.0), (0.32, 0.6, 0.6)), Box((-0.4, -0.52, 0.0), (0.6, -0.5, 0.6)))
"""One wall before each camera."""


def _track(paths, *, config=None, seed=0, noise_m=0.004, priors=None, **scene) -> Readout:
    video, pair, known = film(paths, **scene)
    video = degrade_video(video, Degradation.typical(noise_m), T_n_m=T_N_M, rng=np.random.default_rng(seed))
    return track_video(video, pair, priors=priors or known, renderer=RENDERER, config=config)


def _errors(readout, arm, Ts_world_hand):
    """Of each pose [m, deg]; infinite where there is none."""
    found, true = readout.tracks[arm].Ts_world_tcp, Ts_world_hand @ MODEL.T_hand_tcp
    there = np.isfinite(found).all(axis=(1, 2))
    metres, radians = se3.distance(np.where(there[:, None, None], found, np.eye(4)), true)
    return np.where(there, metres, np.inf), np.where(there, np.rad2deg(radians), np.inf)


@pytest.mark.parametrize("fusion", ["joint", "best_view"])
def test_both_arms_are_followed_in_the_world(fusion):
    paths = {"left": path(5, start=(0.0, 0.12, 0.35)), "right": path(5, start=(-0.05, -0.3, 0.3))}
    readout = _track(paths, config=ReadoutConfig(fusion=fusion))
    for arm, true in paths.items():
        track = readout.tracks[arm]
        metres, degrees = _errors(readout, arm, true)
        assert track.inlier.all()
        assert metres.max() < 0.02
        assert degrees.max() < 10
        assert track.arm == arm
        assert track.open.all()
        assert set(track.view) <= ({-1} if fusion == "joint" else {0, 1})
        np.testing.assert_allclose(track.times_s, PERIOD_S * np.arange(5))


def test_without_the_cameras_pose_the_tracks_are_in_the_reference_cameras_frame():
    true = path(3)
    video, pair, _ = film({"left": true})
    pair = dataclasses.replace(pair, n=dataclasses.replace(pair.n, T_world_camera=None))
    T_n_world = se3.inverse(CAMERAS[0].T_world_camera)
    prior = GripperPrior(T_world_tcp=T_n_world @ true[0] @ MODEL.T_hand_tcp, opening_m=0.08)
    readout = track_video(video, pair, priors={"left": prior}, renderer=RENDERER)
    metres, _ = _errors(readout, "left", T_n_world @ true)
    assert metres.max() < 0.01


def test_the_second_cameras_pose_is_found_without_being_told():
    video, pair, priors = film({"left": path(3)})
    pair = dataclasses.replace(pair, m=dataclasses.replace(pair.m, T_world_camera=None))
    calibration = track_video(video, pair, priors=priors, renderer=RENDERER).calibration
    metres, radians = se3.distance(calibration.T_a_b, T_N_M)
    assert metres < 1e-3
    assert radians < 1e-3
    assert calibration.residual_m < 1e-3


def test_a_second_view_that_agrees_on_nothing_is_left_out():
    true = path(3)
    video, pair, priors = film({"left": true})
    video.points[1] = np.random.default_rng(0).normal(0, 0.5, video.points[1].shape)
    readout = track_video(video, pair, priors=priors, renderer=RENDERER)
    assert readout.calibration.inlier_share < 0.1
    assert (readout.tracks["left"].view == 0).all()
    assert _errors(readout, "left", true)[0].max() < 0.01


def test_an_observation_of_another_size_is_resampled():
    true = path(3)
    video, _, priors = film({"left": true})
    large = film({"left": true[:2]}, cameras=[camera([1.0, 0.3, 0.7], 192), camera([0.4, -1.0, 0.6], 192)])[1]
    readout = track_video(video, large, priors=priors, renderer=RENDERER)
    assert readout.tracks["left"].inlier.all()
    assert _errors(readout, "left", true)[0].max() < 0.01


def test_a_video_that_repeats_the_observation_has_it_once():
    video, pair, priors = film({"left": path(4)})
    repeated = dataclasses.replace(video, times_s=video.times_s - video.times_s[0])
    track = track_video(repeated, pair, priors=priors, renderer=RENDERER).tracks["left"]
    np.testing.assert_allclose(track.times_s, PERIOD_S * np.arange(3))


def test_the_opening_is_followed_and_debounced():
    opening_m = [0.08, 0.08, 0.03, 0.03, 0.03, 0.08]
    readout = _track({"left": path(6, step=(0.005, 0.01, -0.005))}, opening_m=opening_m)
    np.testing.assert_allclose(readout.tracks["left"].searched_opening_m, opening_m, atol=0.0151)
    np.testing.assert_array_equal(readout.tracks["left"].open, [True, True, False, False, False, False])


def test_the_papers_rule_decides_on_the_centroids_of_the_fingers():
    config = ReadoutConfig(opening="centroids", open_rule=OpenRule(threshold_m=0.08, pads_threshold_m=0.065))
    opening_m = [0.08, 0.08, 0.03, 0.03]
    readout = _track({"left": path(4, step=(0.005, 0.01, -0.005))}, opening_m=opening_m, config=config)
    np.testing.assert_array_equal(readout.tracks["left"].open, [True, True, False, False])
    np.testing.assert_array_equal(readout.tracks["left"].opening_m, readout.tracks["left"].centroids_m)


def test_a_gripper_that_leaves_the_image_is_named():
    true = path(5, start=(0.0, 0.1, 0.4), step=(0.0, 0.05, 0.05))
    true[3:, 1, 3] += 1.5  # out of both images
    readout = _track({"left": true})
    assert readout.tracks["left"].inlier[:2].all()
    assert not readout.tracks["left"].inlier[3:].any()
    assert readout.tracks["left"].confidence[3:].max() < 0.5
    gone = path(2, start=(3.0, 0.0, 0.4))
    assert _track({"left": gone}).tracks["left"].reasons == (Reason.OUT_OF_VIEW, Reason.OUT_OF_VIEW)


@pytest.mark.parametrize("fusion", ["joint", "best_view"])
def test_a_gripper_that_is_hidden_is_named_and_found_again(fusion):
    true = path(6, step=(0.0, 0.01, 0.0))
    extra = [[], [], HIDING, HIDING, [], []]
    readout = _track({"left": true}, extra=extra, config=ReadoutConfig(fusion=fusion))
    track = readout.tracks["left"]
    np.testing.assert_array_equal(track.inlier, [True, True, False, False, True, True])
    assert set(readout.tracks["left"].reasons[2:4]) == {Reason.OCCLUDED}
    assert _errors(readout, "left", true)[0][track.inlier].max() < 0.02


def test_the_longer_a_gripper_was_lost_the_more_it_takes_to_vouch_for_it_again():
    extra = [[], [], HIDING, HIDING, [], []]
    config = ReadoutConfig(limits=Limits(doubt_per_s=0.6))
    track = _track({"left": path(6, step=(0.0, 0.01, 0.0))}, extra=extra, config=config).tracks["left"]
    np.testing.assert_array_equal(track.inlier, [True, True, False, False, False, False])
    assert track.confidence[2:].max() < 0.6


def test_a_gripper_cut_off_by_the_border_in_the_observation_is_where_the_robots_state_has_it():
    true = path(5, start=(0.0, -0.1, 0.61), step=(0.0, 0.0, -0.04))
    readout = _track({"left": true})
    assert readout.tracks["left"].inlier[[0, 3, 4]].all()
    assert _errors(readout, "left", true)[0][[0, 3, 4]].max() < 0.02


@pytest.mark.parametrize("fusion", ["joint", "best_view"])
def test_what_one_camera_does_not_see_the_other_does(fusion):
    true = path(5, step=(0.0, 0.015, 0.0))
    extra = [[], HIDING[:1], HIDING[:1], HIDING[:1], HIDING[:1]]
    readout = _track({"left": true}, extra=extra, config=ReadoutConfig(fusion=fusion))
    assert readout.tracks["left"].inlier.all()
    assert _errors(readout, "left", true)[0].max() < 0.02


def test_a_jump_is_never_followed_silently():
    true = path(5, step=(0.0, 0.0, 0.0))
    true[2:, :3, 3] += [0.0, 0.2, 0.0]  # 20 cm in a quarter of a second
    readout = _track({"left": true})
    track = readout.tracks["left"]
    assert track.inlier[:2].all()
    assert track.reasons[2] in (Reason.JUMP, Reason.LOST)
    wrong = _errors(readout, "left", true)[0] > 0.025
    assert not (track.inlier & wrong).any()


def test_a_jump_that_is_found_is_called_one():
    true = path(4, step=(0.0, 0.0, 0.0))
    true[2:, :3, 3] += [0.0, 0.2, 0.0]
    readout = _track({"left": true}, config=ReadoutConfig(speed_m_s=0.6))  # searches far enough to find it
    assert readout.tracks["left"].reasons[2] is Reason.JUMP
    assert readout.tracks["left"].confidence[2] < 0.5


@pytest.mark.parametrize("offset", [[0.0, 0.06, 0.0, 0, 0, 0], [0.0, 0.0, 0.0, 0, 0, 0.4], [0.0, 0.0, 0.0, 0.4, 0, 0]])
def test_a_wrong_pose_from_the_robots_state_is_noticed(offset):
    true = path(3)
    wrong = GripperPrior(T_world_tcp=true[0] @ se3.exp(np.array(offset)) @ MODEL.T_hand_tcp, opening_m=0.08)
    readout = _track({"left": true}, priors={"left": wrong})
    assert readout.tracks["left"].reasons[0] in (Reason.PRIOR_MISMATCH, Reason.LOST, Reason.OCCLUDED)
    assert readout.tracks["left"].confidence[0] < 0.5


def test_the_gripper_of_the_other_arm_is_not_taken_for_the_own():
    """The right one vanishes while the left one passes its place."""
    left = path(7, start=(0.0, 0.3, 0.35), step=(0.0, -0.07, 0.0))
    right = path(7, start=(0.0, -0.15, 0.35), step=(0.0, 0.0, 0.0))
    right[2:, 1, 3] -= 3.0
    readout = _track({"left": left, "right": right}, config=ReadoutConfig(speed_m_s=0.2))
    assert readout.tracks["left"].inlier.all()
    assert not readout.tracks["right"].inlier[2:].any()
    assert readout.tracks["right"].confidence[2:].max() < 0.5
    assert Reason.OTHER_ARM in readout.tracks["right"].reasons


def test_the_same_video_gives_the_same_tracks():
    paths = {"left": path(3)}
    one, other = _track(paths), _track(paths)
    np.testing.assert_array_equal(one.tracks["left"].Ts_world_tcp, other.tracks["left"].Ts_world_tcp)
    np.testing.assert_array_equal(one.tracks["left"].confidence, other.tracks["left"].confidence)


@pytest.mark.parametrize("change", [{"tolerance_m": 0.0}, {"speed_m_s": -1.0}])
def test_readings_that_find_nothing_are_refused(change):
    with pytest.raises(ValueError, match="must be positive"):
        ReadoutConfig(**change)
