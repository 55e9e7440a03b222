"""An attempt that needs no simulator: two views of a robot over a plane, that reaches down and lifts. For timing."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from robo4d import RgbdFrame, RgbdPair
from robo4d.geometry import Camera, Intrinsics, look_at, se3
from robo4d_models.video4d.coding import ARMS, OPEN_WIDTH, TASKS, RobotState
from robo4d_models.video4d.data import DEPTH_UNIT, SampleFolder, moment_dtype, stored_view
from robo4d_models.video4d.keyframes import SLOTS
from robo4d_models.video4d.robot_model import ARM_PARTS, RobotModel, gripper_poses

_READY = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
"""Franka's ready pose [rad]."""


def attempt_of(robot: RobotModel, *, size: int, frames: int, period_s: float) -> Array:
    """What `data.SampleFolder` reads: square images of a moment, and of the frames that follow it.

    Args:
        robot: Of each arm, as its joints have it at the first moment: a generator refuses images that do not show it.
        size: Height and width of the images [px].
        frames: Moments after the first one.
        period_s: Time between moments [s].
    """
    rng, moments = np.random.default_rng(0), 1 + frames
    attempt = np.zeros(moments, moment_dtype(2, size))
    k = Intrinsics.from_fovy(60.0, width=size, height=size)
    for view, y in enumerate((0.5, -0.5)):
        camera = Camera(intrinsics=k, T_world_camera=look_at(np.array([0.5, y, 1.0]), np.array([0.5, 0.0, 0.0])))
        down = k.rays() @ camera.T_world_camera[2, :3]  # how far the rays go down until they are 1 m deep
        attempt["depth"][:, view] = np.round(camera.T_world_camera[2, 3] / -down / DEPTH_UNIT)
        attempt["camera_matrix"][:, view], attempt["T_world_camera"][:, view] = k.matrix, camera.T_world_camera
    attempt["rgb"] = rng.integers(0, 256, attempt["rgb"].shape)
    attempt["label"][..., : size // 4, : size // 4] = 1
    attempt["time_s"] = period_s * np.arange(moments)
    height = 0.02 + 0.3 * np.abs(np.linspace(-1, 1, moments))
    for i in range(moments):
        for arm, y in enumerate((0.1, -0.3)):
            place = np.array([0.5, y, height[i] if arm == 0 else 0.3])
            attempt["T_world_tcp"][i, arm] = se3.pose(np.diag([1.0, -1.0, -1.0]), place)
    attempt["gripper_width"] = OPEN_WIDTH
    attempt["gripper_width"][moments // 2 :, 0] = 0.04
    attempt["joints"] = _READY
    attempt["keyframe_T_world_tcp"] = attempt["T_world_tcp"][:, None]
    attempt["keyframe_duration_s"], attempt["keyframe_known"] = 1.0, True
    attempt["next_slot"] = SLOTS - 1
    _show(robot, attempt)
    return attempt


def _show(robot: RobotModel, attempt: Array) -> None:
    """Put the robot in front of the plane, in all images where it is at the first moment."""
    arms: list[dict[str, Array]] = []
    for T_world_tcp in attempt["T_world_tcp"][0].astype(float):
        links = robot.follow(T_world_tcp[None], np.array(_READY))[0]
        arms.append(dict(zip(ARM_PARTS, links, strict=True)) | gripper_poses(T_world_tcp, OPEN_WIDTH))
    for view in range(2):
        depth = robot.see(stored_view(attempt[0], view).camera, arms).depth
        attempt["depth"][:, view] = np.where(depth > 0, np.round(depth / DEPTH_UNIT), attempt["depth"][:, view])


def observed(attempt: Array) -> tuple[RgbdPair, RobotState]:
    """The first moment, as a robot with two cameras sees it."""
    frames: list[RgbdFrame] = []
    for view in range(2):
        seen = stored_view(attempt[0], view)
        frames.append(
            RgbdFrame(
                rgb=attempt[0]["rgb"][view],
                depth=seen.depth,
                intrinsics=seen.camera.intrinsics,
                camera=f"camera_{view}",
                stamp_ns=0,
                T_world_camera=seen.camera.T_world_camera,
            )
        )
    state = RobotState(
        T_world_tcp=attempt[0]["T_world_tcp"].astype(float),
        gripper_width=attempt[0]["gripper_width"].astype(float),
        joints=np.tile(_READY, (len(ARMS), 1)),
    )
    return RgbdPair(n=frames[0], m=frames[1]), state


@contextmanager
def folder_of(attempt: Array) -> Generator[SampleFolder]:
    """A folder with nothing else, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / f"{TASKS[0]}-1-0.npy", attempt)
        yield SampleFolder(Path(folder))
