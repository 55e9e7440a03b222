import dataclasses
import json

import numpy as np
import pytest

from robo4d.rollout.command import result_log
from robo4d.rollout.results import EpisodeResult, LookResult, RolloutConfig, summary, tracker_error_mm
from robo4d.track import GripperTrack

GOOD = LookResult(verdict="ACCEPTED", execution="ok", tracker_error_mm=4.0)
REFUSED = LookResult(verdict="SCENE_COLLISION", reason="comes within 1 mm of table", tracker_error_mm=4.0)
PAUSED = LookResult(verdict="ACCEPTED", execution="contact", reason="left: 25 N")
LOST = LookResult(verdict="ACCEPTED", execution="ok", tracker_error_mm=31.0)
RESTING = LookResult(verdict="NO_MOTION")


def episode(*looks, success=False, seed=0, generator="oracle", solvable=True):
    config = RolloutConfig(generator=generator)
    return EpisodeResult(
        config=config,
        task="put_spatula_on_table",
        seed=seed,
        success=success,
        looks=looks,
        time_s=20.0,
        cpu_s=9.0,
        solvable=solvable,
    )


@pytest.mark.parametrize(
    ("result", "stage"),
    [
        (episode(GOOD, success=True), None),
        (episode(PAUSED, GOOD, success=True), None),
        (episode(GOOD, REFUSED, REFUSED), "planner"),
        (episode(PAUSED, GOOD, PAUSED, REFUSED), "execution"),
        (episode(GOOD, LOST), "tracker"),
        (episode(GOOD, LookResult(verdict="NO_TRACK"), generator="tiny"), "tracker"),
        (episode(GOOD, LookResult(verdict="NO_PLAN")), "planner"),
        (episode(GOOD, LOST, generator="tiny"), "tracker"),
        (episode(GOOD, RESTING, RESTING), "task"),
        (episode(GOOD, RESTING, RESTING, solvable=False), "generator"),
        (episode(GOOD, RESTING, RESTING, generator="tiny"), "generator"),
    ],
)
def test_a_failure_is_laid_to_the_stage_that_went_wrong_most_often(result, stage):
    assert result.stage == stage


def test_the_error_of_a_track_counts_what_the_tracker_vouches_for():
    drawn = GripperTrack.example()
    Ts = drawn.Ts_world_tcp.copy()
    Ts[3, 0, 3] += 0.05
    Ts[4, 0, 3] += 0.03
    track = dataclasses.replace(drawn, Ts_world_tcp=Ts, inlier=np.array([1, 1, 1, 0, 1], bool))
    assert tracker_error_mm({"left": track}, {"left": drawn, "right": drawn}) == pytest.approx(30)
    assert tracker_error_mm({"left": track}, {}) is None


def test_an_episode_that_could_not_be_run_is_laid_to_no_part_of_the_pipeline():
    result = dataclasses.replace(episode(LOST), error="the service sim/reset took more than 30 s")
    assert result.stage == "system"
    assert result.symptoms == {"tracker: 31 mm": 1, "system: the service sim/reset took more than 30 s": 1}


def test_a_wrong_pose_outweighs_what_follows_from_it():
    both = dataclasses.replace(REFUSED, tracker_error_mm=40.0)
    assert both.fault == "tracker"
    assert both.symptom == "tracker: 40 mm"


def test_the_summary_counts_and_knows_its_uncertainty():
    results = [episode(GOOD, success=True, seed=i) for i in range(29)] + [episode(REFUSED, REFUSED, seed=29)]
    row = summary("put_spatula_on_table", results)
    assert (row["episodes"], row["successes"], row["failed_seeds"]) == (30, 29, [29])
    assert row["ci95"] == pytest.approx([0.8333, 0.9941], abs=1e-4)  # Wilson's formula by hand
    assert row["failures_by_stage"] == {
        "generator": 0,
        "tracker": 0,
        "planner": 1,
        "execution": 0,
        "task": 0,
        "system": 0,
    }
    assert row["symptoms_of_failures"] == {"planner: scene_collision": 2}
    json.dumps(row)


def test_a_result_survives_the_log(tmp_path):
    results = [episode(GOOD, LOST, REFUSED, seed=1), episode(RESTING, success=True, seed=2)]
    for result in results:
        with result_log(tmp_path) as (_, add):
            add(result)
    with result_log(tmp_path) as (known, _):
        assert known == results


def test_a_torn_last_line_is_dropped_and_the_log_goes_on(tmp_path):
    first, second = episode(GOOD, seed=1), episode(GOOD, seed=2)
    with result_log(tmp_path) as (_, add):
        add(first)
    log = tmp_path / "episodes.jsonl"
    log.write_bytes(log.read_bytes() + second.to_json().encode()[:40])
    with result_log(tmp_path) as (known, add):
        assert known == [first]
        add(second)
    with result_log(tmp_path) as (known, _):
        assert known == [first, second]


def test_two_rollouts_never_write_one_log(tmp_path):
    with result_log(tmp_path), pytest.raises(ValueError, match="choose another --out"), result_log(tmp_path):
        pass


@pytest.mark.parametrize(
    "change",
    [
        {"size": 16},
        {"candidates": 0},
        {"max_looks": 0},
        {"degrade_blur_px": -1.0, "generator": "oracle"},
        {"flow_steps": 2, "generator": "oracle"},
    ],
)
def test_what_cannot_be_run_is_refused(change):
    with pytest.raises(ValueError, match=r"at least|must not be negative"):
        RolloutConfig(**change)


def test_only_the_oracles_video_can_be_degraded():
    for fault in ("degrade_mm", "degrade_blur_px", "degrade_misalignment_mm", "degrade_misalignment_deg"):
        assert not RolloutConfig(generator="oracle", **{fault: 2.0}).degradation.is_perfect
        with pytest.raises(ValueError, match=r"leave out --degrade-\*"):
            RolloutConfig(**{fault: 2.0})
