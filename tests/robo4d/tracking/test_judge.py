import dataclasses

import numpy as np
import pytest
from box_scene import CAMERAS, FLOOR, MODEL, ROOM, Box, film, frame, gripper, path
from scipy.stats import rankdata

from robo4d import Camera, RgbdFrame, se3
from robo4d.tracking import Evidence, GripperRenderer, Reason
from robo4d.tracking.degrade import Degradation, degrade_depth
from robo4d.tracking.judge import Judge, background

RENDERER = GripperRenderer(MODEL)
T_WORLD_HAND = path(1)[0]


def _judge(frames, T_world_hand, *, backgrounds=None, masks=None) -> Evidence:
    judge = Judge(RENDERER, 0.015, backgrounds)
    return judge.judge(T_world_hand, 0.08, judge.views(frames, masks))


def _frames(*extra: Box):
    return [frame([*ROOM, *gripper(T_WORLD_HAND, 0.08), *extra], camera) for camera in CAMERAS]


def _mask(camera: Camera):
    return RENDERER.render(se3.inverse(camera.T_world_camera) @ T_WORLD_HAND, 0.08, camera.intrinsics).part


def test_the_true_pose_is_fully_confident():
    assert _judge(_frames(), T_WORLD_HAND).confidence > 0.95


@pytest.mark.parametrize("twist", [[0.05, 0, 0, 0, 0, 0], [0, 0, -0.05, 0, 0, 0], [0, 0, 0, 0, 0, 0.6]])
def test_a_pose_that_is_off_is_not_trusted_and_called_lost(twist):
    evidence = _judge(_frames(), T_WORLD_HAND @ se3.exp(np.array(twist, float)))
    assert evidence.confidence < 0.5
    assert evidence.weakness is Reason.LOST


def test_what_hides_the_gripper_is_named():
    wall = Box((0.2, -0.4, 0.0), (0.22, 0.4, 0.6))
    evidence = _judge(_frames(wall)[:1], T_WORLD_HAND)
    assert evidence.confidence < 0.2
    assert evidence.weakness is Reason.OCCLUDED


def test_a_view_that_sees_nothing_does_not_spoil_what_the_other_sees():
    wall = Box((0.2, -0.4, 0.0), (0.22, 0.4, 0.6))
    one_hidden = [_frames(wall)[0], _frames()[1]]
    assert _judge(one_hidden, T_WORLD_HAND).confidence > 0.5


def test_a_gripper_outside_the_image_is_named():
    T = T_WORLD_HAND.copy()
    T[:3, 3] += [0, 1.5, 0]
    evidence = _judge([frame([*ROOM, *gripper(T, 0.08)], CAMERAS[0])], T)
    assert evidence.confidence == 0
    assert evidence.weakness is Reason.OUT_OF_VIEW


def test_a_gripper_is_trusted_as_long_as_most_of_it_is_in_the_image():
    half = {"agreeing": 100, "still": 0, "violated": 0, "hidden": 0, "unmeasured": 0}
    assert Evidence(**half, outside=80).confidence > 0.5
    beyond = Evidence(**half, outside=120)
    assert (beyond.confidence < 0.5, beyond.weakness) == (True, Reason.OUT_OF_VIEW)


def test_missing_depth_is_named():
    image = _frames()[0]
    image.depth[:] = 0
    evidence = _judge([image], T_WORLD_HAND)
    assert evidence.confidence == 0
    assert evidence.weakness is Reason.NO_DEPTH


def test_a_pose_sunk_into_the_table_is_unmasked_by_the_background():
    empty = frame(ROOM, CAMERAS[0])
    flat = se3.translation(0, 0, -0.025) @ se3.exp(np.array([0, 0, 0, 0, np.pi / 2, 0]))  # a cheek flush with the table
    taken_in = _judge([empty], flat)
    aware = _judge([empty], flat, backgrounds=[empty.depth])
    assert taken_in.confidence > 0.45
    assert aware.confidence < 0.35


def test_a_gripper_that_rests_all_the_time_is_spared_from_the_background():
    frames = _frames()[:1]
    judge = Judge(RENDERER, 0.015, [frames[0].depth])
    before = judge.judge(T_WORLD_HAND, 0.08, judge.views(frames)).confidence
    judge.spare(frames, T_WORLD_HAND, 0.08)
    assert before < 0.5
    assert judge.judge(T_WORLD_HAND, 0.08, judge.views(frames)).confidence > 0.9


def test_the_background_is_what_lies_behind_all_that_moved_despite_flying_pixels():
    video, pair, _ = film({"left": path(11, start=(0.0, -0.4, 0.35), step=(0.0, 0.16, 0.0))})
    depths = np.concatenate([pair.n.depth[None], video.points[0, ..., 2]])
    depths[3, 5, 5] = 50.0
    far = background(depths)
    still = frame([*ROOM, Box((0.1, 0.1, 0.0), (0.2, 0.25, 0.1))], CAMERAS[0]).depth
    assert far[5, 5] < 20
    assert np.mean(np.abs(far - still) < 1e-3) > 0.97


def test_what_a_slow_arm_covers_all_the_time_is_no_background():
    depths = np.linspace(0.9, 1.2, 11, dtype=np.float32)[:, None, None] * np.ones((1, 9, 3), np.float32)
    depths[2:, 3:6] = 1.5  # uncovered in the beginning
    depths[2:, 6:] = 0.8  # a hand that comes, and rests
    np.testing.assert_allclose(background(depths)[:, 0], np.repeat([0, 1.5, 0], 3))


