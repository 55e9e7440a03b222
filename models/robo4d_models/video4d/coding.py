"""What the networks read: two RGB-D views as colours and points in the world frame, and the robot's own state.

All points and poses are in the world (robot base) frame: at equal training this halves the error of the grippers'
positions against camera frames, because the same place has the same coordinates in every view.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array
from torch import Tensor
from torch.nn import functional

from robo4d import RgbdFrame, RgbdPair

ARMS = ("left", "right")
"""Order of the arms in every tensor with an axis a."""

TASKS = ("store_cereal_box_under_shelf", "put_spatula_on_table", "place_apple_from_bowl_into_bin")
"""Order of the tasks in the task embedding; append only, or older weights change their meaning."""

PLAN_SIZE = 64
"""Height and width of the plan model's images [px]."""

WORKSPACE_CENTRE = (0.5, 0.0, 0.3)
"""Middle of the volume where both arms work, in the world [m]."""
WORKSPACE_SCALE = 0.5
"""Length that becomes 1 in network units [m]."""
WORKSPACE_HALF_SIZE = (1.1, 1.1, 0.8)
"""Points further than this from the centre along an axis [m] are background and count as not valid."""

LEAST_SEEN = 0.2
"""Share of a view's pixels that must show the workspace; those of the training show 60 % and more."""

