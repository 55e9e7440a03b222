"""What a report page is made from; the same, whether it was recorded in one process or from ROS 2 topics."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array

from robo4d.plan import Keyframes, Plan
from robo4d.track import GripperTrack


@dataclass(frozen=True, kw_only=True)
class LookRecord:
    """One look: the video, what was read from it, and what was done."""

    times_s: Float[Array, " t"]
    """Time of each frame of the video after the observation [s]."""
    predicted: UInt8[Array, "v t h w 3"]
    """The video's images of the views n and m."""
    executed: UInt8[Array, "v k eh ew 3"]
    """What the cameras saw when the execution passed the first k of those frames; none where nothing was executed."""
    tracks: Mapping[str, GripperTrack]
    """Of every arm."""
    plan: Plan | None
    """None where the video shows no motion."""
    outcome: str
    """What came of it, in one sentence."""
    durations_s: Mapping[str, float]
    """Time that each stage took [s], by name."""

    def __post_init__(self) -> None:
        """Refuse more pictures than moments."""
        moments, pictures = len(self.times_s), self.executed.shape[1]
        if pictures > moments:
            raise ValueError(f"a video of {moments} frames needs at most as many executed images, got {pictures}")

    @classmethod
    def example(cls) -> "LookRecord":
        """A grey video of the example track and plan, of which the first frame was executed."""
        track = GripperTrack.example()
        grey = np.full((2, len(track.times_s) - 1, 48, 64, 3), 128, np.uint8)
        keyframes = Keyframes(
            times_s=track.times_s,
            Ts_world_raw=track.Ts_world_tcp,
            Ts_world_tcp=track.Ts_world_tcp,
            outlier=~track.inlier,
        )
        return cls(
            times_s=track.times_s[1:],
            predicted=grey,
            executed=grey[:, :1],
            tracks={track.arm: track},
            plan=replace(Plan.example(), keyframes={track.arm: keyframes}),
            outcome="stopped by the operator",
            durations_s={"generator": 1.5, "tracker": 0.8, "planner": 0.07},
        )


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """A session or an episode: all its looks."""

    title: str
    facts: Mapping[str, str]
    """What else to say at the top, such as the task, the generator and the result."""
    looks: tuple[LookRecord, ...]

    @classmethod
    def example(cls) -> "SessionRecord":
        """A session of two looks."""
        nothing = LookRecord.example()
        still = LookRecord(
            times_s=nothing.times_s,
            predicted=nothing.predicted,
            executed=np.zeros((2, 0, 1, 1, 3), np.uint8),
            tracks=nothing.tracks,
            plan=None,
            outcome="no arm moves in the video",
            durations_s=nothing.durations_s,
        )
        return cls(title="An example", facts={"generator": "oracle", "result": "2 looks"}, looks=(nothing, still))
