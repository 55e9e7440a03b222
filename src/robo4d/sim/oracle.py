"""The oracle: a generator that knows the future, because it simulates it with the task's expert.

What a 4D video model can be at best, and the measure of everything behind it: a closed loop that fails with a perfect
video has lost it in tracking, planning or execution.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray as Array

from robo4d.foresight import foreseen_stamp_ns
from robo4d.geometry import Camera, se3
from robo4d.interfaces import Cancelled
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.sim.cell import Cell
from robo4d.sim.render import Renderer
from robo4d.sim.snapshot import Snapshot
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, ArmCommand, CellState
from robo4d.track import GripperTrack
from robo4d.tracking.degrade import Degradation, degrade_video
from robo4d.tracking.opening import OpenRule
from robo4d.video import PointmapVideo

SnapshotSource = Callable[[int], Snapshot]
"""Gives the state of the live cell at a time [ns]: that of the observation."""


@dataclass(frozen=True, kw_only=True)
class OracleConfig:
    """What is foreseen."""

    frames: int = 10
    """Frames of the video, as in the paper."""
    period_s: float = 0.5
    """Time between them [s]: 2 Hz, as in the paper."""
    degradation: Degradation = field(default_factory=Degradation)
    """Faults of the video, to stand in for a generator that is not perfect."""

    def __post_init__(self) -> None:
        """Refuse frames between two control ticks."""
        ticks = self.period_s / CONTROL_PERIOD_S
        if self.frames < 1 or round(ticks) < 1 or abs(ticks - round(ticks)) > 1e-6:
            raise ValueError(
                f"an oracle needs at least one frame, and a period of whole control ticks of {CONTROL_PERIOD_S} s, "
                f"got {self}"
            )


class OracleGenerator:
    """Simulates and draws the next seconds. Implements `robo4d.interfaces.VideoGenerator`.

    It has a cell of its own, so that the live one is never touched. OpenGL ties it to the thread that makes it.

    Args:
        task: What stands in the live cell.
        snapshot: Where the state of the live cell comes from.
        config: What is foreseen.
    """

    def __init__(self, task: str, snapshot: SnapshotSource, config: OracleConfig | None = None) -> None:
        self._cell = Cell(task)
        self._renderer = Renderer(self._cell.model, objects=self._cell.task.objects)
        self._snapshot, self.config = snapshot, config or OracleConfig()
        self.foreseen: tuple[CellState, ...] = ()
        """The cell in the observation and in each frame of the last video: the truth that it shows."""
        self._stamp_ns = 0
        self._ahead: dict[int, Snapshot] = {}
        """The cell in each frame of the last video, by the frame's stamp."""

    def generate(
        self, pair: RgbdPair, *, seed: int, progress: Callable[[int, int], bool] = lambda step, steps: True
    ) -> PointmapVideo:
        """The future that follows the pair; the seed selects the faults. See `VideoGenerator.generate`.

        The pair is one that the live cell has shown, or a frame of the last video (`robo4d.foresight`).

        Raises:
            ValueError: the pose of a camera is unknown.
        """
        cameras = [_camera(frame) for frame in (pair.n, pair.m)]
        state = self._cell.restore(self._ahead.get(pair.stamp_ns) or self._snapshot(pair.stamp_ns))
        expert, asked = self._cell.task.expert(), dict[str, ArmCommand]()
        states, ahead = [state], dict[int, Snapshot]()
        views: list[list[tuple[UInt8[Array, "h w 3"], Float32[Array, "h w"]]]] = [[] for _ in cameras]
        for frame in range(self.config.frames):
            if not progress(frame, self.config.frames):
                raise Cancelled
            for _ in range(round(self.config.period_s / CONTROL_PERIOD_S)):
                asked |= expert.command(state)
                state = self._cell.step(asked)
            states.append(state)
            ahead[foreseen_stamp_ns(pair.stamp_ns, frame + 1)] = self._cell.snapshot()
            self._renderer.update(self._cell.data)
            for view, camera in zip(views, cameras, strict=True):
                view.append(self._renderer.rgbd(camera))
        video = self._video(pair, cameras, views)
        if not self.config.degradation.is_perfect:
            T_n_m = se3.inverse(cameras[0].T_world_camera) @ cameras[1].T_world_camera
            rng = np.random.default_rng([seed, pair.stamp_ns % 2**32])
            video = degrade_video(video, self.config.degradation, T_n_m=T_n_m, rng=rng)
        self.foreseen, self._stamp_ns, self._ahead = tuple(states), pair.stamp_ns, ahead
        return video

    @property
    def told(self) -> dict[str, GripperTrack]:
        """The true motion of each gripper in the last video; see `TellsMotion`."""
        count = len(self.foreseen)
        tracks: dict[str, GripperTrack] = {}
        for arm in ARMS if count else ():
            widths = np.array([state.arms[arm].gripper_width for state in self.foreseen])
            tracks[arm] = GripperTrack(
                arm=arm,
                stamp_ns=self._stamp_ns,
                times_s=self.config.period_s * np.arange(count),
                Ts_world_tcp=np.stack([state.arms[arm].T_world_tcp for state in self.foreseen]),
                confidence=np.ones(count),
                inlier=np.ones(count, bool),
                view=np.full(count, -1),
                opening_m=widths,
                open=widths > OpenRule().pads_threshold_m,
            )
        return tracks

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()

    def _video(
        self,
        pair: RgbdPair,
        cameras: list[Camera],
        views: list[list[tuple[UInt8[Array, "h w 3"], Float32[Array, "h w"]]]],
    ) -> PointmapVideo:
        """All points in the camera frame of view n."""
        T_n_world: Float[Array, "4 4"] = se3.inverse(cameras[0].T_world_camera)
        depth = np.stack([[frame for _, frame in view] for view in views])
        points = [
            se3.apply(T_n_world @ camera.T_world_camera, camera.intrinsics.backproject(frames))
            for camera, frames in zip(cameras, depth, strict=True)
        ]
        valid = depth > 0
        return PointmapVideo(
            rgb=np.stack([[rgb for rgb, _ in view] for view in views]),
            points=np.where(valid[..., None], np.stack(points), 0).astype(np.float32),
            valid=valid,
            times_s=(self.config.period_s * np.arange(1, self.config.frames + 1)).astype(np.float32),
            intrinsics=(cameras[0].intrinsics, cameras[1].intrinsics),
            frame=pair.n.camera,
            stamp_ns=pair.stamp_ns,
        )


def _camera(frame: RgbdFrame) -> Camera:
    if frame.T_world_camera is None:
        raise ValueError(f"{frame.camera}: the oracle draws what this camera will see, and must know its pose: see tf")
    return Camera(intrinsics=frame.intrinsics, T_world_camera=frame.T_world_camera)
