import dataclasses

import numpy as np
import pytest

from robo4d.evaluation import (
    Truth,
    cross_view_iou,
    depth_errors,
    mask_iou,
    mean_cross_view_iou,
    score_video,
    split_by_arm,
    still_video,
)
from robo4d.evaluation.appearance import psnr, ssim
from robo4d.geometry import Intrinsics, se3
from robo4d.rgbd import RgbdPair
from robo4d.video import PointmapVideo

CAMERA = Intrinsics.from_fovy(45.0, width=64, height=48)


def test_depth_errors_are_those_of_the_definition():
    true = np.array([1.0, 2.0, 0.0, 4.0])
    predicted = np.array([1.1, 3.0, 1.0, 0.0])
    errors = depth_errors(predicted, true)
    assert errors.abs_rel == pytest.approx((0.1 + 0.5) / 2)
    assert errors.delta1 == 0.5
    assert errors.missing == pytest.approx(1 / 3)
    strict = depth_errors(predicted, true, count_missing=True)
    assert strict.abs_rel == pytest.approx((0.1 + 0.5 + 1) / 3)
    assert strict.delta1 == pytest.approx(1 / 3)


def test_silence_is_no_score():
    silent = depth_errors(np.zeros(4), np.ones(4))
    assert np.isnan([silent.abs_rel, silent.delta1, silent.missing]).all()


def test_psnr_of_a_known_error():
    image = np.full((2, 8, 8, 3), 100, np.uint8)
    assert psnr(image, image) == float("inf")
    assert psnr(image + np.uint8(5), image) == pytest.approx(20 * np.log10(255 / 5))


def test_ssim_falls_with_lost_structure_and_not_with_a_little_brightness():
    image = np.random.default_rng(0).integers(0, 200, (1, 32, 32, 3), dtype=np.uint8)
    assert ssim(image, image) == pytest.approx(1)
    assert ssim(image + np.uint8(10), image) > 0.95
    assert ssim(np.full_like(image, 100), image) < 0.2


def gripper_at(u, v, z, size=6):
    """A patch of points at (u, v) of camera n, and its mask; view m has the same pixels and, for now, points."""
    depth = np.full((2, CAMERA.height, CAMERA.width), z)
    mask = np.zeros(depth.shape, bool)
    mask[:, v : v + size, u : u + size] = True
    return CAMERA.backproject(depth), mask


@pytest.mark.parametrize("robust", [False, True])
def test_points_where_the_other_view_sees_the_gripper_agree_fully(robust):
    points, mask = gripper_at(20, 10, 0.8)
    assert cross_view_iou(points, mask, CAMERA, robust=robust) == pytest.approx(1)


def test_a_shift_by_half_its_width_leaves_a_third():
    points, mask = gripper_at(20, 10, 0.8)
    points[1] += np.array([3 * 0.8 / CAMERA.fx, 0, 0])
    assert cross_view_iou(points, mask, CAMERA, robust=False) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("view", [0, 1])
def test_one_stray_point_ruins_the_plain_box_and_not_the_robust_one(view):
    points, mask = gripper_at(20, 10, 0.8, size=12)
    mask[view, 15, 45] = True
    assert cross_view_iou(points, mask, CAMERA, robust=False) < 0.6
    assert cross_view_iou(points, mask, CAMERA, robust=True) > 0.9


def test_a_gripper_that_is_missing_in_one_view_is_no_agreement():
    points, mask = gripper_at(20, 10, 0.8)
    for view in range(2):
        half = mask.copy()
        half[view] = False
        assert cross_view_iou(points, half, CAMERA, robust=True) == 0


@pytest.fixture
def two_hands():
    """Half a metre apart, seen by two views from the same place: points, all grippers, and each arm's."""
    (points, left), (_, right) = gripper_at(5, 10, 0.8, size=12), gripper_at(45, 25, 0.8, size=12)
    return points[:, None], (left | right)[:, None], {"left": left[:, None], "right": right[:, None]}


