"""The gripper of a Franka Emika Panda and the arm behind it, from the meshes of the simulated cell."""

import numpy as np

from robo4d.geometry import se3
from robo4d.planning.robot import RobotDescription
from robo4d.tracking.arm import ArmModel
from robo4d.tracking.gripper import GripperModel, Mesh

T_LINK7_HAND = se3.from_quat_wxyz(np.array([0.9238795, 0, 0, -0.3826834]), np.array([0, 0, 0.107]))
"""The hand on the flange of the last link (`franka_description`: 107 mm ahead, turned by -45 degrees)."""


def panda_arm() -> ArmModel:
    """The arm behind it: kinematics, and CAD of the links that are seen with the gripper.

    Raises:
        ValueError: as `panda_gripper`.
    """
    robot = RobotDescription.load("fer")
    return ArmModel(
        Ts_link_joint=robot.Ts_link_joint,
        T_link7_hand=T_LINK7_HAND,
        lower=robot.lower,
        upper=robot.upper,
        links={int(name[-1]): mesh for name, mesh in _meshes("link4", "link5", "link6").items()},
    )


def _meshes(*bodies: str) -> dict[str, Mesh]:
    from robo4d.sim import panda  # the simulator is an extra, and only these functions need it

    return {
        name: Mesh(vertices=np.asarray(mesh.vertices, float), faces=np.asarray(mesh.faces, np.int64))
        for name, mesh in panda.seen_meshes(*bodies).items()
    }


def panda_gripper() -> GripperModel:
    """CAD of hand, fingers and last link. The first call fetches the meshes, see `robo4d.sim.panda`.

    Raises:
        ValueError: the meshes are not in the cache and cannot be fetched.
    """
    from robo4d.sim import panda

    meshes = _meshes("link7", *panda.GRIPPER_BODIES)
    fingers = {name: meshes[name].moved(T_hand_finger) for name, T_hand_finger in panda.finger_poses(0.0).items()}
    return GripperModel(
        hand=meshes["hand"],
        **fingers,
        wrist=meshes["link7"].moved(se3.inverse(T_LINK7_HAND)),
        opening_axis=np.array([0.0, 1.0, 0.0]),
        max_opening_m=panda.MAX_WIDTH,
        T_hand_tcp=panda.T_HAND_TCP,
    )
