import dataclasses

import numpy as np
import pytest
from box_scene import film

from robo4d.foresight import foreseen_pair, foreseen_stamp_ns
from robo4d.geometry import se3
from robo4d.rgbd import ArmPosture

DOWN = np.diag([1.0, -1.0, -1.0, 1.0])
PATH = np.stack([se3.translation(0.4, 0.02 * i, 0.3) @ DOWN for i in range(4)])
ARMS = {"left": ArmPosture.example()}


@pytest.fixture(scope="module")
def seen():
    """A video of two seconds, and the observation that it starts from."""
    video, pair, _ = film({"left": PATH})
    return dataclasses.replace(video, stamp_ns=pair.stamp_ns), pair


def test_the_end_of_a_plan_is_seen_by_the_same_cameras_as_the_video_shows_it(seen):
    video, pair = seen
    ahead = foreseen_pair(video, pair, time_s=float(video.times_s[-1]), arms=ARMS)
    for view, (frame, now) in enumerate(((ahead.n, pair.n), (ahead.m, pair.m))):
        np.testing.assert_array_equal(frame.rgb, video.rgb[view, -1])
        assert (frame.camera, frame.intrinsics) == (now.camera, now.intrinsics)
        np.testing.assert_array_equal(frame.T_world_camera, now.T_world_camera)
        points_world = se3.apply(now.T_world_camera, frame.pointmap().points)
        true_world = se3.apply(pair.n.T_world_camera, video.points[view, -1])
        known = video.valid[view, -1] & (frame.depth > 0)
        assert known.mean() > 0.5
        assert np.median(np.linalg.norm(points_world - true_world, axis=-1)[known]) < 2e-3
    assert ahead.foreseen == ARMS
    assert not pair.foreseen


def test_a_plan_that_ends_before_its_video_is_gone_on_from_there(seen):
    video, pair = seen
    early, late = (foreseen_pair(video, pair, time_s=float(t), arms=ARMS) for t in video.times_s[:2])
    np.testing.assert_array_equal(early.n.rgb, video.rgb[0, 0])
    np.testing.assert_array_equal(late.n.rgb, video.rgb[0, 1])


def test_its_age_counts_from_what_was_seen_and_its_stamp_is_its_own(seen):
    video, pair = seen
    stamps = [foreseen_pair(video, pair, time_s=float(t), arms=ARMS).stamp_ns for t in video.times_s]
    assert stamps == [foreseen_stamp_ns(pair.stamp_ns, frame) for frame in (1, 2, 3)]
    assert len({pair.stamp_ns, *stamps}) == 4
    assert max(stamps) - pair.stamp_ns < 1000


def test_nothing_is_predicted_from_a_prediction_of_a_prediction(seen):
    video, pair = seen
    ahead = foreseen_pair(video, pair, time_s=float(video.times_s[-1]), arms=ARMS)
    with pytest.raises(ValueError, match="starts from a prediction itself"):
        foreseen_pair(dataclasses.replace(video, stamp_ns=ahead.stamp_ns), ahead, time_s=0.5, arms=ARMS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"time_s": 9.0}, "must end in the video"), ({"time_s": 0.0}, "must end in the video"), ({"arms": {}}, "`arms`")],
)
def test_an_end_that_is_not_known_is_refused(seen, change, reason):
    with pytest.raises(ValueError, match=reason):
        foreseen_pair(*seen, **{"time_s": 1.0, "arms": ARMS} | change)
