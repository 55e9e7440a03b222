"""`robo4d eval`: the paper's tables for a generator, on starts and cameras that it was not trained on.

Beside the generator stand the two rows that give its numbers a scale: `static` repeats the observation, and `oracle`
is the true future, so that what it lacks to perfection is the tracker's and the metrics' own error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from PIL import Image
from rich.console import Console
from rich.progress import track

from robo4d import shipped
from robo4d.evaluation import Truth, mask_iou, score_video, split_by_arm
from robo4d.evaluation.chart import step_chart
from robo4d.evaluation.frechet import frechet_distance, paired_distance
from robo4d.evaluation.motion import Steps, lost_share, median, median_by_step, tcp_errors_mm
from robo4d.evaluation.pictures import write_pictures
from robo4d.evaluation.table import means, report
from robo4d.evaluation.truth import like, truth_of
from robo4d.geometry import se3
from robo4d.interfaces import TellsMotion
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
from robo4d_models.generators import is_svd, load_generator, weights_folder
from robo4d_models.i3d import I3d
from robo4d_models.video4d import camera_quality, flow_quality
from robo4d_models.video4d.camera_quality import localiser_quality
from robo4d_models.video4d.coding import RobotState
from robo4d_models.video4d.flow_quality import sampling_quality
from robo4d_models.video4d.segmenter import Segmenter

_READINGS = ("tcp", "plan_head", "fused")
"""Readouts by the names of their columns; the tracker's is the paper's, and just `tcp`."""
_NOTHING: Steps = np.zeros((0, 0))
_SHOWN = 2
"""Clips of each task that pictures are made of."""
FIRST_SEED = 7_000_000
"""Of the starts that evaluations use; nothing else does."""
_COLUMNS = (
    "abs_rel_n", "abs_rel_m", "delta1_n", "delta1_m",
    "abs_rel_all_n", "abs_rel_all_m", "delta1_all_n", "delta1_all_m", "abs_rel_moved", "abs_rel_still",
    "psnr", "ssim",
    "miou", "miou_robust", "miou_ceiling", "miou_true_masks", "segmenter_iou",
    "cross_view_mm", "cross_view_deg", "gripper_point_mm",
    "tcp_error_mm", "plan_head_error_mm", "fused_error_mm", "lost", "fused_lost",
)  # fmt: skip
_FVD_COLUMNS = ("fvd_n", "fvd_m", "fvd_paired_n", "fvd_paired_m")


def evaluate(
    *,
    checkpoint: str = "tiny",
    data: Path = Path("data/eval"),
    clips: int = 60,
    size: int = 96,
    seed_offset: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    pictures: Path | None = None,
    i3d: Path | None = None,
    workers: int = 2,
    flow_steps: tuple[int, ...] = (),
    cameras: bool = False,
) -> None:
    """Measure the predicted videos of a generator, and the gripper poses read from them.

    Args:
        checkpoint: `tiny` (the weights that ship), or a folder of weights of the preset tiny or svd.
        data: Folder of the true clips; they are made when they are missing.
        clips: How many, in turn of all tasks.
        size: Height and width of the true images [px]: no less than those of the predicted ones, so 320 for svd. They
            are reduced to the predicted size.
        seed_offset: Selects other starts and cameras of the same distribution.
        json_file: Write the rows to this file, too, one object each, with the errors of each readout at each step.
        pictures: Write the first clips of each task, predicted beside true, into this folder as PNG and MP4, and the
            errors over the steps of the video as errors_by_step.png.
        i3d: Measure Fréchet video distances with this network, too: i3d_torchscript.pt, to be had as
            https://github.com/universome/fvd-comparison tells. `fvd_n` and `fvd_m` are those of all clips, comparable
            only for as many clips; `fvd_paired_n` and `_m` are what the paper's released code computes, clip by clip.
        workers: Processes that make clips.
        flow_steps: Measure instead the plans that are sampled in each of these numbers of steps, on `clips` validation
            samples of `data`, a folder of `robo4d make-samples`; with few_step/ in the checkpoint, that student's, too.
        cameras: Measure instead how the localiser of the preset tiny finds cameras, on as many pairs of views of the
            validation samples of `data`.
    """
    folder = weights_folder(checkpoint)
    if flow_steps:
        report(sampling_quality(folder, data, steps=flow_steps, observations=clips), flow_quality.COLUMNS, json_file)
        return
    if cameras:
        report(localiser_quality(folder, data, pairs=clips), camera_quality.COLUMNS, json_file)
        return
    # Loaded before the clips are made, which takes long.
    subject, meter = _Subject(folder), _Meter(None if i3d is None else I3d(i3d))
    paths = make_clips(data, count=clips, seed_offset=FIRST_SEED + seed_offset, workers=workers, size=size)
    measured: dict[str, list[_Measured]] = {name: [] for name in ("static", checkpoint, "oracle")}
    times_s: list[float] = []
    shown = Counter[str]()
    for seed, path in enumerate(track(paths, "evaluating", console=Console(stderr=True))):
        clip, task = TrueClip.read(path), path.name.rsplit("-", 2)[0]
        video, told = subject.imagine(clip, task, seed=seed)
        clip = like(clip, video)
        truth, true = truth_of(clip), clip.Ts_world_tcp
        still = {arm: np.broadcast_to(Ts[:1], Ts.shape) for arm, Ts in true.items()}
        drawn = {arm: motion.Ts_world_tcp for arm, motion in told.items()} or true
        for name, (shows, Ts_world_tcp) in {
            "static": (truth.observed, still),
            checkpoint: (video, drawn),
            "oracle": (truth.video, true),
        }.items():
            measured[name].append(meter.measure(shows, told if shows is video else {}, clip, truth, Ts_world_tcp))
        times_s = [float(t) for t in video.times_s]
        shown[task] += 1
        if pictures is not None and shown[task] <= _SHOWN:
            result = measured[checkpoint][-1]
            tcp_mm, grippers_mm = (result.values[name] for name in ("tcp_error_mm", "gripper_point_mm"))
            write_pictures(
                video,
                truth.video,
                pictures / path.name,
                found=result.grippers,
                true_grippers=truth.gripper,
                title=f"{checkpoint}: {path.name}",
                subtitle=f"tracked TCP {tcp_mm:.0f} mm, grippers {grippers_mm:.0f} mm from the truth",
            )
    rows = [{"row": name, "clips": len(found)} | _row(found, measured["oracle"]) for name, found in measured.items()]
    report(rows, _COLUMNS if i3d is None else (*_COLUMNS, *_FVD_COLUMNS), json_file)
    if pictures is not None:
        lines: dict[str, Any] = {
            f"{row['row']}, {name}": row[key]
            for row in rows
            for name in _READINGS
            if (key := f"{name}_error_by_step_mm") in row
        }
        chart = step_chart(lines, times_s, title="Error of the TCP, median of the arms that move", unit="mm")
        Image.fromarray(chart).save(pictures / "errors_by_step.png")


class _Subject:
    """A generator under test."""

    def __init__(self, folder: Path) -> None:
        self._told: dict[int, RobotState] = {}
        """What the robot says of itself at the time of an observation."""
        if is_svd(folder):
            self._generators = dict.fromkeys(TASKS, load_generator(folder, ""))  # the weights know their task
        else:
            self._generators = {task: load_generator(folder, task, state=self._told.get) for task in TASKS}

    def imagine(self, clip: TrueClip, task: str, *, seed: int) -> tuple[PointmapVideo, Mapping[str, GripperTrack]]:
        """The predicted video, and the motion that the generator tells, if it does."""
        generator = self._generators[task]
        self._told[clip.pair.stamp_ns] = RobotState(
            T_world_tcp=np.stack([clip.Ts_world_tcp[arm][0] for arm in ARMS]),
            gripper_width=np.array([clip.opening_m[arm][0] for arm in ARMS]),
            joints=np.stack([clip.joints[arm][0] for arm in ARMS]),
        )
        video = generator.generate(clip.pair, seed=seed)
        return video, generator.told if isinstance(generator, TellsMotion) else {}


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One video of one clip."""

    values: dict[str, float]
    errors_mm: dict[str, Steps]
    """Of each readout."""
    grippers: dict[str, Bool[Array, "v t h w"]]
    """Found in the video, of each arm."""
    features: Float[Array, "v d"] | None
    """Of each view."""


