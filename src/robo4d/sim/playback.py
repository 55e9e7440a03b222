"""Images of recorded states: the same states give the same pixels, whenever and wherever they are drawn."""

import copy
import functools
from collections.abc import Callable

import mujoco
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray as Array

from robo4d.episodes.format import Motion, SceneStates
from robo4d.geometry import Camera
from robo4d.sim.cameras import CameraShell, at_size, sample_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.labels import GRIPPER_LABELS, Label
from robo4d.sim.render import Renderer
from robo4d.sim.state import ARMS

_PROBES = 8
"""Moments at which a camera is tested, spread over the episode."""
_PROBES_IN_SIGHT = 7
"""... and at how many of them it must see each gripper that works."""
_PROBE_SIZE = 64
"""Width and height [px] of the images that cameras are tested with."""
_MIN_GRIPPER_PX = 25
"""Pixels of a gripper at that size that count as seeing it; in plain sight there are 50 to 75."""
_MIN_OBJECT_PX = 6
"""Pixels of the task's objects at that size that count as seeing them; in plain sight there are 25 to 110."""
_WORK_DIAGONAL = 0.55
"""Diagonal of the box of work [m] up to which fingers have the width that a `CameraShell` asks for, at which an image
of 128 px shows 0.64 m. All work must be in the picture: where it is wider, so is the lens."""
_WORKING_RANGE = 0.05
"""A gripper that moves less than this during the episode [m] need not be seen."""


class Stage:
    """One task's cell with the means to draw it. Making one takes a second, so keep it: see `stage`."""

    def __init__(self, task: str) -> None:
        self.cell = Cell(task)
        # Recordings are played in a copy: the cell that simulates the next episode keeps its own looks.
        self._model = copy.deepcopy(self.cell.model)
        self._data = mujoco.MjData(self._model)
        self.renderer = Renderer(self._model, objects=self.cell.task.objects)

    def show(self, scene: SceneStates, time: int) -> None:
        """Prepare to draw one moment of a recording."""
        model, data = self._model, self._data
        for field in ("geom_rgba", "mat_rgba", "light_dir", "light_diffuse"):
            getattr(model, field)[:] = getattr(scene, field)
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = scene.qpos[time], scene.mocap_pos, scene.mocap_quat
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        self.renderer.update(data)

    def draw(
        self, scene: SceneStates, camera: Camera, progress: Callable[[], None] = lambda: None
    ) -> tuple[UInt8[Array, "t h w 3"], Float32[Array, "t h w"], UInt8[Array, "t h w"]]:
        """All that one camera sees: colour, depth [m], labels. `progress` is called after each frame."""
        size = (len(scene.qpos), camera.intrinsics.height, camera.intrinsics.width)
        rgb, depth, labels = np.empty((*size, 3), np.uint8), np.empty(size, np.float32), np.empty(size, np.uint8)
        for time in range(len(scene.qpos)):
            self.show(scene, time)
            rgb[time], depth[time] = self.renderer.rgbd(camera)
            labels[time] = self.renderer.labels(camera)
            progress()
        return rgb, depth, labels

    def sample_cameras(
        self, rng: np.random.Generator, count: int, *, width: int, height: int, motion: Motion, scene: SceneStates
    ) -> tuple[Camera, ...]:
        """Cameras that look at the place of work, and see the grippers there past furniture and arms.

        They see the task's objects at the beginning, too: what neither camera of a lab sees, nobody could plan for.
        """
        tools = motion.T_world_tcp[:, :, :3, 3]
        is_working = np.ptp(tools, axis=0).max(axis=-1) > _WORKING_RANGE
        working = [arm for arm, works in zip(ARMS, is_working, strict=True) if works]
        moments = np.linspace(0, len(scene.qpos) - 1, _PROBES).astype(int)

        def sees_work(camera: Camera) -> bool:
            probe = at_size(camera, width=_PROBE_SIZE, height=_PROBE_SIZE)
            in_sight = dict.fromkeys(working, 0)
            for moment in moments:
                self.show(scene, int(moment))
                labels = self.renderer.labels(probe)
                if moment == 0 and (labels == Label.OBJECT).sum() < _MIN_OBJECT_PX:
                    return False
                for arm in working:
                    in_sight[arm] += int(np.isin(labels, GRIPPER_LABELS[arm]).sum() >= _MIN_GRIPPER_PX)
            return all(seen >= _PROBES_IN_SIGHT for seen in in_sight.values())

        shell = shell_around(tools[:, is_working if working else slice(None)].reshape(-1, 3))
        return tuple(sample_cameras(rng, count, width=width, height=height, shell=shell, keep=sees_work))


def shell_around(points: Float32[Array, "n 3"]) -> CameraShell:
    """Cameras that have a box about the points [m] in the picture.

    A finger in its middle is 4 px wide in an image of 128 x 128, less where the box is larger than such a picture.
    """
    lowest, highest = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    centre, half = (lowest + highest) / 2, (highest - lowest) / 2
    narrower = min(1.0, _WORK_DIAGONAL / max(2 * float(np.linalg.norm(half)), 1e-9))
    x, y, z = (float(value) for value in centre)
    dx, dy, dz = (float(value) for value in half)
    area = ((x - dx, y - dy, z - dz), (x + dx, y + dy, z + dz))
    return CameraShell(centre=(x, y, z), finger_px=narrower * CameraShell.finger_px, work_area=area)


@functools.cache
def stage(task: str) -> Stage:
    """The stage of a task, made once in this process. OpenGL ties it to the thread that asks first."""
    return Stage(task)
