"""`robo4d eval`: the paper's tables for a generator, on starts and cameras that it was not trained on.

Beside the generator stand the two rows that give its numbers a scale: `static` repeats the observation, and `oracle`
is the true future, so that what it lacks to perfection is the tracker's and the metrics' own error.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from rich.console import Console
from rich.progress import track
from rich.table import Table

from robo4d import shipped
from robo4d.evaluation import Truth, score_video, still_video
from robo4d.evaluation.pictures import write_pictures
from robo4d.geometry import se3
from robo4d.sim.state import ARMS
from robo4d.sim.tasks import TASKS
from robo4d.track import GripperTrack
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.clips import TrueClip, make_clips
from robo4d.tracking.panda import panda_arm, panda_gripper
from robo4d.tracking.plan_head import fused_readout
from robo4d.tracking.readout import track_video
from robo4d.tracking.rendering import GripperRenderer
from robo4d.video import PointmapVideo
from robo4d_models.video4d import flow_quality
from robo4d_models.video4d.coding import RobotState
from robo4d_models.video4d.flow_quality import sampling_quality
from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator
from robo4d_models.video4d.segmenter import Segmenter

Steps = Float[Array, "a steps"]
"""A value of each arm at each frame after the observation."""
_READINGS = ("tcp", "plan_head", "fused")
"""Readouts by the names of their columns; the tracker's is the paper's, and just `tcp`."""
_NOTHING: Steps = np.zeros((0, 0))
_MOVES_M = 0.02
"""An arm whose gripper comes no farther than this [m] rests, and is easily followed."""
_SHOWN = 2
"""Clips of each task that pictures are made of."""
FIRST_SEED = 7_000_000
"""Of the starts that evaluations use; nothing else does."""
_COLUMNS = (
    "abs_rel_n", "abs_rel_m", "delta1_n", "delta1_m", "abs_rel_moved", "abs_rel_still", "psnr", "ssim",
    "miou", "miou_robust", "gripper_point_mm",
    "tcp_error_mm", "plan_head_error_mm", "fused_error_mm", "lost",
)  # fmt: skip


def evaluate(
    *,
    checkpoint: str = "tiny",
    data: Path = Path("data/eval"),
    clips: int = 60,
    seed_offset: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    pictures: Path | None = None,
    workers: int = 2,
    flow_steps: tuple[int, ...] = (),
) -> None:
    """Measure the predicted videos of a generator, and the gripper poses read from them.

    Args:
        checkpoint: `tiny` (the weights that ship), or a folder of weights.
        data: Folder of the true clips; they are made when they are missing.
        clips: How many, in turn of all tasks.
        seed_offset: Selects other starts and cameras of the same distribution.
        json_file: Write the rows to this file, too, one object each, with the errors of each readout at each step.
        pictures: Write the first clips of each task, predicted beside true, into this folder as PNG and MP4.
        workers: Processes that make clips.
        flow_steps: Measure instead the plans that are sampled in each of these numbers of steps, on `clips` validation
            samples of `data`, a folder of `robo4d make-samples`; with few_step/ in the checkpoint, that student's, too.
    """
    folder = shipped.TINY if checkpoint == "tiny" else Path(checkpoint)
    if flow_steps:
        _report(sampling_quality(folder, data, steps=flow_steps, observations=clips), flow_quality.COLUMNS, json_file)
        return
    told: dict[int, RobotState] = {}  # what the robot says of itself at the time of an observation
    config = TinyConfig()
    # Loaded before the clips are made, which takes long.
    generators = {task: TinyGenerator.load(folder, task, state=told.get, config=config) for task in TASKS}
    paths = make_clips(data, count=clips, seed_offset=FIRST_SEED + seed_offset, workers=workers, size=config.size)
    renderer, arm = GripperRenderer(panda_gripper()), ArmRenderer(panda_arm())
    segmenter = Segmenter.load(shipped.TINY / "segmenter.safetensors")
    scores: dict[str, list[dict[str, float]]] = {"static": [], checkpoint: [], "oracle": []}
    steps: dict[str, list[dict[str, Steps]]] = {name: [] for name in scores}
    shown = Counter[str]()
    for path in track(paths, "evaluating", console=Console(stderr=True)):
        clip = TrueClip.read(path)
        truth = Truth(
            video=clip.video,
            observed=still_video(clip.pair, clip.video),
            gripper=np.logical_or.reduce([mask[:, 1:] for mask in clip.masks.values()]),
        )
        task = path.name.rsplit("-", 2)[0]
        generator = generators[task]
        told[clip.pair.stamp_ns] = _robot_state(clip)
        plan = generator.planner.expected(clip.pair, told[clip.pair.stamp_ns])
        rows: dict[str, tuple[PointmapVideo, Mapping[str, GripperTrack]]] = {
            "static": (truth.observed, {}),
            checkpoint: (generator.render(clip.pair, plan), generator.tracks(clip.pair, plan)),
            "oracle": (clip.video, {}),
        }
        for name, (video, planned) in rows.items():
            readout = track_video(video, clip.pair, priors=clip.priors, renderer=renderer, arm=arm)
            readings = {"tcp": readout.tracks}
            if planned:
                readings |= {"plan_head": planned, "fused": fused_readout(readout, planned).tracks}
            errors = {reading: tcp_errors_mm(tracks, clip.Ts_world_tcp) for reading, tracks in readings.items()}
            steps[name].append(errors)
            scores[name].append(
                asdict(score_video(video, truth, _grippers(segmenter, video)))
                | {f"{reading}_error_mm": _median(errors.get(reading, _NOTHING)) for reading in _READINGS}
                | {
                    "lost": float(np.mean([np.mean(~track.usable) for track in readout.tracks.values()])),
                }
            )
        shown[task] += 1
        if pictures is not None and shown[task] <= _SHOWN:
            row = scores[checkpoint][-1]
            errors_mm = (
                f"tracked TCP {row['tcp_error_mm']:.0f} mm, grippers {row['gripper_point_mm']:.0f} mm from the truth"
            )
            write_pictures(
                rows[checkpoint][0],
                truth.video,
                pictures / path.name,
                title=f"{checkpoint}: {path.name}",
                subtitle=errors_mm,
            )
    means = [{"row": name, "clips": len(found)} | _means(found) for name, found in scores.items()]
    full = [row | _by_step(steps[name]) for name, row in zip(scores, means, strict=True)]
    _report(full, _COLUMNS, json_file)


def tcp_errors_mm(tracks: Mapping[str, GripperTrack], true: Mapping[str, Float[Array, "t 4 4"]]) -> Steps:
    """Distance [mm] of every pose after the observation from the true one, of the arms that move.

    NaN where a pose is not vouched for.
    """
    errors, moves = list[Array](), list[bool]()
    for arm, motion in tracks.items():
        distance, _ = se3.distance(np.nan_to_num(motion.Ts_world_tcp), true[arm])
        errors.append(np.where(motion.usable, 1000 * distance, np.nan)[1:])
        moves.append(bool(np.ptp(true[arm][:, :3, 3], axis=0).max() > _MOVES_M))
    return np.stack(errors)[moves]


def _grippers(segmenter: Segmenter, video: PointmapVideo) -> Bool[Array, "v t h w"]:
    """Where a video shows grippers, by its own images, as the paper finds them with SAM 2."""
    views, frames = video.rgb.shape[:2]
    found = segmenter.masks(video.rgb.reshape(views * frames, *video.rgb.shape[2:]))["gripper"]
    return found.reshape(views, frames, *found.shape[1:])


def _robot_state(clip: TrueClip) -> RobotState:
    return RobotState(
        T_world_tcp=np.stack([clip.Ts_world_tcp[arm][0] for arm in ARMS]),
        gripper_width=np.array([clip.opening_m[arm][0] for arm in ARMS]),
        joints=np.stack([clip.joints[arm][0] for arm in ARMS]),
    )


def _median(values: Steps) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _by_step(clips: Sequence[Mapping[str, Steps]]) -> dict[str, list[float]]:
    """Median error of each reading at each step, over all clips and arms [mm] (the paper's A.6)."""
    rows = {name: [clip[name] for clip in clips if name in clip] for name in _READINGS}
    return {
        f"{name}_error_by_step_mm": [_median(step) for step in np.concatenate(found).T]
        for name, found in rows.items()
        if found
    }


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each column, over the clips that have something to measure in it; infinite PSNRs count as 100 dB."""
    result: dict[str, float] = {}
    for name in _COLUMNS:
        values = np.minimum([row[name] for row in rows], 100.0 if name == "psnr" else np.inf)
        values = values[np.isfinite(values)]
        result[name] = float(values.mean()) if len(values) else float("nan")
    return result


def _report(rows: Sequence[Mapping[str, object]], columns: Sequence[str], json_file: Path | None) -> None:
    table = Table("", *[str(row["row"]) for row in rows], box=None, header_style="bold")
    for name in columns:
        table.add_row(name, *[f"{row[name]:.3g}" for row in rows])
    Console().print(table)
    if json_file is not None:
        json_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