class _Meter:
    """What videos are measured with."""

    def __init__(self, i3d: I3d | None) -> None:
        self._i3d = i3d
        self._renderer, self._arm = GripperRenderer(panda_gripper()), ArmRenderer(panda_arm())
        self._segmenter = Segmenter.load(shipped.TINY / "segmenter.safetensors")

    def measure(
        self,
        video: PointmapVideo,
        told: Mapping[str, GripperTrack],
        clip: TrueClip,
        truth: Truth,
        Ts_world_tcp: Mapping[str, Float[Array, "t 4 4"]],
    ) -> _Measured:
        """Hold a video against what came.

        Args:
            video: The prediction.
            told: What its generator says of the motion in it, if it does.
            clip: What came, like the prediction.
            truth: The same.
            Ts_world_tcp: Where the video shows the grippers, the observation first, as far as that is known.
        """
        assert clip.pair.n.T_world_camera is not None  # of every clip
        T_n_world = se3.inverse(clip.pair.n.T_world_camera)
        # By the video's own images, as the paper finds grippers with SAM 2.
        images = video.rgb.reshape(-1, *video.rgb.shape[2:])
        gripper = self._segmenter.masks(images)["gripper"].reshape(video.valid.shape)
        tcps = {arm: se3.apply(T_n_world, Ts[1:, :3, 3]) for arm, Ts in Ts_world_tcp.items()}
        grippers = split_by_arm(gripper, video.points, video.valid, tcps)
        readout = track_video(video, clip.pair, priors=clip.priors, renderer=self._renderer, arm=self._arm)
        readings = {"tcp": readout.tracks}
        if told:
            readings |= {"plan_head": dict(told), "fused": fused_readout(readout, told).tracks}
        errors = {name: tcp_errors_mm(tracks, clip.Ts_world_tcp) for name, tracks in readings.items()}
        values = asdict(score_video(video, truth, grippers))
        values["segmenter_iou"] = mask_iou(gripper, np.logical_or.reduce([*truth.gripper.values()]))
        values |= {f"{name}_error_mm": median(errors.get(name, _NOTHING)) for name in _READINGS}
        values["lost"] = lost_share(readout.tracks)
        values["fused_lost"] = lost_share(readings["fused"]) if told else float("nan")
        features = None if self._i3d is None else self._i3d.features(video.rgb)
        return _Measured(values=values, errors_mm=errors, grippers=grippers, features=features)


def _row(clips: Sequence[_Measured], oracle: Sequence[_Measured]) -> dict[str, Any]:
    """Of the table: means over the clips, and what is measured over all of them together."""
    perfect = means([clip.values for clip in oracle])
    row: dict[str, Any] = means([clip.values for clip in clips])
    # Of the true video: on others, nobody knows where the grippers are.
    row |= {"miou_ceiling": perfect["miou"], "segmenter_iou": perfect["segmenter_iou"]}
    features = [[clip.features for clip in found if clip.features is not None] for found in (clips, oracle)]
    if features[0]:
        predicted, true = (np.stack(found, axis=1) for found in features)
        for v, view in enumerate("nm"):
            row[f"fvd_{view}"] = frechet_distance(predicted[v], true[v])
            row[f"fvd_paired_{view}"] = paired_distance(predicted[v], true[v])
    for name in _READINGS:
        if name in clips[0].errors_mm:
            row[f"{name}_error_by_step_mm"] = median_by_step([clip.errors_mm[name] for clip in clips])
    return row
