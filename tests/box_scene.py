"""A workplace of boxes and a gripper of boxes, filmed by two cameras: ray casting independent of the product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robo4d import Camera, Intrinsics, PointmapVideo, RgbdFrame, RgbdPair, se3
from robo4d.geometry import look_at
from robo4d.tracking import GripperModel, GripperPrior

MODEL = GripperModel.example()
PERIOD_S = 0.25
DOWNWARDS = np.diag([1.0, -1.0, -1.0, 1.0])


def camera(eye: Sequence[float], size: int = 128) -> Camera:
    intrinsics = Intrinsics.from_fovy(38.0, width=size, height=size)
    return Camera(intrinsics=intrinsics, T_world_camera=look_at(np.array(eye), np.array([0.0, 0.0, 0.2])))


CAMERAS = (camera([1.0, 0.3, 0.7]), camera([0.4, -1.0, 0.6]))


@dataclass(frozen=True)
class Box:
    """In its own frame, between two corners."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    T_world_box: np.ndarray = field(default_factory=lambda: np.eye(4))


TABLE = Box((-0.6, -0.6, -0.05), (0.6, 0.6, 0.0))
FLOOR = Box((-9.0, -9.0, -0.8), (9.0, 9.0, -0.7))
ROOM = (TABLE, FLOOR)
BLOCK = Box((0.1, 0.1, 0.0), (0.2, 0.25, 0.1))


def gripper(T_world_hand: np.ndarray, opening_m: float, *, forearm: bool = True) -> list[Box]:
    """Boxes of the gripper, and of a forearm that the tracker does not know."""
    parts = MODEL.parts(opening_m).values()
    boxes = [Box(tuple(m.vertices.min(axis=0)), tuple(m.vertices.max(axis=0)), T_world_hand) for m in parts]
    return [*boxes, Box((-0.05, -0.05, -0.3), (0.05, 0.05, -0.062), T_world_hand)] if forearm else boxes


def depth_image(boxes: Sequence[Box], camera: Camera) -> np.ndarray:
    """Depth [m] by slabs (Kay and Kajiya 1986), 0 where nothing is hit."""
    rays, nearest = camera.intrinsics.rays(), np.full((camera.intrinsics.height, camera.intrinsics.width), np.inf)
    for box in boxes:
        T_box_camera = se3.inverse(box.T_world_box) @ camera.T_world_camera
        direction = rays @ T_box_camera[:3, :3].T
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = ((np.array(c) - T_box_camera[:3, 3]) / direction for c in (box.low, box.high))
        enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
        hit = (enter <= leave) & (enter > 0) & (enter < nearest)
        nearest[hit] = enter[hit]
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)


def frame(boxes: Sequence[Box], camera: Camera) -> RgbdFrame:
    k = camera.intrinsics
    return RgbdFrame(
        rgb=np.full((k.height, k.width, 3), 128, np.uint8),
        depth=depth_image(boxes, camera),
        intrinsics=k,
        camera="camera",
        stamp_ns=0,
        T_world_camera=camera.T_world_camera,
    )


def path(
    steps: int, *, start: Sequence[float] = (0.0, -0.1, 0.35), step: Sequence[float] = (0.01, 0.02, -0.01)
) -> np.ndarray:
    """Ts_world_hand of a gripper that points down, travels and turns a little."""
    turns = [se3.exp(np.array([0, 0, 0, 0.02 * i, 0, 0.05 * i])) for i in range(steps)]
    return np.stack(
        [se3.translation(*(np.array(start) + i * np.array(step))) @ DOWNWARDS @ turns[i] for i in range(steps)]
    )


def film(
    paths: Mapping[str, np.ndarray],
    *,
    opening_m: float | Sequence[float] = 0.08,
    extra: Sequence[Sequence[Box]] | None = None,
    forearm: bool = True,
    cameras: Sequence[Camera] = CAMERAS,
) -> tuple[PointmapVideo, RgbdPair, dict[str, GripperPrior]]:
    """A perfect video of grippers on their way, the observation it starts from, and what the robot's state says then.

    Args:
        paths: Ts_world_hand of each arm; the first pose is the observation.
        opening_m: Of all grippers, always or in each frame.
        extra: Further boxes in each frame.
        forearm: As in `gripper`.
        cameras: n and m.
    """
    steps = len(next(iter(paths.values())))
    openings = np.broadcast_to(opening_m, steps)
    moments = []
    for t in range(steps):
        boxes = [*ROOM, BLOCK, *(extra[t] if extra else [])]
        for Ts in paths.values():
            boxes += gripper(Ts[t], openings[t], forearm=forearm)
        moments.append([frame(boxes, c) for c in cameras])
    T_n_world = se3.inverse(cameras[0].T_world_camera)
    points = [[se3.apply(T_n_world, c.backproject(m[v].depth)) for m in moments[1:]] for v, c in enumerate(cameras)]
    depth = np.array([[m[v].depth for m in moments[1:]] for v in range(2)])
    video = PointmapVideo(
        rgb=np.array([[m[v].rgb for m in moments[1:]] for v in range(2)]),
        points=np.array(points, np.float32) * (depth > 0)[..., None],
        valid=depth > 0,
        times_s=(PERIOD_S * np.arange(1, steps)).astype(np.float32),
        intrinsics=tuple(c.intrinsics for c in cameras),
        frame="n",
        stamp_ns=0,
    )
    priors = {
        arm: GripperPrior(T_world_tcp=Ts[0] @ MODEL.T_hand_tcp, opening_m=float(openings[0]))
        for arm, Ts in paths.items()
    }
    return video, RgbdPair(n=moments[0][0], m=moments[0][1]), priors