def test_what_is_before_something_too_far_to_be_measured_is_no_background():
    depths = np.ones((11, 9, 9), np.float32)
    depths[:2, :3, :3] = 0  # nothing to measure until something comes
    depths[4, 7, 7] = 0  # a hole
    far = background(depths)
    assert not far[:3, :3].any()
    assert far.sum() == 72


def test_with_a_mask_confidence_is_depth_f1_times_silhouette_overlap():
    masks = [(_mask(camera) > 0) & (_mask(camera) < 4) for camera in CAMERAS]
    assert _judge(_frames(), T_WORLD_HAND, masks=masks).confidence > 0.99
    half = [m & (np.arange(128) < np.median(np.nonzero(m)[1])) for m in masks]
    # Half of the mask is missing: overlap 1/2, F1 2 * 1/2 / (1 + 1/2).
    assert _judge(_frames(), T_WORLD_HAND, masks=half).confidence == pytest.approx(1 / 3, abs=0.05)


def test_a_gripper_that_agrees_with_its_mask_but_is_half_outside_the_image_is_not_trusted():
    seen = dataclasses.replace(
        Evidence.example(), masked=400, masked_rendered=400, masked_both=400, masked_agreeing=400
    )
    assert seen.confidence == 1
    assert dataclasses.replace(seen, outside=400).confidence == 0.5


def test_of_a_gripper_that_is_cut_off_by_three_quarters_no_mask_vouches_for_more_than_one():
    seen = {"agreeing": 100, "still": 0, "violated": 0, "hidden": 0, "unmeasured": 0}
    mask = {name: 100 for name in ("masked", "masked_rendered", "masked_both", "masked_agreeing")}
    cut_off = Evidence(**seen, outside=300, **mask)
    assert (cut_off.attainable, cut_off.confidence) == (0.25, 0.25)
    assert Evidence(**seen, outside=300).attainable == 1


@pytest.mark.parametrize("masked", [False, True])
def test_confidence_tells_right_poses_from_wrong_ones(masked):
    """Area under the ROC curve of `within 25 mm and 15 degrees`, in noisy images."""
    rng = np.random.default_rng(0)
    frames = _frames()
    for f in frames:
        f.depth[:] = degrade_depth(f.depth[None], Degradation.typical(0.008), rng)[0]
    masks = [(_mask(camera) > 0) & (_mask(camera) < 4) for camera in CAMERAS] if masked else None
    confidences, right = [], []
    for _ in range(150):
        scale = rng.choice([0.3, 1.5])
        offset = np.concatenate([rng.normal(0, 0.025, 3), rng.normal(0, 0.1, 3)]) * scale
        metres, radians = np.linalg.norm(offset[:3]), np.linalg.norm(offset[3:])
        confidences.append(_judge(frames, T_WORLD_HAND @ se3.exp(offset), masks=masks).confidence)
        right.append(metres < 0.025 and radians < np.deg2rad(15))
    right, ranks = np.array(right), rankdata(confidences)
    auc = (ranks[right].sum() - right.sum() * (right.sum() + 1) / 2) / (right.sum() * (~right).sum())
    assert auc > 0.95


def test_images_without_a_camera_pose_are_refused():
    with pytest.raises(ValueError, match="needs the camera's pose"):
        Judge(RENDERER, 0.015).views([RgbdFrame.example()])


def test_another_number_of_images_than_backgrounds_is_refused():
    frames = _frames()
    with pytest.raises(ValueError, match="2 images need as many backgrounds"):
        Judge(RENDERER, 0.015, [frames[0].depth]).views(frames)


def test_a_hand_that_is_cut_off_but_stands_still_is_trusted_and_one_that_slides_along_the_border_is_not():
    T = path(1, start=(0.0, -0.1, 0.61))[0]
    low = T @ se3.translation(0.0, 0.0, 0.04)

    def evidence(T_seen):
        judge = Judge(RENDERER, 0.015)
        judge.spare([frame([*ROOM, *gripper(T, 0.08)], camera) for camera in CAMERAS], T, 0.08)
        return judge.judge(T, 0.08, judge.views([frame([*ROOM, *gripper(T_seen, 0.08)], camera) for camera in CAMERAS]))

    assert evidence(T).confidence > 0.9
    assert evidence(low).confidence < 0.6


@pytest.mark.parametrize(
    ("room", "T_seen", "unchanged"),
    [
        ([FLOOR], T_WORLD_HAND, True),
        ([*ROOM, Box((-0.1, -0.05, 0.0), (0.1, 0.1, 0.3))], T_WORLD_HAND, False),
        (ROOM, T_WORLD_HAND @ se3.translation(0.02, 0, 0), False),
    ],
    ids=["the table behind it is gone", "something comes up beside it", "it has moved"],
)
def test_a_hand_that_stands_still_is_told_by_itself_and_not_by_what_is_behind_it(room, T_seen, unchanged):
    judge = Judge(RENDERER, 0.015)
    judge.spare(_frames(), T_WORLD_HAND, 0.08)
    seen = judge.views([frame([*room, *gripper(T_seen, 0.08)], camera) for camera in CAMERAS])
    assert judge.unchanged(0.08, seen) == unchanged
