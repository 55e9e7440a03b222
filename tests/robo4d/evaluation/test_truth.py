import numpy as np
import pytest

from robo4d.evaluation.truth import like, truth_of
from robo4d.geometry import Intrinsics
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.tracking.clips import TrueClip
from robo4d.video import PointmapVideo

LARGE = Intrinsics.from_fovy(45.0, width=16, height=16)


def video(intrinsics, times_s):
    shape = (2, len(times_s), intrinsics.height, intrinsics.width)
    depth = np.broadcast_to(1 + np.array(times_s, np.float32)[:, None, None], shape)
    return PointmapVideo(
        rgb=np.zeros((*shape, 3), np.uint8),
        points=intrinsics.backproject(depth),
        valid=np.ones(shape, bool),
        times_s=np.array(times_s, np.float32),
        intrinsics=(intrinsics, intrinsics),
        frame="n",
        stamp_ns=0,
    )


@pytest.fixture
def clip():
    """A wall that goes away at 1 m/s, and a gripper in the lower right quarter."""
    mask = np.zeros((2, 4, 16, 16), bool)
    mask[..., 8:, 8:] = True
    frame = RgbdFrame(
        rgb=np.zeros((16, 16, 3), np.uint8),
        depth=np.ones((16, 16), np.float32),
        intrinsics=LARGE,
        camera="n",
        stamp_ns=0,
        T_world_camera=np.eye(4),
    )
    return TrueClip(
        video=video(LARGE, [0.5, 1.0, 1.5]),
        pair=RgbdPair(n=frame, m=frame),
        T_n_m=np.eye(4),
        Ts_world_tcp={"left": np.stack([np.eye(4)] * 4)},
        opening_m={"left": np.array([0.0, 0.1, 0.2, 0.3])},
        joints={"left": np.zeros((4, 7))},
        masks={"left": mask},
        fingers={"left": mask},
    )


def test_a_clip_like_a_smaller_and_shorter_prediction_has_its_size_and_its_times(clip):
    small = LARGE.resized(width=8, height=4)
    truth = truth_of(like(clip, video(small, [1.0, 1.5])))
    assert truth.video.valid.shape == truth.observed.valid.shape == truth.gripper["left"].shape == (2, 2, 4, 8)
    np.testing.assert_allclose(truth.video.points[0, :, 0, 0, 2], [2.0, 2.5])
    assert truth.gripper["left"][0, 0].sum() == 2 * 4
    assert like(clip, video(small, [1.0, 1.5])).opening_m["left"].tolist() == [0.0, 0.2, 0.3]


def test_a_clip_like_a_prediction_of_its_own_kind_stays_as_it_is(clip):
    same = like(clip, clip.video)
    np.testing.assert_array_equal(same.video.points, clip.video.points)
    np.testing.assert_array_equal(same.pair.m.depth, clip.pair.m.depth)


def test_predictions_that_are_larger_or_of_other_times_are_refused(clip):
    with pytest.raises(ValueError, match="--size 32"):
        like(clip, video(LARGE.resized(width=32, height=16), [0.5]))
    with pytest.raises(ValueError, match="has frames at"):
        like(clip, video(LARGE, [0.7]))
