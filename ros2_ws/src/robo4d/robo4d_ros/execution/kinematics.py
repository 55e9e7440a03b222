"""Forward kinematics of an arm where tf says that it stands."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.execution.admission import ForwardKinematics
from robo4d.planning.robot import MountedArm, RobotDescription
from robo4d_ros.conversions import WORLD
from robo4d_ros.frames import Frames


def forward_kinematics(robot: str, arm: str, frames: Frames) -> ForwardKinematics:
    """T_world_tcp of an arm from its joint angles, by our model of the robot and the frame `<arm>_base`."""
    from robo4d.planning.kinematics import ArmKinematics  # pinocchio, only where it is wanted

    everywhere = np.full(3, np.inf)
    kinematics = ArmKinematics(
        MountedArm(
            name=arm,
            robot=RobotDescription.load(robot),
            T_world_base=np.eye(4),
            workspace_min=-everywhere,
            workspace_max=everywhere,
        )
    )

    def forward(joints: Float[Array, "7"]) -> Float[Array, "4 4"]:
        return frames.lookup(WORLD, f"{arm}_base") @ kinematics.forward(joints)

    return forward
