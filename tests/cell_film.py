"""What two small cameras see of the simulated cell while its arms move, with the truth about them."""

from dataclasses import dataclass

import numpy as np

from robo4d.geometry import Camera, se3
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.sim.cameras import mounted_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.render import Renderer
from robo4d.sim.state import ARMS, ArmCommand, CellState
from robo4d.video import PointmapVideo

TASK = "store_cereal_box_under_shelf"
FRAMES, PERIOD_S = 4, 0.5
MOVES = {"left": (0.05, -0.10, -0.05), "right": (0.05, 0.10, -0.05)}
"""Where the arms go within the film [m]."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """An observation, the video of what follows, and the states of the cell in both."""

    pair: RgbdPair
    video: PointmapVideo
    states: list[CellState]


def film(size: int = 96, stamp_ns: int = 10**9) -> Film:
    """Both arms move to somewhere else."""
    cell = Cell(TASK)
    renderer = Renderer(cell.model, objects=cell.task.objects)
    cameras = mounted_cameras(width=size, height=size)
    state = cell.state()
    goals = {
        arm: ArmCommand(T_world_tcp=se3.translation(*MOVES[arm]) @ state.arms[arm].T_world_tcp, gripper_width=0.08)
        for arm in ARMS
    }
    states, shots = [state], [_shoot(renderer, cell, cameras)]
    for _ in range(FRAMES):
        for _ in range(round(PERIOD_S / 0.02)):
            state = cell.step(goals)
        states.append(state)
        shots.append(_shoot(renderer, cell, cameras))
    renderer.close()
    pair = RgbdPair(n=_frame(shots[0][0], cameras[0], "n", stamp_ns), m=_frame(shots[0][1], cameras[1], "m", stamp_ns))
    depth = np.stack([[shot[view][1] for shot in shots[1:]] for view in range(2)])
    T_n_world = se3.inverse(cameras[0].T_world_camera)
    points = [
        se3.apply(T_n_world @ camera.T_world_camera, camera.intrinsics.backproject(depth[view]))
        for view, camera in enumerate(cameras)
    ]
    video = PointmapVideo(
        rgb=np.stack([[shot[view][0] for shot in shots[1:]] for view in range(2)]),
        points=np.where((depth > 0)[..., None], np.stack(points), 0).astype(np.float32),
        valid=depth > 0,
        times_s=(PERIOD_S * np.arange(1, FRAMES + 1)).astype(np.float32),
        intrinsics=(cameras[0].intrinsics, cameras[1].intrinsics),
        frame="n",
        stamp_ns=stamp_ns,
    )
    return Film(pair=pair, video=video, states=states)


def _shoot(renderer: Renderer, cell: Cell, cameras: list[Camera]) -> list[tuple[np.ndarray, np.ndarray]]:
    renderer.update(cell.data)
    return [renderer.rgbd(camera) for camera in cameras]


def _frame(shot: tuple[np.ndarray, np.ndarray], camera: Camera, name: str, stamp_ns: int) -> RgbdFrame:
    return RgbdFrame(
        rgb=shot[0],
        depth=shot[1],
        intrinsics=camera.intrinsics,
        camera=name,
        stamp_ns=stamp_ns,
        T_world_camera=camera.T_world_camera,
    )
