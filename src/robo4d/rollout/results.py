"""What closed-loop episodes came to: a row for each, which stage lost it, and the success rate with its uncertainty."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest

from robo4d.geometry import se3
from robo4d.plan import Code
from robo4d.sim.tasks import Distribution
from robo4d.track import GripperTrack
from robo4d.tracking.degrade import Degradation

Stage = Literal["generator", "tracker", "planner", "execution", "task", "system"]
ReadoutName = Literal["tracker", "plan_head", "fused"]
STAGES: tuple[Stage, ...] = ("generator", "tracker", "planner", "execution", "task", "system")
"""What an episode can be lost by, along the way of the data; last the task itself, and nodes that did not work."""
NO_MOTION = "NO_MOTION"
"""`LookResult.verdict` of a video in which no arm moves."""
NO_TRACK, NO_PLAN = "NO_TRACK", "NO_PLAN"
"""`LookResult.verdict` of a video from which no tracks came, or of tracks from which no plan came."""
REACHED = "ok"
"""`LookResult.execution` of a plan whose end was reached, as in `robo4d.execution.outputs.Finished`."""
_WRONG_MM = 25.0
"""A vouched pose farther than this from where it is drawn is the tracker's fault: a gripper misses its object then."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """What all episodes of a row of the table have in common."""

    generator: str = "tiny"
    """As on the command line: a name, or a folder of weights."""
    distribution: Distribution = "standard"
    size: int = 128
    """Height and width of the images [px]."""
    degrade_mm: float = 0.0
    """Noise of the oracle's depth [mm], with bias, flying pixels and holes in proportion; 0 leaves it perfect."""
    degrade_blur_px: float = 0.0
    """Blur of the oracle's colours and depth, as its standard deviation [px]."""
    degrade_misalignment_mm: float = 0.0
    """How far the oracle's view m as a whole is from where it should be [mm] ..."""
    degrade_misalignment_deg: float = 0.0
    """... and how far it is turned [deg]."""
    candidates: int = 1
    """Videos of each look, of which the best is followed."""
    readout: ReadoutName = "tracker"
    """Who tells where the grippers go: the tracker that follows them through the video, the generator, or both."""
    flow_steps: int | None = None
    """Steps in which a model of the preset tiny samples its plans; unless told otherwise, as many as it prefers."""
    max_looks: int = 20
    """An episode that needs more has failed."""
    ros: bool = False
    """Whether the parts are ROS 2 nodes."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.size < 32 or min(self.candidates, self.max_looks) < 1:
            raise ValueError(f"size must be at least 32, candidates and max_looks at least 1, got {self}")
        if not self.degradation.is_perfect and self.generator != "oracle":
            raise ValueError(
                f"only the oracle's video can be degraded: use --generator oracle, or leave out --degrade-*, got {self}"
            )
        if self.flow_steps is not None and (self.flow_steps < 1 or self.ros or self.generator == "oracle"):
            raise ValueError(
                "flow_steps must be at least 1, and is for a model of the preset tiny in one process: leave it out "
                f"with the oracle or over ROS, got {self}"
            )

    @property
    def degradation(self) -> Degradation:
        """What is done to the oracle's video."""
        return Degradation.typical(
            self.degrade_mm / 1000,
            blur_px=self.degrade_blur_px,
            misalignment_m=self.degrade_misalignment_mm / 1000,
            misalignment_deg=self.degrade_misalignment_deg,
        )


@dataclass(frozen=True)
class Job:
    """One episode to run."""

    task: str
    seed: int
    """Start of the episode, and its cameras."""
    config: RolloutConfig
    report: Path | None = None
    """A report page to write."""


@dataclass(frozen=True, kw_only=True)
class LookResult:
    """What one look came to."""

    verdict: str
    """Name of the plan's `robo4d.plan.Code`, or `NO_MOTION`, `NO_TRACK`, `NO_PLAN`."""
    execution: str = ""
    """How the execution ended, `REACHED` or the executor's code; empty if there was none."""
    tracker_error_mm: float | None = None
    """Farthest that a vouched TCP is from where the generator has drawn it [mm]; None where it does not tell."""
    reason: str = ""
    """The sentence that belongs to a refusal, or to an execution that was not completed."""

    @property
    def fault(self) -> Stage | None:
        """The first stage, along the way of the data, that went wrong."""
        if self.verdict == NO_TRACK or (self.tracker_error_mm or 0) > _WRONG_MM:
            return "tracker"
        if self.verdict not in (Code.ACCEPTED.name, NO_MOTION):
            return "planner"
        return "execution" if self.execution not in ("", REACHED) else None

    @property
    def symptom(self) -> str:
        """The fault by its name."""
        names = {
            "tracker": "no_track" if self.verdict == NO_TRACK else f"{self.tracker_error_mm or 0:.0f} mm",
            "planner": self.verdict.lower(),
            "execution": self.execution,
        }
        return f"{self.fault}: {names[self.fault]}" if self.fault else ""


