"""`robo4d collect`: demonstrations of the scripted experts in the simulated cell, as a data set."""

import functools
import json
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from robo4d.episodes.dataset import common_settings, open_for_writing, parse_size, progress_bar
from robo4d.episodes.format import Episode, EpisodeInfo
from robo4d.episodes.perturb import PerturbationConfig
from robo4d.episodes.render import write_images
from robo4d.episodes.simulate import check_rate, simulate
from robo4d.episodes.storage import EpisodeWriter
from robo4d.episodes.workers import Workers
from robo4d.sim.playback import stage
from robo4d.sim.state import ARMS
from robo4d.sim.tasks import TASKS, Distribution, load

_TEST_SHARE = 4
"""One view in so many is kept for tests: 4 of the paper's 16 (section 4.1)."""
_MAX_FAILURES = 10
"""An expert may fail so often beyond the episodes it has solved, before collecting stops: something is wrong then."""
_SIMULATION_SHARE = 0.1
"""Of the time that an episode takes, for the progress bar: physics and choice of cameras, before images are drawn."""


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """What the episodes of one call have in common."""

    views: int
    """Cameras of each episode."""
    size: tuple[int, int]
    """Height and width of the images [px]."""
    distribution: Distribution
    rate_hz: float
    perturb: bool
    keep_failures: bool
    states_only: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be recorded."""
        if self.views < 1:
            raise ValueError(f"at least one view is needed, got {self.views}")
        check_rate(self.rate_hz)


@dataclass(frozen=True)
class Job:
    """One episode to record."""

    task: str
    seed: int
    folder: Path


def collect(
    *,
    out: Path,
    task: str = "all",
    episodes: int = 25,
    views: int = 16,
    size: str = "256x320",
    distribution: Distribution = "standard",
    rate_hz: float = 10.0,
    seed_offset: int = 0,
    perturb: bool = False,
    keep_failures: bool = False,
    states_only: bool = False,
    workers: int = 2,
) -> None:
    """Record demonstrations, by default as the paper did (section 4.1). Called again, it goes on where it stopped.

    Args:
        out: Folder of the data set; calls with other tasks, distributions or seeds may share it.
        task: Name of a task, or `all`.
        episodes: Solved episodes of each task that the data set shall have from this seed on.
        views: Cameras, drawn anew for every episode; a quarter of them is kept for tests.
        size: Height x width of the images [px].
        distribution: Where starts are drawn from.
        rate_hz: Frames per second.
        seed_offset: First seed; each episode has its own.
        perturb: Disturb starts and commands, so that the demonstrations show how to recover.
        keep_failures: Record episodes that the expert did not solve, marked as such, beside the solved ones.
        states_only: Leave the images to `robo4d render`.
        workers: Processes.
    """
    config = CollectConfig(
        views=views,
        size=parse_size(size),
        distribution=distribution,
        rate_hz=rate_hz,
        perturb=perturb,
        keep_failures=keep_failures,
        states_only=states_only,
    )
    names = list(TASKS) if task == "all" else [load(task).name]
    with ExitStack() as stack:
        stack.enter_context(open_for_writing(out, common_settings(views=views, size=config.size, rate_hz=rate_hz)))
        plan = _Plan(out, names, episodes, seed_offset, config)
        show = stack.enter_context(progress_bar("episodes", episodes * len(names)))
        pool = Workers(workers, functools.partial(record, config=config))
        pool.run(plan.next_job, plan.finished, lambda shares: show(plan.solved.total() + shares))
    failures = f", {plan.failures.total()} not solved and left out" if plan.failures else ""
    Console().print(f"{out}: {plan.solved.total()} episodes{failures}")


class _Plan:
    """Which episodes are still to be recorded: of each task, the first seeds that the expert solves."""

    def __init__(self, out: Path, tasks: list[str], episodes: int, first_seed: int, config: CollectConfig) -> None:
        self._out, self._tasks, self._episodes, self._config = out, tasks, episodes, config
        self._failure_log = out / "failures.jsonl"
        self._known_failures = _read_failures(self._failure_log)
        self._seed = dict.fromkeys(tasks, first_seed)
        self._in_work, self.solved, self.failures = Counter[str](), Counter[str](), Counter[str]()

    def next_job(self) -> Job | None:
        """The next episode to try, or None while those in work may be enough."""
        for task in self._tasks:
            while self.solved[task] + self._in_work[task] < self._episodes:
                job = self._job(task, self._seed[task])
                self._seed[task] += 1
                if job.folder.name in self._known_failures:
                    self.failures[task] += 1
                elif job.folder.exists():
                    self.solved[task] += 1
                else:
                    self._in_work[task] += 1
                    return job
        return None

    def finished(self, job: Job, success: bool) -> None:
        """Count a result, and remember a failure for the next call.

        Raises:
            ValueError: the expert fails too often.
        """
        self._in_work[job.task] -= 1
        if success:
            self.solved[job.task] += 1
            return
        self.failures[job.task] += 1
        with self._failure_log.open("a") as log:
            log.write(json.dumps(job.folder.name) + "\n")
        if self.failures[job.task] > self.solved[job.task] + _MAX_FAILURES:
            raise ValueError(
                f"the expert of {job.task} failed {self.failures[job.task]} times and solved {self.solved[job.task]}: "
                "look at a failure with --keep-failures and `robo4d view`"
            )

    def _job(self, task: str, seed: int) -> Job:
        suffix = "-perturbed" if self._config.perturb else ""
        return Job(task=task, seed=seed, folder=self._out / f"{task}-{self._config.distribution}-{seed:06d}{suffix}")


def _read_failures(log: Path) -> set[str]:
    """Names of the episodes that the expert did not solve; a last line that a killed process left torn is ignored."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return {json.loads(line) for line in lines}


def record(job: Job, report: Callable[[float], None], *, config: CollectConfig) -> bool:
    """Simulate and draw one episode; returns whether the expert solved it."""
    scenery = stage(job.task)
    height, width = config.size
    demonstration = simulate(
        scenery.cell,
        seed=job.seed,
        distribution=config.distribution,
        rate_hz=config.rate_hz,
        perturbation=PerturbationConfig() if config.perturb else None,
        progress=lambda time_s: report(0.0),
    )
    if not (demonstration.success or config.keep_failures):
        return False
    motion, scene = demonstration.motion, demonstration.scene
    rng = np.random.default_rng([job.seed, zlib.crc32(job.folder.name.encode())])
    episode = Episode(
        info=EpisodeInfo(
            task=job.task,
            seed=job.seed,
            distribution=config.distribution,
            success=demonstration.success,
            rate_hz=config.rate_hz,
            arms=ARMS,
            bodies=demonstration.bodies,
            test_views=config.views // _TEST_SHARE,
            perturbed=config.perturb,
            size=config.size,
        ),
        motion=motion,
        cameras=scenery.sample_cameras(rng, config.views, width=width, height=height, motion=motion, scene=scene),
        scene=scene,
        images=None,
    )
    with EpisodeWriter(job.folder, episode) as writer:
        if not config.states_only:
            write_images(writer, episode, lambda share: report(_SIMULATION_SHARE + (1 - _SIMULATION_SHARE) * share))
    return demonstration.success
