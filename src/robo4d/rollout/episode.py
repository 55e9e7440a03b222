"""One closed-loop episode: look, plan, execute the whole plan open loop, look again."""

import time
from collections.abc import Callable

from robo4d.pipeline import Look, Pipeline, PipelineConfig
from robo4d.report import LookRecord, write_page
from robo4d.rollout.filming import Filming, look_record, session_record
from robo4d.rollout.results import NO_MOTION, EpisodeResult, Job, LookResult, tracker_error_mm
from robo4d.rollout.robot import CellRobot
from robo4d.rollout.world import World, world

_PATIENCE = 2
"""Looks in a row that may show no motion ..."""
_REFUSALS = 4
"""... or be refused, before the episode is given up."""


def run(job: Job, progress: Callable[[float], None]) -> EpisodeResult:
    """Run one episode in this process."""
    records: list[LookRecord] = []
    keep = records.append if job.report else None
    result = run_episode(world(job.task, job.config), job.seed, progress, keep)
    if job.report:
        write_page(session_record(result, records), job.report)
    return result


def run_episode(
    shared: World,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
    keep: Callable[[LookRecord], None] | None = None,
) -> EpisodeResult:
    """One episode.

    Args:
        shared: What the episodes of the task share.
        seed: Start and cameras.
        progress: Told the share of looks that are used up.
        keep: Told each look with its pictures, if there shall be a report.
    """
    begun_s, config = time.process_time(), shared.config
    robot, cameras, solvable = shared.begin(seed)
    pipeline = Pipeline(
        shared.generator,
        shared.reader,
        shared.planner,
        now_ns=lambda: robot.now_ns,
        config=PipelineConfig(candidates=config.candidates),
    )
    robot.rest()
    looks: list[LookResult] = []
    success, still, refused = False, 0, 0
    while not success and len(looks) < config.max_looks and still < _PATIENCE and refused < _REFUSALS:
        progress(len(looks) / config.max_looks)
        look_seed = config.candidates * (seed * config.max_looks + len(looks))
        look = pipeline.look(shared.observe(robot, cameras), seed=look_seed, current=robot.joints)
        camera = Filming(look, lambda: shared.observe(robot, cameras).pair) if keep else None
        chosen = look.imagined[look.chosen]
        error_mm = tracker_error_mm(chosen.readout.tracks, chosen.told)
        looks.append(_act(look, robot, error_mm, camera.watch if camera else lambda share: None))
        if keep and camera:
            keep(look_record(look, looks[-1], camera.taken))
        still = still + 1 if look.plan is None else 0
        refused = refused + 1 if look.plan and not look.plan.verdict.accepted else 0
        robot.rest()
        success = shared.cell.success()
    return EpisodeResult(
        config=config,
        task=shared.task,
        seed=seed,
        success=success,
        looks=tuple(looks),
        time_s=robot.state.time_s,
        cpu_s=time.process_time() - begun_s,
        solvable=solvable,
    )


def _act(look: Look, robot: CellRobot, error_mm: float | None, watch: Callable[[float], None]) -> LookResult:
    """Do what a look came to, and tell of it."""
    if look.plan is None:
        return LookResult(verdict=NO_MOTION, tracker_error_mm=error_mm)
    verdict = look.plan.verdict
    if not verdict.accepted:
        return LookResult(verdict=verdict.code.name, reason=verdict.reason, tracker_error_mm=error_mm)
    ended = robot.execute(look.plan, watch)
    return LookResult(
        verdict=verdict.code.name,
        execution=ended.code,
        reason="" if ended.success else ended.reason,
        tracker_error_mm=error_mm,
    )
