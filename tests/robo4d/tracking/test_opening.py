import dataclasses

import numpy as np
import pytest
from box_scene import CAMERAS, DOWNWARDS, MODEL, ROOM, Box, frame, gripper

from robo4d import se3
from robo4d.tracking import GripperRenderer, OpenRule
from robo4d.tracking.degrade import Degradation, degrade_depth
from robo4d.tracking.judge import Judge
from robo4d.tracking.opening import OpeningMeter

RENDERER = GripperRenderer(MODEL)
METER = OpeningMeter(RENDERER, 0.015)
T_WORLD_HAND = se3.translation(0.0, -0.05, 0.35) @ DOWNWARDS @ se3.exp(np.array([0, 0, 0, 0, 0, 0.4]))


def _views(opening_m: float, *extra: Box, noise_m: float = 0.004):
    rng = np.random.default_rng(0)
    frames = [frame([*ROOM, *gripper(T_WORLD_HAND, opening_m), *extra], camera) for camera in CAMERAS]
    degradation = Degradation(noise_m=noise_m)
    depths = [degrade_depth(f.depth[None], degradation, rng)[0].astype(np.float32) for f in frames]
    return Judge(RENDERER, 0.015).views(
        [dataclasses.replace(f, depth=depth) for f, depth in zip(frames, depths, strict=True)]
    )


def _held(width_m: float) -> Box:
    return Box((-0.02, -width_m / 2, 0.07), (0.02, width_m / 2, 0.16), T_WORLD_HAND)


@pytest.mark.parametrize("opening_m", [0.0, 0.02, 0.04, 0.06, 0.08])
def test_the_search_reads_the_distance_between_the_pads(opening_m):
    assert METER.search(T_WORLD_HAND, _views(opening_m)) == pytest.approx(opening_m, abs=0.0101)


@pytest.mark.parametrize("width_m", [0.03, 0.05])
def test_what_is_held_does_not_change_the_reading(width_m):
    assert METER.search(T_WORLD_HAND, _views(width_m, _held(width_m))) == pytest.approx(width_m, abs=0.0101)


def test_what_has_been_read_is_not_read_again_unless_the_images_are_others(monkeypatch):
    meter, views, asked = OpeningMeter.of(RENDERER, 0.015), _views(0.04), []
    assert OpeningMeter.of(RENDERER, 0.015) is meter
    read = meter._read
    monkeypatch.setattr(meter, "_read", lambda *args: asked.append(args) or read(*args))
    first = meter.search(T_WORLD_HAND, views)
    assert meter.search(T_WORLD_HAND.copy(), _views(0.04)) == first
    assert len(asked) == 1
    closed = meter.search(T_WORLD_HAND, _views(0.0))
    assert len(asked) == 2
    assert closed < first - 0.02


def test_the_search_forgives_a_pose_that_is_a_little_off():
    off = T_WORLD_HAND @ se3.exp(np.array([0.003, 0.002, 0.003, 0.03, 0.0, 0.03]))
    assert METER.search(off, _views(0.04)) == pytest.approx(0.04, abs=0.0151)


def test_hidden_fingers_give_no_reading():
    cover = Box((-0.06, -0.12, 0.05), (0.06, 0.12, 0.2), T_WORLD_HAND)
    views = _views(0.04, cover)
    assert np.isnan(METER.search(T_WORLD_HAND, views))
    assert np.isnan(METER.centroids(T_WORLD_HAND, 0.04, views))


@pytest.mark.parametrize(("opening_m", "low", "high"), [(0.0, 0.0, 0.06), (0.08, 0.07, 0.08)])
def test_closed_fingers_are_where_a_cover_hides_them_and_open_ones_stick_out(opening_m, low, high):
    cover = Box((-0.06, -0.045, 0.05), (0.06, 0.045, 0.2), T_WORLD_HAND)
    assert low <= METER.search(T_WORLD_HAND, _views(opening_m, cover)) <= high


