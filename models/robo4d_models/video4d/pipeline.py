"""The tiny preset at work: from one RGB-D frame per view to a 4D video. The file to read first.

observation -> plan model -> keyframes -> poses of every frame -> draft -> refiner -> PointmapVideo

Of images that are wider than high, or higher than wide, the middle square is read, and the video shows it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d import PointmapVideo, RgbdFrame, RgbdPair
from robo4d.geometry import Camera, se3
from robo4d.health import Health
from robo4d.interfaces import Cancelled
from robo4d.track import GripperTrack
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import (
    ARMS,
    FARTHEST,
    HELD_WIDTH,
    OPEN_WIDTH,
    RobotState,
    middle_square,
    resize_nearest,
)
from robo4d_models.video4d.draft import Draughtsman, View, compose
from robo4d_models.video4d.keyframes import KeyframePlan
from robo4d_models.video4d.localiser import Localiser
from robo4d_models.video4d.planning import FLOW_STEPS, KeyframePlanner
from robo4d_models.video4d.refiner import (
    Refiner,
    RefinerConfig,
    encode_draft,
    encode_motion,
)
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.segmenter import Segmenter

WITNESSES = 15
"""Further plans that are drawn with each one, to see how sure the model is."""
_LEAST_ROBOT_SEEN = 0.3
"""Share of the robot that a camera must show where it should be. Nearly all of it with true poses, half of it behind
the shelf; with poses that are 10 cm off, a third, and almost nothing of an image that is upside down."""
_SAME_M, _SAME_RAD = 0.025, math.radians(15)
"""Poses within this of each other are the same: the limits of a right one."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """What is generated."""

    frames: int = 10
    """Predicted frames, as in the paper."""
    period_s: float = 0.5
    """Time between them [s]: 2 Hz, as in the paper."""
    size: int = 96
    """Height and width of the video [px]; a multiple of 8."""
    flow_steps: int = FLOW_STEPS
    """Euler steps in which plans are sampled; weights of `robo4d train --part few_step` need one or two."""
    temperature: float = 0.25
    """Scale of the noise that the plan of a video begins with: near the middle of what the model believes in, where the
    errors are smallest, and yet another plan for each seed. Those that it is held against are drawn with 1."""


StateSource = Callable[[int], RobotState | None]
"""Tells the robot's state at a time [ns], or None where it is not known."""


