import dataclasses
import itertools

import numpy as np
import pytest

from robo4d import PointmapVideo, RgbdPair
from robo4d.geometry import se3
from robo4d.interfaces import Cancelled, ToldVideo
from robo4d.pipeline import Observation, Pipeline, PipelineConfig
from robo4d.plan import Code
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import RobotState, two_arms
from robo4d.track import GripperTrack
from robo4d.tracking.follow import GripperPrior
from robo4d.tracking.readout import Readout

ARMS = two_arms("fer")
STATE = RobotState.example()
START = {arm.name: ArmKinematics(arm).forward(STATE.joints[arm.name]) for arm in ARMS}
TIMES_S = np.array([0.0, 0.5, 1.0, 1.5])
SEEN = Observation(
    pair=RgbdPair.example(),
    robot=STATE,
    grippers={arm: GripperPrior(T_world_tcp=T, opening_m=0.08) for arm, T in START.items()},
)


class Player:
    """A generator that shows the same wall for every seed, and tells in the stamp which seed it was."""

    def generate(self, pair, *, seed, progress=lambda step, steps: True):
        if not progress(0, 1):
            raise Cancelled
        return dataclasses.replace(PointmapVideo.example(), stamp_ns=seed)


def track(arm, motion=(0.0, 0.0, 0.0), *, seen=True):
    """An arm that goes somewhere within 1.5 s, along the world's axes [m]."""
    Ts = np.stack([se3.translation(*(share * np.array(motion))) @ START[arm] for share in np.linspace(0, 1, 4)])
    return GripperTrack(
        arm=arm,
        stamp_ns=0,
        times_s=TIMES_S,
        Ts_world_tcp=Ts,
        confidence=np.full(4, 0.9 if seen else 0.1),
        inlier=np.full(4, seen),
        view=np.full(4, -1),
        opening_m=np.full(4, 0.08),
        open=np.ones(4, bool),
    )


class Finder(Player):
    """One that finds cameras whose poses are unknown."""

    placement = None

    def place(self, pair):
        n, m = (dataclasses.replace(frame, T_world_camera=np.eye(4)) for frame in (pair.n, pair.m))
        return dataclasses.replace(pair, n=n, m=m)


class Teller(Player):
    """One that tells where the grippers of its last video are: a metre higher with every seed."""

    def __init__(self):
        self.told, self.batches = {}, []

    def generate(self, pair, *, seed, progress=lambda step, steps: True):
        self.told = {"left": track("left", (0.0, 0.0, float(seed)))}
        return super().generate(pair, seed=seed, progress=progress)


class Batcher(Teller):
    """One that makes all videos at once."""

    def generate_batch(self, pair, *, seeds, progress=lambda step, steps: True):
        self.batches.append(list(seeds))
        return [ToldVideo(video=self.generate(pair, seed=seed, progress=progress), told=self.told) for seed in seeds]


def look(*by_seed, seed=0, generator=None, **options):
    """A look whose video of each seed shows the given tracks."""

    def read(video, observation, told):
        return Readout(tracks={t.arm: t for t in by_seed[video.stamp_ns - seed]}, calibration=None)

    ticks = itertools.count()
    pipeline = Pipeline(
        generator or Player(),
        read,
        Planner(PlannerConfig(), ARMS, []),
        now_ns=lambda: 0,
        config=PipelineConfig(candidates=len(by_seed)),
        stopwatch=lambda: float(next(ticks)),
    )
    return pipeline.look(SEEN, seed=seed, current=lambda: STATE, **options)


def test_a_plan_moves_the_arms_that_move_in_the_video_and_no_other():
    result = look([track("left", (0.0, 0.0, 0.08)), track("right", (0.0, 0.0, 0.01))])
    assert result.plan.verdict.accepted
    assert list(result.plan.arms) == ["left"]
    end = result.plan.arms["left"].Ts_world_tcp[-1, :3, 3]
    np.testing.assert_allclose(end, START["left"][:3, 3] + [0, 0, 0.08], atol=5e-3)


def test_what_follows_the_video_has_the_poses_that_the_generator_found():
    still = [track("left"), track("right")]
    assert look(still, generator=Finder()).observation.pair.n.T_world_camera is not None
    assert look(still).observation.pair.n.T_world_camera is None


def test_without_motion_there_is_no_plan():
    assert look([track("left"), track("right")]).plan is None


def test_of_several_futures_the_one_that_can_be_done_is_taken():
    out_of_reach, fine = [track("left", (0.0, 0.0, 0.7))], [track("left", (0.0, 0.0, 0.08))]
    result = look(out_of_reach, fine, [track("left")], seed=5)
    assert [one.seed for one in result.imagined] == [5, 6, 7]
    assert result.chosen == 1
    assert result.plan.verdict.accepted


def test_of_several_futures_without_a_calibration_the_surest_is_taken():
    sure = track("left", (0.0, 0.0, 0.08))
    assert look([dataclasses.replace(sure, confidence=np.full(4, 0.6))], [sure]).chosen == 1


@pytest.mark.parametrize("generator", [Teller(), Batcher()])
def test_each_future_has_the_motion_that_was_told_of_its_own_video(generator):
    result = look([track("left")], [track("left")], seed=5, generator=generator)
    assert [one.video.stamp_ns for one in result.imagined] == [5, 6]
    rises = [one.told["left"].Ts_world_tcp[-1, 2, 3] - START["left"][2, 3] for one in result.imagined]
    np.testing.assert_allclose(rises, [5, 6])
    assert look([track("left")]).imagined[0].told == {}


def test_several_futures_are_made_at_once_by_a_generator_that_can():
    generator = Batcher()
    look([track("left")], generator=generator)
    look([track("left")], [track("left")], seed=5, generator=generator)
    assert generator.batches == [[5, 6]]


def test_an_arm_that_is_not_found_is_refused_by_name_unless_another_one_moves():
    lost = track("right", seen=False)
    alone = look([track("left"), lost])
    assert (alone.plan.verdict.code, alone.plan.verdict.arm) == (Code.TOO_FEW_POSES, "right")
    assert look([track("left", (0.0, 0.0, 0.08)), lost]).plan.verdict.accepted


def test_each_stage_is_timed_by_the_given_clock():
    durations_s = look([track("left")], [track("left")]).durations_s
    assert durations_s == {"generator": 1.0, "tracker": 1.0, "planner": 1.0}  # one tick a look at the clock


def test_a_look_can_be_cancelled():
    with pytest.raises(Cancelled):
        look([track("left")], progress=lambda step, steps: False)


def test_no_candidate_is_no_look():
    with pytest.raises(ValueError, match="at least one candidate"):
        PipelineConfig(candidates=0)