@pytest.mark.parametrize("robust", [False, True])
def test_two_hands_in_the_right_places_agree_fully(two_hands, robust):
    points, gripper, true = two_hands
    tcps = {arm: points[0, mask[0]].mean(axis=0, keepdims=True) for arm, mask in true.items()}
    found = split_by_arm(gripper, points, np.ones_like(gripper), tcps)
    for arm, mask in true.items():
        np.testing.assert_array_equal(found[arm], mask)
    assert mean_cross_view_iou(points, found, true, CAMERA, robust=robust) == pytest.approx(1)


def test_each_hand_is_compared_by_itself(two_hands):
    points, _, true = two_hands
    points[1] = np.where(true["left"][1][..., None], points[1] + [0, 0.3, 0], points[1])
    assert mean_cross_view_iou(points, true, true, CAMERA, robust=True) == pytest.approx(0.5)


def test_a_hand_counts_where_both_views_truly_show_it(two_hands):
    points, _, true = two_hands
    nothing = np.zeros_like(true["left"])
    hidden = true["right"].copy()
    hidden[1] = False
    assert mean_cross_view_iou(points, true, true | {"right": hidden}, CAMERA, robust=True) == pytest.approx(1)
    assert mean_cross_view_iou(points, true | {"left": nothing}, true, CAMERA, robust=True) == pytest.approx(0.5)
    assert np.isnan(mean_cross_view_iou(points, true, {"right": hidden}, CAMERA, robust=True))


def test_pixels_beside_a_hand_and_without_a_point_go_with_it(two_hands):
    points, gripper, true = two_hands
    tcps = {arm: points[0, mask[0]].mean(axis=0, keepdims=True) for arm, mask in true.items()}
    valid = np.ones_like(gripper)
    valid[..., 10:12, :] = False
    spill = np.zeros_like(gripper)
    spill[..., 10:22, 17:19] = True  # to the right of the left hand ...
    points = np.where(spill[..., None], tcps["right"] + [0, 0, 0.5], points)  # ... and behind the right one
    found = split_by_arm(gripper | spill, points, valid, tcps)
    np.testing.assert_array_equal(found["left"], true["left"] | spill)
    np.testing.assert_array_equal(found["right"], true["right"])


def test_hands_far_from_where_they_are_told_to_be_go_with_the_nearest(two_hands):
    points, gripper, true = two_hands
    tcps = {arm: points[0, mask[0]].mean(axis=0, keepdims=True) - [0, 0, 0.4] for arm, mask in true.items()}
    found = split_by_arm(gripper, points, np.ones_like(gripper), tcps)
    np.testing.assert_array_equal(found["right"], true["right"])


def test_overlap_of_masks_is_that_of_images_that_show_something():
    true = np.zeros((2, 10, 10), bool)
    true[0, :4, :4] = True
    found = np.zeros_like(true)
    found[0, :4, :2] = found[1, 5:, 5:] = True
    assert mask_iou(found, true) == pytest.approx(0.5)
    assert np.isnan(mask_iou(found, np.zeros_like(true)))


@pytest.fixture
def truth():
    """A patch that comes 10 cm nearer each frame, in front of a wall; both views look from the same place."""
    base = RgbdPair.example()
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    depth = np.ones((48, 64), np.float32)
    frame = dataclasses.replace(base.n, rgb=rgb, depth=depth, intrinsics=CAMERA, T_world_camera=np.eye(4))
    pair = RgbdPair(n=frame, m=dataclasses.replace(frame, camera="m"))
    depths = np.repeat(depth[None, None], 2, 0).repeat(3, 1).copy()
    gripper = np.zeros(depths.shape, bool)
    gripper[:, :, 10:30, 20:40] = True
    for t in range(3):
        depths[:, t, 10:30, 20:40] -= 0.1 * (t + 1)
    video = PointmapVideo(
        rgb=np.broadcast_to(rgb, (2, 3, 48, 64, 3)).copy(),
        points=CAMERA.backproject(depths),
        valid=depths > 0,
        times_s=np.array([0.5, 1, 1.5], np.float32),
        intrinsics=(CAMERA, CAMERA),
        frame="n",
        stamp_ns=0,
    )
    return Truth(video=video, observed=still_video(pair, video), gripper={"left": gripper})