def tracker_error_mm(tracks: Mapping[str, GripperTrack], drawn: Mapping[str, GripperTrack]) -> float | None:
    """Farthest that a vouched TCP is from where it is in the video [mm]; None if nobody tells where that is.

    Args:
        tracks: As they were read, by arm.
        drawn: As the generator says it has drawn them; for the oracle that is the truth.
    """
    if not (told := set(tracks) & set(drawn)):
        return None
    worst = 0.0
    for arm in told:
        track, true = tracks[arm], drawn[arm].Ts_world_tcp
        errors = np.linalg.norm(track.Ts_world_tcp[:, :3, 3] - true[:, :3, 3], axis=-1)
        worst = max(worst, float(1000 * errors[track.usable & se3.is_valid(true)].max(initial=0)))
    return worst


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One closed-loop episode. In one process and over ROS 2 it has the same fields, so that the rows compare.

    `robo4d_ros.rollout.run_over_ros(jobs, finished, progress)` makes them over ROS: for each `Job` it resets the
    simulator to the seed, with the two cameras of `robo4d.rollout.world.sample_views`, lets the session run with
    automatic approval until it ends or `max_looks` is reached, asks the simulator for success, and calls
    `finished(job, result)`. `looks` follows from the topics: the tracks, the verdict of each plan, and the code of each
    execution's result.
    """

    config: RolloutConfig
    task: str
    seed: int
    success: bool
    looks: tuple[LookResult, ...]
    time_s: float
    """Simulated time from the start to success or to giving up [s]."""
    cpu_s: float
    """Processor time of all parts [s]; 0 where it was not measured."""
    solvable: bool = True
    """Whether the scripted expert solves the same start."""
    error: str = ""
    """What kept the episode from being run to its end; empty if nothing did."""

    @property
    def stage(self) -> Stage | None:
        """The stage that lost it; None for a success.

        It is the one that was at fault in most looks. Where every look went well, the video itself led nowhere
        (`generator`); unless it was the oracle's and the start can be solved: then the looks were used up (`task`).
        """
        if self.success:
            return None
        if self.error:
            return "system"
        faults: list[Stage] = [look.fault for look in self.looks if look.fault]
        if faults:
            return max(faults, key=faults.count)
        return "task" if self.config.generator == "oracle" and self.solvable else "generator"

    @property
    def symptoms(self) -> dict[str, int]:
        """How often each fault occurred."""
        told = [look.symptom for look in self.looks if look.symptom] + [f"system: {self.error}"] * bool(self.error)
        return dict(Counter(told))

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "stage": self.stage})

    @classmethod
    def from_json(cls, line: str) -> "EpisodeResult":
        """What `to_json` wrote."""
        row: dict[str, Any] = json.loads(line)
        del row["stage"]  # follows from the rest
        config, looks = RolloutConfig(**row.pop("config")), tuple(LookResult(**look) for look in row.pop("looks"))
        return cls(config=config, looks=looks, **row)


def summary(task: str, results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """One row of the table, for people and for files. `ci95` is Wilson's interval.

    Args:
        task: Its name, or "all".
        results: At least one, all of one configuration.
    """
    successes, failures = sum(r.success for r in results), [r for r in results if not r.success]
    interval = binomtest(successes, len(results)).proportion_ci(method="wilson")
    stages = Counter(failure.stage for failure in failures)
    symptoms = sum((Counter(failure.symptoms) for failure in failures), Counter[str]())
    return {
        "task": task,
        **asdict(results[0].config),
        "episodes": len(results),
        "successes": successes,
        "success_rate": successes / len(results),
        "ci95": [float(interval.low), float(interval.high)],
        "failures_by_stage": {stage: stages[stage] for stage in STAGES},
        "symptoms_of_failures": dict(symptoms.most_common()),
        "seeds": sorted(result.seed for result in results),
        "failed_seeds": sorted(failure.seed for failure in failures),
        "mean_looks": _mean([len(r.looks) for r in results]),
        "mean_time_s": _mean([r.time_s for r in results]),
        "mean_cpu_s": _mean([r.cpu_s for r in results]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
