"""Everything that the episodes of one task share, and how each of them begins."""

import functools
import zlib

import numpy as np

from robo4d.episodes.simulate import Demonstration, simulate
from robo4d.geometry import Camera
from robo4d.interfaces import TellsMotion
from robo4d.pipeline import Observation, PlanReader, Reader, TrackerReader
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import Box
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.rollout.generators import make_generator
from robo4d.rollout.results import RolloutConfig
from robo4d.rollout.robot import CellRobot
from robo4d.sim.playback import Stage, stage
from robo4d.sim.render import Renderer
from robo4d.sim.scene import MOUNTED_ARMS
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.follow import GripperPrior
from robo4d.tracking.panda import panda_arm, panda_gripper
from robo4d.tracking.rendering import GripperRenderer


class World:
    """One task's live cell, generator, tracker and planner. Making it takes seconds, so keep it: see `world`."""

    def __init__(self, task: str, config: RolloutConfig) -> None:
        self.task, self.config = task, config
        self.scenery = stage(task)
        self.cell = self.scenery.cell
        self.renderer = Renderer(self.cell.model)
        self.generator = make_generator(task, self.cell, config)
        self.reader = self._reader()
        self.planner = Planner(PlannerConfig(), MOUNTED_ARMS, [Box.example()])

    def _reader(self) -> Reader:
        # It never hears the generator: what the video alone tells is measured, and the oracle would tell the truth.
        tracker = TrackerReader(*_gripper_and_arm())
        if self.config.readout == "tracker":
            return tracker
        if not isinstance(self.generator, TellsMotion):
            raise ValueError(f"{self.config.generator} cannot tell where it draws the grippers: use --readout tracker")
        return PlanReader(tracker if self.config.readout == "fused" else None)

    def begin(self, seed: int) -> tuple[CellRobot, tuple[Camera, ...], bool]:
        """Start an episode: the robot, the two cameras n and m, and whether the scripted expert solves this start."""
        views, demonstration = sample_views(self.scenery, seed, self.config)
        self.cell.reset(seed=seed, distribution=self.config.distribution)
        return CellRobot(self.cell, MOUNTED_ARMS), views, demonstration.success

    def observe(self, robot: CellRobot, cameras: tuple[Camera, ...]) -> Observation:
        """What cameras and robot tell now."""
        self.renderer.update(self.cell.data)
        n, m = (self._frame(camera, name, robot.now_ns) for camera, name in zip(cameras, "nm", strict=True))
        grippers = {
            arm: GripperPrior(T_world_tcp=state.T_world_tcp, opening_m=state.gripper_width, joints=state.joints)
            for arm, state in robot.state.arms.items()
        }
        return Observation(pair=RgbdPair(n=n, m=m), robot=robot.joints(), grippers=grippers)

    def _frame(self, camera: Camera, name: str, stamp_ns: int) -> RgbdFrame:
        rgb, depth = self.renderer.rgbd(camera)
        return RgbdFrame(
            rgb=rgb,
            depth=depth,
            intrinsics=camera.intrinsics,
            camera=f"camera_{name}",
            stamp_ns=stamp_ns,
            T_world_camera=camera.T_world_camera,
        )


@functools.cache
def world(task: str, config: RolloutConfig) -> World:
    """The world of a task, made once in this process. OpenGL ties it to the thread that asks first."""
    return World(task, config)


def sample_views(scenery: Stage, seed: int, config: RolloutConfig) -> tuple[tuple[Camera, ...], Demonstration]:
    """Two cameras that see the work, drawn as those of the data sets are; and the demonstration that told where it is.

    The cell of the scenery is left at the end of the demonstration.
    """
    demonstration = simulate(scenery.cell, seed=seed, distribution=config.distribution, rate_hz=2.0)
    rng = np.random.default_rng([seed, zlib.crc32(f"rollout {scenery.cell.task.name}".encode())])
    cameras = scenery.sample_cameras(
        rng, 2, width=config.size, height=config.size, motion=demonstration.motion, scene=demonstration.scene
    )
    return cameras, demonstration


@functools.cache
def _gripper_and_arm() -> tuple[GripperRenderer, ArmRenderer]:
    return GripperRenderer(panda_gripper()), ArmRenderer(panda_arm())
