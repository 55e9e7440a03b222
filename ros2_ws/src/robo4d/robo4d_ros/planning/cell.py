"""What stands in the cell: arms where tf has them, and boxes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robo4d.geometry import se3
from robo4d.planning.robot import Box, MountedArm, RobotDescription
from robo4d_ros.conversions import WORLD
from robo4d_ros.frames import Frames


@dataclass(frozen=True, kw_only=True)
class CellConfig:
    """What stands where. The places of the arms' bases come from tf: `<arm>_base` in `world`."""

    arms: tuple[str, ...] = ("left", "right")
    """Names of the arms; each has its topics below its name."""
    robot: Literal["fer", "fr3"] = "fer"
    """Model of both arms: fer (Panda) or fr3."""
    joint_names: tuple[str, ...] = tuple(f"{{arm}}_joint{i}" for i in range(1, 8))
    """Of the seven joints, in their order, as plans and the robot's description call them."""
    workspace_min: tuple[float, ...] = (0.1, -0.8, 0.0)
    """Lower corner of the box that no TCP may leave, in the world [m]."""
    workspace_max: tuple[float, ...] = (0.9, 0.8, 0.9)
    """Upper corner [m]."""
    box_names: tuple[str, ...] = ("table",)
    """What must not be touched; one empty name for nothing."""
    box_centres: tuple[float, ...] = (0.5, 0.0, -0.05)
    """Three numbers for each box, in the world [m]."""
    box_sizes: tuple[float, ...] = (1.6, 2.0, 0.1)
    """Full lengths of the edges, three numbers for each box [m]."""

    def __post_init__(self) -> None:
        """Refuse lists that do not fit together."""
        if len(self.joint_names) != 7:
            raise ValueError(f"joint_names needs seven names, got {len(self.joint_names)}")
        if len(self.workspace_min) != 3 or len(self.workspace_max) != 3:
            raise ValueError("workspace_min and workspace_max need three numbers each")
        if not len(self.box_centres) == len(self.box_sizes) == 3 * len(self.box_names):
            raise ValueError("box_centres and box_sizes need three numbers for each of box_names")

    @property
    def joints(self) -> dict[str, list[str]]:
        """Names of the joints of each arm."""
        return {arm: [name.format(arm=arm) for name in self.joint_names] for arm in self.arms}

    @property
    def boxes(self) -> tuple[Box, ...]:
        """As the planner takes them."""
        places = zip(
            self.box_names, np.reshape(self.box_centres, (-1, 3)), np.reshape(self.box_sizes, (-1, 3)), strict=True
        )
        return tuple(
            Box(name=name, T_world_box=se3.translation(*map(float, centre)), size_m=size)
            for name, centre, size in places
            if name
        )

    def mounted(self, tf: Frames) -> tuple[MountedArm, ...]:
        """The arms where tf says that they stand.

        Raises:
            FrameError: tf does not know.
        """
        robot = RobotDescription.load(self.robot)
        return tuple(
            MountedArm(
                name=arm,
                robot=robot,
                T_world_base=tf.lookup(WORLD, f"{arm}_base"),
                workspace_min=np.array(self.workspace_min),
                workspace_max=np.array(self.workspace_max),
            )
            for arm in self.arms
        )
