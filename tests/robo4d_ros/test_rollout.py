import contextlib
import dataclasses
import logging

import pytest
from robo4d_ros import rollout
from robo4d_ros.bringup import graph
from robo4d_ros.generator_node import GeneratorConfig
from robo4d_ros.rollout import launch_arguments, node_parameters, run_over_ros
from robo4d_ros.spectator import Seen
from robo4d_ros.stack import StackEnded

from robo4d.geometry import se3
from robo4d.plan import Plan, Verdict
from robo4d.rollout.results import Job, RolloutConfig
from robo4d.track import GripperTrack
from robo4d.video import PointmapVideo

TASK = "put_spatula_on_table"


def test_the_nodes_are_started_as_the_rollout_was_asked_for():
    told = graph.parse(launch_arguments(TASK, RolloutConfig(generator="tiny", readout="plan_head", ros=True)))
    assert (told.task, told.generator, told.readout, told.auto_approve) == (TASK, "tiny", "plan_head", True)


def test_the_oracle_is_degraded_as_in_one_process():
    config = RolloutConfig(generator="oracle", degrade_mm=5.0, degrade_blur_px=1.0, degrade_misalignment_deg=2.0)
    told = node_parameters(config)["/**/generator"]["ros__parameters"]
    assert GeneratorConfig(generator="oracle", **told).degradation == config.degradation


class Stand:
    """In place of a spectator and of the stack."""

    newest_ns, episode_s, reached, results, destroyed = 1, 3.0, False, (), False

    def begin(self):
        pass

    def get_logger(self):
        return logging.getLogger()

    def destroy_node(self):
        self.destroyed = True

    def wait(self, *_):
        pass


@pytest.fixture
def stand(monkeypatch):
    stand = Stand()
    monkeypatch.setattr(rollout, "Spectator", lambda **_: stand)
    monkeypatch.setattr(rollout, "running", lambda *_: contextlib.nullcontext(stand))
    return stand


def test_an_episode_that_cannot_be_run_has_failed_with_its_reason_and_the_next_one_is_run(stand, monkeypatch):
    def run_episode(stack, node, job, progress):
        if job.seed == 1:
            raise RuntimeError("images of the new episode took more than 180 s")
        return rollout.episode_result(node, job)

    monkeypatch.setattr(rollout, "run_episode", run_episode)
    jobs, results = [Job(TASK, seed, RolloutConfig(ros=True)) for seed in (1, 2)], []
    run_over_ros(jobs, lambda job, result: results.append(result), print)
    assert [(r.seed, r.success, r.stage) for r in results] == [(1, False, "system"), (2, False, "generator")]
    assert results[0].error == "images of the new episode took more than 180 s"
    assert stand.destroyed


def test_nothing_is_run_when_the_nodes_have_ended(stand, monkeypatch):
    def run_episode(*_):
        raise StackEnded("the nodes have ended with status 1")

    monkeypatch.setattr(rollout, "run_episode", run_episode)
    with pytest.raises(StackEnded):
        run_over_ros([Job(TASK, 1, RolloutConfig(ros=True))], pytest.fail, print)
    assert stand.destroyed


def test_a_look_tells_what_it_was_lost_by():
    track = GripperTrack.example()
    aside = dataclasses.replace(track, Ts_world_tcp=se3.translation(0.03, 0, 0) @ track.Ts_world_tcp)
    look = Seen(video=PointmapVideo.example(), begun_s=0.0, generated_s=0.0)
    assert (look.result.verdict, look.result.fault) == ("NO_TRACK", "tracker")
    look.tracks |= {"left": aside, "right": track}
    assert (look.result.verdict, look.result.fault) == ("NO_PLAN", "planner")
    look.drawn |= {"left": track, "right": track}
    look.plan = Plan.refused(0, Verdict(reason="no arm moves"), {})
    assert (look.result.verdict, look.result.fault) == ("NO_MOTION", "tracker")
    assert look.result.tracker_error_mm == pytest.approx(30)


def test_candidates_are_refused_before_anything_is_started():
    with pytest.raises(ValueError, match="leave out --candidates, or --ros"):
        run_over_ros([Job(TASK, 1, RolloutConfig(candidates=2, ros=True))], print, print)