def test_centroids_read_more_than_the_distance_between_the_pads():
    """The paper's measure lies on the outsides of the fingers: hence its thresholds beyond the stroke of 8 cm."""
    for opening_m in (0.02, 0.08):
        measured = METER.centroids(T_WORLD_HAND, opening_m, _views(opening_m, noise_m=0.0))
        assert 0.01 < measured - opening_m < 0.035


def test_a_single_wild_reading_does_not_open_the_gripper():
    readings = np.array([0.08, 0.08, 0.04, 0.08, 0.08, 0.04, 0.04, 0.08, 0.04])
    expected = [True, True, True, True, True, False, False, False, False]
    np.testing.assert_array_equal(OpenRule().decide(readings, initially_open=True), expected)


def test_a_change_is_dated_back_to_its_first_reading():
    readings = np.array([0.08, 0.03, 0.03, 0.03, 0.08, 0.08, 0.08])
    expected = [True, False, False, False, True, True, True]
    np.testing.assert_array_equal(OpenRule(dwell=3).decide(readings, initially_open=True), expected)


def test_what_the_gripper_reports_itself_outdoes_a_reading_of_the_observation():
    readings = np.array([0.08, 0.08, 0.08])
    np.testing.assert_array_equal(OpenRule().decide(readings, initially_open=False), [False, True, True])


def test_at_the_end_one_reading_will_do_of_a_hand_that_stands():
    readings = np.array([0.068, 0.068, 0.068, np.nan, 0.08])

    def last(way_m):
        moved_m = np.array([0.0, 0.06, 0.05, way_m, way_m])
        return OpenRule().decide(readings, initially_open=False, moved_m=moved_m)[3:].tolist()

    assert last(0.003) == [False, True]
    assert last(0.03) == [False, False]


def test_readings_near_the_threshold_change_nothing():
    rule = OpenRule(threshold_m=0.06, hysteresis_m=0.005)
    readings = np.array([0.056, 0.064, 0.057, 0.063, 0.059])
    assert rule.decide(readings, initially_open=True).all()
    assert not rule.decide(readings, initially_open=False).any()


def test_missing_readings_neither_make_nor_break_a_change():
    readings = np.array([np.nan, 0.08, 0.03, np.nan, 0.03, np.nan])
    expected = [True, True, False, False, False, False]
    np.testing.assert_array_equal(OpenRule().decide(readings, initially_open=True), expected)
    assert not OpenRule().decide(np.full(4, np.nan), initially_open=False).any()


def test_a_change_that_is_not_seen_is_where_the_hand_moves_least():
    readings = np.array([0.02, 0.02, np.nan, np.nan, np.nan, 0.08, 0.08])
    moved_m = np.array([0.0, 0.06, 0.05, 0.001, 0.03, 0.05, 0.06])
    expected = [False, False, False, True, True, True, True]
    np.testing.assert_array_equal(OpenRule().decide(readings, initially_open=False, moved_m=moved_m), expected)
    in_full_motion = OpenRule().decide(readings, initially_open=False, moved_m=np.full(7, 0.06))
    np.testing.assert_array_equal(in_full_motion, [False] * 5 + [True] * 2)


def test_that_a_hand_stands_in_the_beginning_does_not_date_a_change():
    readings = np.array([np.nan] * 7 + [0.08, 0.08])
    moved_m = np.array([0.0, 0.0, 0.0, 0.06, 0.05, 0.015, 0.05, 0.06, 0.06])
    expected = [False] * 5 + [True] * 4
    np.testing.assert_array_equal(OpenRule().decide(readings, initially_open=False, moved_m=moved_m), expected)


@pytest.mark.parametrize("change", [{"dwell": 0}, {"hysteresis_m": 0.1}])
def test_rules_that_cannot_decide_are_refused(change):
    with pytest.raises(ValueError, match="dwell >= 1"):
        OpenRule(**change)
