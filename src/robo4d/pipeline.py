"""From one observation to a plan: generate, read, plan. The file to read first.

    Observation -> VideoGenerator -> PointmapVideo -> Reader -> GripperTrack of each arm -> Planner -> Plan

The plan is then executed open loop, and the robot looks again (paper, section 3.4). Over ROS 2 every arrow is a topic
between two nodes; here the same parts are called one after the other.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

from robo4d.interfaces import GeneratesBatches, PlacesCameras, TellsMotion, ToldVideo, VideoGenerator
from robo4d.plan import Plan
from robo4d.planning.moving import moving_tracks
from robo4d.planning.planner import Candidate, Planner
from robo4d.planning.robot import RobotState
from robo4d.rgbd import RgbdPair
from robo4d.track import GripperTrack
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.follow import GripperPrior
from robo4d.tracking.held import GraspMemory
from robo4d.tracking.plan_head import fused_readout, plan_readout
from robo4d.tracking.readout import Readout, ReadoutConfig, remembering, track_video
from robo4d.tracking.rendering import GripperRenderer
from robo4d.video import PointmapVideo

STAGES = ("generator", "tracker", "planner")
"""What a look consists of, by the names of the nodes that do it over ROS."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the cameras and the robot tell of one moment, at which the robot stands still."""

    pair: RgbdPair
    robot: RobotState
    """Joints at the time of the pair."""
    grippers: Mapping[str, GripperPrior]
    """Where each arm's gripper is by the robot's own state, by arm."""

    @classmethod
    def example(cls) -> "Observation":
        """A grey wall and two arms at rest."""
        robot, gripper = RobotState.example(), GripperPrior.example()
        return cls(pair=RgbdPair.example(), robot=robot, grippers={arm: gripper for arm in robot.joints})


@runtime_checkable
class Reader(Protocol):
    """Finds the motion of the grippers in a video: the paper's tracker, or whatever a generator knows besides."""

    def __call__(self, video: PointmapVideo, observation: Observation, told: Mapping[str, GripperTrack]) -> Readout:
        """The track of every arm of the observation.

        Args:
            video: What is read.
            observation: What it starts from.
            told: Where the generator has drawn the grippers, by arm; empty if it does not tell.
        """
        ...


class TrackerReader:
    """Reads a video by following the grippers through it, as the paper does.

    Args:
        renderer: The gripper.
        arm: The arm behind it; without one, the gripper is followed alone.
        config: How to read.
    """

    def __init__(
        self, renderer: GripperRenderer, arm: ArmRenderer | None = None, config: ReadoutConfig | None = None
    ) -> None:
        self._renderer, self._arm, self._config = renderer, arm, config or ReadoutConfig()
        self._memory = GraspMemory()

    def __call__(self, video: PointmapVideo, observation: Observation, told: Mapping[str, GripperTrack]) -> Readout:
        """See `Reader`; what the generator tells is not heard."""

        def read(priors: dict[str, GripperPrior]) -> Readout:
            return track_video(
                video, observation.pair, priors=priors, renderer=self._renderer, arm=self._arm, config=self._config
            )

        return remembering(self._memory, observation.grippers, read)


