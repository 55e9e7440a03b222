import dataclasses

import numpy as np
import pytest

from robo4d.pipeline import Observation, PlanReader
from robo4d.track import GripperTrack, Reason
from robo4d.tracking.plan_head import doubt, doubted_readout, fuse
from robo4d.tracking.readout import Readout
from robo4d.video import PointmapVideo

TOLD = dataclasses.replace(GripperTrack.example(), confidence=np.full(5, 0.6))


def seen(offsets_m=(0, 0, 0, 0, 0), confidence=0.9, **changes):
    """What the tracker sees: the same motion, each pose aside by so much, NaN where lost."""
    Ts = TOLD.Ts_world_tcp.copy()
    Ts[:, 1, 3] += offsets_m
    found = np.isfinite(offsets_m)
    values = {"Ts_world_tcp": Ts, "confidence": np.where(found, confidence, 0.0), "inlier": found}
    return dataclasses.replace(TOLD, **values | changes)


def test_readings_that_agree_meet_by_their_confidences_and_support_each_other():
    fused = fuse(seen((0.01,) * 5), TOLD)
    np.testing.assert_allclose(fused.Ts_world_tcp[:, 1, 3] - TOLD.Ts_world_tcp[:, 1, 3], 0.01 * 0.9 / 1.5)
    np.testing.assert_allclose(fused.confidence, 1 - 0.1 * 0.4)
    assert fused.inlier.all()


def test_readings_that_contradict_each_other_are_not_followed():
    fused = fuse(seen((0, 0, 0.03, 0, 0)), TOLD)
    assert fused.inlier.tolist() == [True, True, False, True, True]
    assert fused.confidence[2] == pytest.approx(0.9 * 0.6)


def test_where_the_tracker_sees_nothing_the_plan_is_followed_with_less_confidence():
    fused = fuse(seen((0, np.nan, 0, 0, 0)), TOLD)
    np.testing.assert_allclose(fused.Ts_world_tcp[1], TOLD.Ts_world_tcp[1])
    assert fused.confidence[1] == pytest.approx(0.3)
    assert fused.inlier.all()


def test_the_generator_decides_when_a_gripper_acts_and_the_tracker_measures_how_far():
    tracked = seen(open=np.ones(5, bool), opening_m=np.array([0.079, 0.079, np.nan, 0.03, 0.03]))
    fused = fuse(tracked, TOLD)
    np.testing.assert_array_equal(fused.open, TOLD.open)
    np.testing.assert_allclose(fused.opening_m, [0.079, 0.079, TOLD.opening_m[2], 0.03, 0.03])


def test_where_neither_knows_the_gripper_the_tracker_says_why():
    hidden = ("", Reason.OCCLUDED, "", "", "")
    unsure = dataclasses.replace(TOLD, inlier=np.array([True, False, True, True, True]))
    fused = fuse(seen((0, np.nan, 0, 0, 0), reasons=hidden), unsure)
    assert fused.inlier.tolist() == [True, False, True, True, True]
    assert fused.reasons == hidden


def test_the_tracker_is_less_sure_where_the_generator_contradicts_it():
    tracked = seen((0, np.nan, 0.03, 0.01, 0))
    doubted = doubt(tracked, TOLD)
    np.testing.assert_allclose(doubted.confidence, [0.9, 0, 0.9 * 0.4 / (1 - 0.9 * 0.6), 0.9, 0.9])
    assert doubted.confidence[2] < 0.8
    np.testing.assert_array_equal(doubted.Ts_world_tcp, tracked.Ts_world_tcp)
    np.testing.assert_array_equal(doubted.inlier, tracked.inlier)
    certain = dataclasses.replace(TOLD, confidence=np.ones(5))
    assert doubt(seen((0, 0, 0.03, 0, 0), confidence=1.0), certain).confidence.tolist() == [1, 1, 0, 1, 1]


def test_an_arm_that_the_generator_does_not_tell_of_stays_as_it_is():
    tracked = Readout(tracks={"left": seen((0.03,) * 5)}, calibration=None)
    assert doubted_readout(tracked, {}).tracks["left"] is tracked.tracks["left"]


def test_readings_of_different_videos_are_refused():
    with pytest.raises(ValueError, match="same video"):
        fuse(seen(stamp_ns=1), TOLD)


def test_a_reader_believes_the_generator_or_says_where_the_video_contradicts_it():
    told, shown = {"left": TOLD}, (PointmapVideo.example(), Observation.example())
    alone = PlanReader()(*shown, told)
    assert alone.tracks == told
    tracked = Readout(tracks={"left": seen((0, np.nan, 0.03, 0, 0))}, calibration=None)
    fused = PlanReader(lambda video, observation, told: tracked)(*shown, told)
    assert fused.tracks["left"].reasons == ("", "", Reason.CONTRADICTED, "", "")
