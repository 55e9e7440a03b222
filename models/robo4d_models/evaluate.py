"""`robo4d eval`: the paper's tables for a generator, on starts and cameras that it was not trained on.

Beside the generator stand the two rows that give its numbers a scale: `static` repeats the observation, and `oracle`
is the true future, so that what it lacks to perfection is the tracker's and the metrics' own error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from robo4d.evaluation import Truth, score_video, still_video
from robo4d.geometry import se3
from robo4d.sim.state import ARMS
from robo4d.sim.tasks import TASKS
from robo4d.track import GripperTrack
from robo4d.tracking.clips import SIZE, TrueClip, make_clips
from robo4d.tracking.panda import panda_gripper
from robo4d.tracking.readout import track_video
from robo4d.tracking.rendering import GripperRenderer
from robo4d.video import PointmapVideo
from robo4d_models.video4d.coding import RobotState
from robo4d_models.video4d.pipeline import SHIPPED, TinyConfig, TinyGenerator

FIRST_SEED = 7_000_000
"""Of the starts that evaluations use; nothing else does."""
_COLUMNS = (
    "abs_rel_n", "abs_rel_m", "delta1_n", "delta1_m", "abs_rel_moved", "abs_rel_still", "psnr", "ssim",
    "miou", "miou_robust", "miou_ceiling", "gripper_point_mm", "tcp_error_mm", "plan_head_error_mm", "lost",
)  # fmt: skip


def evaluate(
    *,
    checkpoint: str = "tiny",
    data: Path = Path("data/eval"),
    clips: int = 60,
    seed_offset: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    workers: int = 2,
) -> None:
    """Measure the predicted videos of a generator, and the gripper poses read from them.

    Args:
        checkpoint: `tiny` (the weights that ship), or a folder of weights.
        data: Folder of the true clips; they are made when they are missing.
        clips: How many, in turn of all tasks.
        seed_offset: Selects other starts and cameras of the same distribution.
        json_file: Write the rows to this file, too, one object each.
        workers: Processes that make clips.
    """
    folder = SHIPPED if checkpoint == "tiny" else Path(checkpoint)
    told: dict[int, RobotState] = {}  # what the robot says of itself at the time of an observation
    config = TinyConfig(size=SIZE[0])
    # Loaded before the clips are made, which takes long.
    generators = {task: TinyGenerator.load(folder, task, state=told.get, config=config) for task in TASKS}
    paths = make_clips(data, count=clips, seed_offset=FIRST_SEED + seed_offset, workers=workers)
    renderer = GripperRenderer(panda_gripper())
    scores: dict[str, list[dict[str, float]]] = {"static": [], checkpoint: [], "oracle": []}
    for path in track(paths, "evaluating", console=Console(stderr=True)):
        clip = TrueClip.read(path)
        truth = Truth(
            video=clip.video,
            observed=still_video(clip.pair, clip.video),
            gripper=np.logical_or.reduce([mask[:, 1:] for mask in clip.masks.values()]),
        )
        ceiling = score_video(truth.video, truth).miou
        generator = generators[path.name.rsplit("-", 2)[0]]
        told[clip.pair.stamp_ns] = _robot_state(clip)
        plan = generator.planner.expected(clip.pair, told[clip.pair.stamp_ns])
        rows: dict[str, tuple[PointmapVideo, Mapping[str, GripperTrack]]] = {
            "static": (truth.observed, {}),
            checkpoint: (generator.render(clip.pair, plan), generator.tracks(clip.pair, plan)),
            "oracle": (clip.video, {}),
        }
        for name, (video, planned) in rows.items():
            readout = track_video(video, clip.pair, priors=clip.priors, renderer=renderer)
            tracked = tcp_errors_mm(readout.tracks, clip.Ts_world_tcp)
            scores[name].append(
                asdict(score_video(video, truth))
                | {
                    "miou_ceiling": ceiling,
                    "tcp_error_mm": _median(tracked),
                    "lost": float(np.mean([np.mean(~track.usable) for track in readout.tracks.values()])),
                    "plan_head_error_mm": _median(tcp_errors_mm(planned, clip.Ts_world_tcp)),
                }
            )
    means = [{"row": name, "clips": len(found)} | _means(found) for name, found in scores.items()]
    _print(means)
    if json_file is not None:
        json_file.write_text("".join(json.dumps(row) + "\n" for row in means))


def tcp_errors_mm(tracks: Mapping[str, GripperTrack], true: Mapping[str, np.ndarray]) -> np.ndarray:
    """Distance [mm] of every pose that its track vouches for from the true one, the observation left out."""
    errors = [
        1000 * se3.distance(track.Ts_world_tcp[keep], true[arm][keep])[0]
        for arm, track in tracks.items()
        if (keep := track.usable & (track.times_s > 0)).any()
    ]
    return np.concatenate([*errors, np.zeros(0)])


def _robot_state(clip: TrueClip) -> RobotState:
    return RobotState(
        T_world_tcp=np.stack([clip.Ts_world_tcp[arm][0] for arm in ARMS]),
        gripper_width=np.array([clip.opening_m[arm][0] for arm in ARMS]),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each column, over the clips that have something to measure in it; infinite PSNRs count as 100 dB."""
    result: dict[str, float] = {}
    for name in _COLUMNS:
        values = np.minimum([row[name] for row in rows], 100.0 if name == "psnr" else np.inf)
        values = values[np.isfinite(values)]
        result[name] = float(values.mean()) if len(values) else float("nan")
    return result


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table("", *[str(row["row"]) for row in rows], box=None, header_style="bold")
    for name in _COLUMNS:
        table.add_row(name, *[f"{row[name]:.3g}" for row in rows])
    Console().print(table)