class PlanReader:
    """Reads a video by what the generator tells of where it has drawn the grippers.

    Args:
        tracker: What the generator's word is held against; without one it is believed.
    """

    def __init__(self, tracker: Reader | None = None) -> None:
        self._tracker = tracker

    def __call__(self, video: PointmapVideo, observation: Observation, told: Mapping[str, GripperTrack]) -> Readout:
        """See `Reader`."""
        if self._tracker is None:
            return plan_readout(told)
        return fused_readout(self._tracker(video, observation, told), told)


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """What can be chosen about a look."""

    candidates: int = 1
    """Videos that are generated, with as many seeds; the best plan is taken."""
    still_m: float = 0.02
    """An arm whose gripper stays within this of where it is [m] ..."""
    still_rad: float = math.radians(12)
    """... and turns by no more than this [rad] rests: following its track would only add the tracker's noise."""

    def __post_init__(self) -> None:
        """Refuse what cannot be looked with."""
        if self.candidates < 1 or min(self.still_m, self.still_rad) < 0:
            raise ValueError(f"at least one candidate is needed, and thresholds that are not negative, got {self}")


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """One possible future."""

    seed: int
    video: PointmapVideo
    told: Mapping[str, GripperTrack]
    """Where the generator has drawn the grippers, by arm; empty if it does not tell."""
    readout: Readout

    def proposal(self, config: PipelineConfig) -> Candidate | None:
        """What the planner is asked to do: the tracks of the arms that move; None if all of them rest."""
        proposed = moving_tracks(self.readout.tracks, still_m=config.still_m, still_rad=config.still_rad)
        calibration = self.readout.calibration
        residual_m = calibration.residual_m if calibration else None
        return Candidate(tracks=proposed, cross_view_residual_m=residual_m) if proposed else None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What came of one observation."""

    observation: Observation
    imagined: tuple[Imagined, ...]
    """All candidates."""
    chosen: int
    """Index of the one that the plan follows."""
    plan: Plan | None
    """What to do, or why nothing is done (`Plan.verdict`); None if no arm moves in any of the videos."""
    durations_s: Mapping[str, float]
    """Time that each of `STAGES` took [s]."""


class Pipeline:
    """Looks, imagines, and plans.

    Args:
        generator: Imagines the future.
        reader: Finds the grippers in it.
        planner: Turns their motion into a plan for the arms.
        now_ns: The clock of all stamps.
        config: What can be chosen.
        stopwatch: Clock that durations are measured with [s].
    """

    def __init__(
        self,
        generator: VideoGenerator,
        reader: Reader,
        planner: Planner,
        *,
        now_ns: Callable[[], int],
        config: PipelineConfig | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._generator, self._reader, self._planner = generator, reader, planner
        self._now_ns, self._config, self._stopwatch = now_ns, config or PipelineConfig(), stopwatch

    def look(
        self,
        observation: Observation,
        *,
        seed: int,
        current: Callable[[], RobotState],
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> Look:
        """One look.

        Args:
            observation: What is seen.
            seed: Of the first candidate; the others have the ones that follow.
            current: Tells the state of the robot, once the videos are there.
            progress: See `VideoGenerator.generate`; told of all candidates together by a generator that makes them so
                (`GeneratesBatches`), and else of each anew.

        Raises:
            Cancelled: `progress` returned False.
        """
        if isinstance(self._generator, PlacesCameras):
            observation = replace(observation, pair=self._generator.place(observation.pair))
        seeds, times_s = range(seed, seed + self._config.candidates), [self._stopwatch()]
        made = _generated(self._generator, observation.pair, seeds, progress)
        times_s.append(self._stopwatch())
        imagined = [
            Imagined(
                seed=candidate_seed,
                video=one.video,
                told=one.told,
                readout=self._reader(one.video, observation, one.told),
            )
            for candidate_seed, one in zip(seeds, made, strict=True)
        ]
        times_s.append(self._stopwatch())
        chosen, plan = self._plan(imagined, observation.robot, current())
        times_s.append(self._stopwatch())
        return Look(
            observation=observation,
            imagined=tuple(imagined),
            chosen=chosen,
            plan=plan,
            durations_s={stage: end - begin for stage, (begin, end) in zip(STAGES, pairwise(times_s), strict=True)},
        )

    def _plan(self, imagined: list[Imagined], observed: RobotState, current: RobotState) -> tuple[int, Plan | None]:
        """Index of the best future, and the plan that follows it."""
        proposals = {i: proposal for i, one in enumerate(imagined) if (proposal := one.proposal(self._config))}
        if not proposals:
            return 0, None
        best, plan = self._planner.best(
            list(proposals.values()), observed=observed, current=current, now_ns=self._now_ns()
        )
        return list(proposals)[best], plan


def _generated(
    generator: VideoGenerator, pair: RgbdPair, seeds: Sequence[int], progress: Callable[[int, int], bool]
) -> Sequence[ToldVideo]:
    """A video of each seed: all at once, if the generator can."""
    if len(seeds) > 1 and isinstance(generator, GeneratesBatches):
        return generator.generate_batch(pair, seeds=seeds, progress=progress)
    made: list[ToldVideo] = []
    for seed in seeds:
        video = generator.generate(pair, seed=seed, progress=progress)
        made.append(ToldVideo(video=video, told=generator.told if isinstance(generator, TellsMotion) else {}))
    return made