def test_the_truth_itself_scores_perfectly(truth):
    score = score_video(truth.video, truth)
    assert score.abs_rel_n == score.abs_rel_moved == score.gripper_point_mm == 0
    assert score.delta1_m == score.miou == pytest.approx(1)
    assert score.delta1_all_n == score.miou_robust == pytest.approx(1)
    assert score.cross_view_mm < 0.1
    assert score.psnr == float("inf")


def test_a_mask_that_spills_over_costs_overlap_and_the_true_ones_tell_what_it_was(truth):
    spilt = {arm: mask.copy() for arm, mask in truth.gripper.items()}
    spilt["left"][1, :, 10, 60] = True
    score = score_video(truth.video, truth, spilt)
    assert score.miou < 0.6
    assert score.miou_true_masks == pytest.approx(1)


def test_silence_counts_where_all_pixels_do(truth):
    valid = truth.video.valid.copy()
    valid[0, :, :, :16] = False
    score = score_video(dataclasses.replace(truth.video, valid=valid), truth)
    assert (score.abs_rel_n, score.delta1_n) == (0, 1)
    assert (score.abs_rel_all_n, score.delta1_all_n) == (pytest.approx(0.25), pytest.approx(0.75))
    assert score.abs_rel_all_m == 0


def test_a_video_of_colours_only_has_no_geometry_to_score(truth):
    nothing = dataclasses.replace(
        truth.video, points=np.zeros_like(truth.video.points), valid=np.zeros_like(truth.video.valid)
    )
    score = score_video(nothing, truth)
    assert np.isnan([score.abs_rel_n, score.delta1_m, score.cross_view_mm, score.gripper_point_mm, score.miou]).all()
    assert (score.abs_rel_all_n, score.delta1_all_m) == (1, 0)
    assert score.psnr == float("inf")


def test_a_turned_camera_shows_in_the_pose_across_views(truth):
    angle = np.deg2rad(3.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    points = truth.video.points.copy()
    points[1] = se3.apply(se3.translation(0.02, 0, 0) @ turn, points[1].astype(float))  # about the optical axis
    score = score_video(dataclasses.replace(truth.video, points=points), truth)
    assert score.cross_view_deg == pytest.approx(3.0, abs=0.1)
    assert score.cross_view_mm == pytest.approx(20.0, abs=1.0)
    assert score.miou < 0.95


def test_repeating_the_observation_is_right_where_nothing_moves_and_wrong_elsewhere(truth):
    score = score_video(truth.observed, truth)
    assert score.abs_rel_still == pytest.approx(0, abs=1e-6)
    assert score.abs_rel_moved == pytest.approx(np.mean([0.1 / 0.9, 0.2 / 0.8, 0.3 / 0.7]), rel=0.01)
    assert score.gripper_point_mm > 150


def test_a_prediction_of_another_length_is_refused(truth):
    short = dataclasses.replace(
        truth.video,
        rgb=truth.video.rgb[:, :2],
        points=truth.video.points[:, :2],
        valid=truth.video.valid[:, :2],
        times_s=truth.video.times_s[:2],
    )
    with pytest.raises(ValueError, match="same views, times and size"):
        score_video(short, truth)


def test_a_still_video_of_two_cameras_puts_view_m_into_the_frame_of_view_n(truth):
    frame = dataclasses.replace(
        RgbdPair.example().n,
        rgb=truth.video.rgb[0, 0],
        depth=np.ones((48, 64), np.float32),
        intrinsics=CAMERA,
        T_world_camera=se3.translation(0, 0, 1),
    )
    pair = RgbdPair(n=frame, m=dataclasses.replace(frame, T_world_camera=se3.translation(0.25, 0, 1)))
    still = still_video(pair, truth.video)
    np.testing.assert_allclose(still.points[1, 0] - still.points[0, 0], np.full((48, 64, 3), [0.25, 0, 0]), atol=1e-6)
