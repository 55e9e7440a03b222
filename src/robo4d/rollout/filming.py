"""Pictures of an execution at the moments that the video shows, for the report page."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from robo4d.pipeline import Look
from robo4d.report.record import LookRecord, SessionRecord
from robo4d.rgbd import RgbdPair
from robo4d.rollout.results import EpisodeResult, LookResult


class Filming:
    """Takes a picture of both views whenever the execution of a look's plan passes a frame of its video.

    Args:
        look: With a plan to be executed.
        see: What the cameras see now.
    """

    def __init__(self, look: Look, see: Callable[[], RgbdPair]) -> None:
        self._plan, self._see = look.plan, see
        self._times_s = look.imagined[look.chosen].video.times_s
        self.taken: list[RgbdPair] = []

    def watch(self, share: float) -> None:
        """Take the share of the plan that is done; draws when it is time to."""
        if self._plan is None or len(self.taken) == len(self._times_s):
            return
        plan = self._plan
        video_time_s = float(np.interp(share * plan.duration_s, plan.times_s, plan.video_times_s))
        if video_time_s >= self._times_s[len(self.taken)] - 1e-3:
            self.taken.append(self._see())


def look_record(look: Look, result: LookResult, taken: Sequence[RgbdPair]) -> LookRecord:
    """A look for the report page."""
    imagined, pair = look.imagined[look.chosen], look.observation.pair
    executed = [
        np.stack([frame.rgb for frame in frames]) if frames else np.zeros((0, *observed.rgb.shape), np.uint8)
        for observed, frames in ((pair.n, [p.n for p in taken]), (pair.m, [p.m for p in taken]))
    ]
    endings = {"": "no arm moves in the video", "ok": "executed to its end"}
    return LookRecord(
        times_s=imagined.video.times_s.astype(float),
        predicted=imagined.video.rgb,
        executed=np.stack(executed),
        tracks=imagined.readout.tracks,
        plan=look.plan,
        outcome=result.reason or endings.get(result.execution, result.execution),
        durations_s=look.durations_s,
    )


def session_record(result: EpisodeResult, looks: Sequence[LookRecord]) -> SessionRecord:
    """An episode for the report page."""
    config = result.config
    degraded = [
        f", {name} {value:g}" for name, value in asdict(config).items() if name.startswith("degrade_") and value
    ]
    faults = ", ".join(f"{symptom} ({count})" for symptom, count in result.symptoms.items())
    facts = {
        "result": f"solved in {len(result.looks)} looks" if result.success else f"failed, lost by {result.stage}",
        "generator": "".join([config.generator, *degraded]),
        "start": f"{config.distribution}, seed {result.seed}",
        "simulated time": f"{result.time_s:.0f} s",
        **({"faults": faults} if faults else {}),
    }
    return SessionRecord(title=result.task.replace("_", " "), facts=facts, looks=tuple(looks))