FARTHEST = 6.5
"""Depth [m] from which on nothing is measured, as with a depth camera."""
OPEN_WIDTH = 0.08
"""Opening of the Franka hand when open [m] (its datasheet)."""
HELD_WIDTH = 0.076
"""A gripper that is less open than this [m] is closed: on something, or on nothing."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A batch of view pairs as the plan model reads it."""

    rgb: Float[Tensor, "b v 3 h w"]
    """Colours in [-1, 1]."""
    points: Float[Tensor, "b v 3 h w"]
    """Point of each pixel in the world [m]."""
    valid: Float[Tensor, "b v h w"]
    """1 where the pixel has a point inside the workspace, else 0."""
    task: Int[Tensor, " b"]
    """Index into `TASKS`."""
    tcp: Float[Tensor, "b a 4 4"]
    """T_world_tcp of each arm; anything where `state_known` is 0."""
    width: Float[Tensor, "b a"]
    """Opening of each gripper [m]; anything where `state_known` is 0."""
    state_known: Float[Tensor, " b"]
    """1 where `tcp` and `width` are given, 0 where the networks must do without."""

    def to(self, device: torch.device | str) -> "Observation":
        """The same batch on a device."""
        return Observation(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """Where the grippers are."""

    T_world_tcp: Float[Array, "a 4 4"]
    """Pose of each arm's tool centre point, in the order of `ARMS`."""
    gripper_width: Float[Array, " a"]
    """Opening of each gripper [m]."""
    joints: Float[Array, "a 7"] | None = None
    """Joint positions of each arm [rad], where they are known."""


def resize_nearest(image: Array, height: int, width: int) -> Array:
    """An image (h, w, ...) sampled at pixel centres: depth must never be averaged across an edge, nor colour apart."""
    rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(int)
    return image[rows[:, None], columns]


def encode_pair(pair: RgbdPair, *, task: str, state: RobotState | None, size: int = PLAN_SIZE) -> Observation:
    """A batch of one from two frames whose camera poses are known.

    Raises:
        ValueError: the task is unknown, a camera pose is missing, or a camera does not see the workspace.
    """
    if task not in TASKS:
        raise ValueError(f"the tiny model knows no task {task!r}; it was trained on {', '.join(TASKS)}")
    views = [_encode_frame(frame, size) for frame in (pair.n, pair.m)]
    known = state is not None
    state = state or RobotState(T_world_tcp=np.tile(np.eye(4), (2, 1, 1)), gripper_width=np.zeros(2))
    points = torch.stack([view[1] for view in views])[None]
    valid = torch.stack([view[2] for view in views])[None] * in_workspace(points)
    for frame, share in zip((pair.n, pair.m), valid.mean(dim=(-2, -1))[0].tolist(), strict=True):
        if share < LEAST_SEEN:
            raise ValueError(
                f"{frame.camera}: {share:.0%} of its pixels have a depth inside the workspace, at least "
                f"{LEAST_SEEN:.0%} are needed: check its depth stream, its calibration on tf, and where it looks"
            )
    return Observation(
        rgb=torch.stack([view[0] for view in views])[None],
        points=points,
        valid=valid,
        task=torch.tensor([TASKS.index(task)]),
        tcp=torch.from_numpy(state.T_world_tcp).float()[None],
        width=torch.from_numpy(state.gripper_width).float()[None],
        state_known=torch.tensor([float(known)]),
    )


def _encode_frame(
    frame: RgbdFrame, size: int
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"], Float[Tensor, "h w"]]:
    if frame.T_world_camera is None:
        raise ValueError(
            f"{frame.camera}: the camera's pose is unknown; publish it on tf, or calibrate the camera first"
        )

    frame = middle_square(frame)

    def sampled(image: Array) -> Tensor:
        return torch.from_numpy(resize_nearest(image, size, size))

    depth = torch.nan_to_num(sampled(frame.depth), posinf=0.0, neginf=0.0)
    rgb = sampled(frame.rgb).permute(2, 0, 1).float() / 127.5 - 1
    # The rays of the very pixels that were kept: half a pixel of offset would be millimetres in the scene.
    rays = sampled(frame.intrinsics.rays()).permute(2, 0, 1).float()
    points = unproject(depth[None], rays[None], torch.from_numpy(frame.T_world_camera).float()[None])
    return rgb, points[0], (depth > 0).float()


def middle_square(frame: RgbdFrame) -> RgbdFrame:
    """What the networks were trained to look at: pixels as wide as high. The same frame where it is square."""
    k, side = frame.intrinsics, min(frame.depth.shape)
    top, left = (k.height - side) // 2, (k.width - side) // 2
    area = slice(top, top + side), slice(left, left + side)
    intrinsics = replace(k, cx=k.cx - left, cy=k.cy - top, width=side, height=side)
    return replace(frame, rgb=frame.rgb[area], depth=frame.depth[area], intrinsics=intrinsics)


def unproject(
    depth: Float[Tensor, "*b h w"], rays: Float[Tensor, "*b 3 h w"], T_world_camera: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b 3 h w"]:
    """Points in the world [m] from depth [m] and the pixels' rays (z = 1) in the camera frame."""
    points_camera = rays * depth[..., None, :, :]
    return (
        torch.einsum("...ij,...jhw->...ihw", T_world_camera[..., :3, :3], points_camera)
        + (T_world_camera[..., :3, 3, None, None])
    )


def in_workspace(points: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b h w"]:
    """1 where a point in the world [m] lies in the workspace, else 0."""
    centre, half = points.new_tensor(WORKSPACE_CENTRE), points.new_tensor(WORKSPACE_HALF_SIZE)
    return ((points - centre[:, None, None]).abs() < half[:, None, None]).all(dim=-3).float()


def normalise(points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """World coordinates [m] in network units."""
    return (points - points.new_tensor(WORKSPACE_CENTRE)) / WORKSPACE_SCALE


def denormalise(points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Network units in world coordinates [m]: the inverse of `normalise`."""
    return points * WORKSPACE_SCALE + points.new_tensor(WORKSPACE_CENTRE)


def rotation_to_6d(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 6"]:
    """The first two columns of a rotation: a continuous coding (Zhou et al. 2019, arXiv:1812.07035)."""
    return torch.cat([R[..., :, 0], R[..., :, 1]], dim=-1)


def rotation_from_6d(code: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation next to a code, by Gram-Schmidt; the inverse of `rotation_to_6d` on rotations."""
    x = functional.normalize(code[..., :3], dim=-1)
    y = functional.normalize(code[..., 3:] - (x * code[..., 3:]).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def encode_state(observation: Observation) -> Float[Tensor, "b a 10"]:
    """Position, rotation and opening of each gripper in network units."""
    position = normalise(observation.tcp[..., :3, 3])
    width = observation.width[..., None] / (0.5 * OPEN_WIDTH) - 1
    return torch.cat([position, rotation_to_6d(observation.tcp[..., :3, :3]), width], dim=-1)