class TinyGenerator:
    """Imagines the future of two RGB-D views. Implements `robo4d.interfaces.VideoGenerator`.

    Args:
        planner: Makes keyframes; it knows the task.
        refiner: Turns drafts into pictures. Without one, the drafts themselves are the video.
        segmenter: Finds the objects that move as a whole. Without one, only what is between the fingers does.
        localiser: Finds cameras whose poses are unknown. Without one, they must be known.
        robot: Of each arm and its gripper.
        state: Where the robot's state comes from; without it the arms are read from the images.
        config: What is generated.
    """

    def __init__(
        self,
        planner: KeyframePlanner,
        refiner: Refiner | None,
        robot: RobotModel,
        *,
        segmenter: Segmenter | None = None,
        localiser: Localiser | None = None,
        state: StateSource = lambda stamp_ns: None,
        config: TinyConfig | None = None,
    ) -> None:
        self.planner, self._refiner, self._robot, self._state = planner, refiner, robot, state
        self._segmenter, self._localiser = segmenter, localiser
        self.config = config or TinyConfig()
        self.told: dict[str, GripperTrack] = {}
        """Where the grippers are in the last video, by arm: the `plan_head` readout."""

    @classmethod
    def load(
        cls, folder: Path, task: str, *, state: StateSource = lambda stamp_ns: None, config: TinyConfig | None = None
    ) -> "TinyGenerator":
        """The generator with the weights of a folder that `robo4d train` wrote.

        A folder may lack all but the plan model. Without a refiner, the drafts are the video.

        Raises:
            ValueError: the weights are missing, damaged, not those that their hashes name, or not of this model.
        """
        if (folder / "network.safetensors").is_file():
            raise ValueError(
                f"{folder} holds weights of the preset svd, not of tiny: load them with "
                "`robo4d_models.generators.load_generator`, which tells both apart"
            )
        checkpoints.verify(folder)
        planner = KeyframePlanner.load(folder / "plan.safetensors", task)
        objects = folder / "segmenter.safetensors"
        segmenter = Segmenter.load(objects) if objects.exists() else None
        places = folder / "localiser.safetensors"
        if not (folder / "refiner.safetensors").exists():
            robot = RobotModel.of_franka()
            localiser = Localiser.load(places, robot) if places.exists() else None
            return cls(planner, None, robot, segmenter=segmenter, localiser=localiser, state=state, config=config)
        values, sizes = checkpoints.load_weights(folder / "refiner.safetensors")
        sizes["widths"] = tuple(sizes["widths"])
        refiner = Refiner(RefinerConfig(**sizes))
        trained = {name: value for name, value in values.items() if not name.startswith("robot.")}
        try:
            refiner.load_state_dict(trained)
        except RuntimeError as error:
            raise ValueError(f"{folder / 'refiner.safetensors'} holds the weights of another model: {error}") from error
        robot = RobotModel.from_tensors(values)
        localiser = Localiser.load(places, robot) if places.exists() else None
        return cls(planner, refiner.eval(), robot, segmenter=segmenter, localiser=localiser, state=state, config=config)

    def place(self, pair: RgbdPair) -> RgbdPair:
        """The pair with the poses of both cameras; see `Localiser.place`."""
        return pair if self._localiser is None else self._localiser.place(pair, self._state(pair.stamp_ns))

    @property
    def placement(self) -> Health | None:
        """How sure the poses are that `place` told last; see `PlacesCameras.placement`."""
        return None if self._localiser is None else self._localiser.health

    def generate(
        self, pair: RgbdPair, *, seed: int, progress: Callable[[int, int], bool] = lambda step, steps: True
    ) -> PointmapVideo:
        """The predicted video that follows the pair; see `VideoGenerator.generate`."""
        pair = self.place(pair)
        state, steps = self._state(pair.stamp_ns), self.config.flow_steps
        temperatures = [self.config.temperature, *[1.0] * WITNESSES]
        plan, *others = self.planner.sample(pair, state, temperatures=temperatures, seed=seed, steps=steps)
        video = self.render(pair, plan, progress=progress)
        self.told = self.tracks(pair, plan, others)
        return video

    def render(
        self,
        pair: RgbdPair,
        plan: KeyframePlan,
        *,
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> PointmapVideo:
        """The video of a plan.

        Raises:
            Cancelled: `progress` returned False.
            ValueError: a view does not show the robot where its joints, or else the model, have it.
        """
        views = self._views(pair)
        start = self._start(pair, plan)
        times_s = self.times_s
        poses, widths = plan.at(times_s, start)
        if self._refiner is not None and not self._refiner.config.drawn:
            poses, widths = (
                np.broadcast_to(start.T_world_tcp, poses.shape),
                np.broadcast_to(start.gripper_width, widths.shape),
            )
        draughtsman = Draughtsman(views, self._robot, start, poses, widths)
        for frame, share in zip((pair.n, pair.m), draughtsman.robot_seen, strict=True):
            if share is not None and share < _LEAST_ROBOT_SEEN:
                raise ValueError(
                    f"{frame.camera}: {share:.0%} of the robot is seen where it must be, at least "
                    f"{_LEAST_ROBOT_SEEN:.0%} are needed: check both cameras' calibration on tf, whether their images "
                    "are upright, and the joint states"
                )
        frames: list[tuple[Array, Array]] = []
        for t in range(len(times_s)):
            if not progress(t, len(times_s)):
                raise Cancelled
            drafts = draughtsman.draw(t)
            if self._refiner is None:
                composed = [compose(view, draft) for view, draft in zip(views, drafts, strict=True)]
                frames.append((np.stack([rgb for rgb, _ in composed]), np.stack([depth for _, depth in composed])))
                continue
            codes = np.stack([encode_draft(view, draft) for view, draft in zip(views, drafts, strict=True)])
            motion = [encode_motion(v, start.T_world_tcp, poses[t], widths[t], float(times_s[t])) for v in views]
            with torch.no_grad():
                output = self._refiner(torch.from_numpy(codes)[None], torch.from_numpy(np.stack(motion))[None])
            depth = torch.where(output.valid > 0, output.surface_depth, 0.0).clamp(min=0.0)[0].numpy()
            frames.append((output.rgb[0].permute(0, 2, 3, 1).numpy() * 0.5 + 0.5, depth))
        rgb = np.stack([frame[0] for frame in frames], axis=1)
        depth = np.stack([frame[1] for frame in frames], axis=1).astype(np.float32)
        return self._video(pair, views, rgb, depth)

    def tracks(
        self, pair: RgbdPair, plan: KeyframePlan, others: Sequence[KeyframePlan] = ()
    ) -> dict[str, GripperTrack]:
        """The motion of each gripper as the plan has it: the `plan_head` readout, without the detour by the video.

        Its confidence is the share of other plans, drawn from the same observation, that have the gripper at the same
        place at the same time (25 mm, 15 deg); 1 without others.
        """
        start = self._start(pair, plan)
        poses, widths = plan.at(self.times_s, start)
        agree = [_same_pose(poses, other.at(self.times_s, start)[0]) for other in others]
        trust = np.mean(agree, axis=0) if agree else np.ones(widths.shape)
        poses = np.concatenate([start.T_world_tcp[None], poses])
        widths = np.concatenate([start.gripper_width[None], widths])
        trust = np.concatenate([np.ones((1, len(ARMS))), trust])
        count = len(poses)
        return {
            arm: GripperTrack(
                arm=arm,
                stamp_ns=pair.stamp_ns,
                times_s=np.concatenate([[0.0], self.times_s]),
                Ts_world_tcp=poses[:, i],
                confidence=trust[:, i],
                inlier=np.ones(count, bool),
                view=np.full(count, -1),
                opening_m=widths[:, i],
                open=widths[:, i] >= HELD_WIDTH,
            )
            for i, arm in enumerate(ARMS)
        }

    @property
    def times_s(self) -> Float[Array, " t"]:
        """Time of each frame after the observation [s]."""
        return self.config.period_s * np.arange(1, self.config.frames + 1)

    def _views(self, pair: RgbdPair) -> tuple[View, View]:
        """Both frames at the size of the video, with the objects in them."""
        size, frames = self.config.size, (middle_square(pair.n), middle_square(pair.m))
        n, m = (_view(frame, size) for frame in frames)
        if self._segmenter is None:
            return n, m
        images = [resize_nearest(frame.rgb, size, size) for frame in frames]
        movable_n, movable_m = self._segmenter.masks(np.stack(images))["object"]
        return replace(n, movable=movable_n), replace(m, movable=movable_m)

    def _start(self, pair: RgbdPair, plan: KeyframePlan) -> RobotState:
        """Where the grippers are: measured, or else as the model sees them, open."""
        measured = self._state(pair.stamp_ns)
        return measured or RobotState(T_world_tcp=plan.T_world_tcp_now, gripper_width=np.full(len(ARMS), OPEN_WIDTH))

    def _video(
        self, pair: RgbdPair, views: tuple[View, View], rgb: Float[Array, "v t h w 3"], depth: Float[Array, "v t h w"]
    ) -> PointmapVideo:
        """All points in the camera frame of view n."""
        T_n_world = se3.inverse(views[0].camera.T_world_camera)
        points = np.stack(
            [
                se3.apply(T_n_world @ view.camera.T_world_camera, view.camera.intrinsics.backproject(depth[i]))
                for i, view in enumerate(views)
            ]
        )
        valid = depth > 0
        return PointmapVideo(
            rgb=np.round(255 * rgb.clip(0, 1)).astype(np.uint8),
            points=np.where(valid[..., None], points, 0).astype(np.float32),
            valid=valid,
            times_s=self.times_s.astype(np.float32),
            intrinsics=tuple(view.camera.intrinsics for view in views),
            frame=pair.n.camera,
            stamp_ns=pair.stamp_ns,
        )


def _same_pose(Ts: Float[Array, "t a 4 4"], others: Float[Array, "t a 4 4"]) -> Bool[Array, "t a"]:
    distance, angle = se3.distance(Ts, others)
    return (distance < _SAME_M) & (angle < _SAME_RAD)


def _view(frame: RgbdFrame, size: int) -> View:
    """A square frame at the size of the video.

    The pixels that are kept need not lie at the centres of the small image's pixels; the principal point is moved by
    the mean of their offsets, so that the rays are exact wherever the size divides the frame's.
    """
    if frame.T_world_camera is None:
        raise ValueError(
            f"{frame.camera}: the camera's pose is unknown; publish it on tf, or calibrate the camera first"
        )
    k = frame.intrinsics
    centres = np.arange(size) + 0.5
    kept = (centres * k.width / size).astype(int) + 0.5
    offset = float(np.mean(kept * size / k.width - centres))
    intrinsics = k.resized(width=size, height=size)
    intrinsics = replace(intrinsics, cx=intrinsics.cx - offset, cy=intrinsics.cy - offset)
    depth = np.nan_to_num(resize_nearest(frame.depth, size, size), posinf=0.0).astype(np.float32)
    return View(
        rgb=resize_nearest(frame.rgb, size, size).astype(np.float32) / 255,
        depth=np.where(depth < FARTHEST, depth, np.float32(0)),
        camera=Camera(intrinsics=intrinsics, T_world_camera=frame.T_world_camera),
    )
