"""Forward and inverse kinematics of a mounted arm, by Pinocchio."""

import numpy as np
import pinocchio as pin
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.planning.robot import MountedArm

_DAMPING = 1e-6
"""Added to J J^T: keeps steps finite at singularities without a visible error elsewhere."""
_POSTURE_GAIN = 0.1
"""Share of the distance to the wanted posture that each step takes away, as far as the TCP stays where it is."""
_ITERATIONS = 2
"""Newton steps per sample: from a pose a centimetre away the error falls below a micrometre. Their number is fixed
because ending early would make the joint path uneven."""


def add_joints(model: pin.Model, arm: MountedArm) -> list[int]:
    """Append the arm's joints to a model, and a frame "<arm>/tcp"; returns the joints' indices."""
    parent, indices = 0, []
    for number, T_link_joint in enumerate(arm.robot.Ts_link_joint, start=1):
        T_parent_joint = arm.T_world_base @ T_link_joint if number == 1 else T_link_joint
        parent = model.addJoint(parent, pin.JointModelRZ(), pin.SE3(T_parent_joint), f"{arm.name}/joint{number}")
        indices.append(parent)
    T_link7_tcp = arm.robot.T_link7_hand @ arm.robot.T_hand_tcp
    model.addFrame(pin.Frame(f"{arm.name}/tcp", parent, 0, pin.SE3(T_link7_tcp), pin.FrameType.OP_FRAME))
    return indices


class ArmKinematics:
    """One arm. Not for use in several threads: Pinocchio keeps its intermediate results inside."""

    def __init__(self, arm: MountedArm) -> None:
        """Build the kinematic model of the arm."""
        self._model = pin.Model()
        add_joints(self._model, arm)
        self._data = self._model.createData()
        self._tcp = self._model.getFrameId(f"{arm.name}/tcp")

    def forward(self, joints: Float[Array, "7"]) -> Float[Array, "4 4"]:
        """T_world_tcp at joint positions [rad]."""
        pin.forwardKinematics(self._model, self._data, joints)
        return pin.updateFramePlacement(self._model, self._data, self._tcp).homogeneous

    def links(self, joints: Float[Array, "7"]) -> Float[Array, "7 4 4"]:
        """T_world_link of link1 to link7, as Franka defines them, at joint positions [rad]."""
        pin.forwardKinematics(self._model, self._data, joints)
        return np.stack([placement.homogeneous for placement in self._data.oMi[1:]])

    def jacobian(self, joints: Float[Array, "7"]) -> Float[Array, "6 7"]:
        """Velocity of the TCP [m/s], then angular velocity [rad/s], both in TCP axes, per joint velocity [rad/s]."""
        pin.computeJointJacobians(self._model, self._data, joints)
        return pin.getFrameJacobian(self._model, self._data, self._tcp, pin.ReferenceFrame.LOCAL)

    def follow(
        self, Ts_world_tcp: Float[Array, "n 4 4"], start: Float[Array, "7"], posture: Float[Array, "7"] | None = None
    ) -> tuple[Float[Array, "n 7"], Float[Array, "n 6 7"], Float[Array, " n"]]:
        """Joint positions along a dense path: damped least squares, each pose from the one before, without jumps.

        The seventh degree of freedom comes as near to a posture as the path allows.

        Args:
            Ts_world_tcp: Poses, close to each other; the first is that of `start`.
            start: Joint positions at the start [rad].
            posture: Joint positions [rad] to be near to; those of the start if left out.

        Returns:
            Joint positions [rad], Jacobians in TCP axes, and the error left [m and rad, as one norm]: a pose out of
            reach leaves one.
        """
        joints = np.empty((len(Ts_world_tcp), 7))
        jacobians = np.empty((len(Ts_world_tcp), 6, 7))
        Ts_world_reached = np.empty_like(Ts_world_tcp)
        damping = _DAMPING * np.eye(6)
        q, wanted = start, start if posture is None else posture
        for index, T_world_target in enumerate(Ts_world_tcp):
            target = pin.SE3(T_world_target)
            aside = _POSTURE_GAIN * (wanted - q)
            for _ in range(_ITERATIONS):
                J = jacobians[index] = self.jacobian(q)
                T_world_tcp = pin.updateFramePlacement(self._model, self._data, self._tcp)
                error = pin.log6(T_world_tcp.actInv(target)).vector
                # J^+ error + (1 - J^+ J) aside, with one solve.
                q = q + aside + J.T @ np.linalg.solve(J @ J.T + damping, error - J @ aside)
                aside = np.zeros(7)  # the later steps only correct what this one left
            joints[index] = q
            Ts_world_reached[index] = self.forward(q)
        return joints, jacobians, np.linalg.norm(se3.log(se3.inverse(Ts_world_reached) @ Ts_world_tcp), axis=-1)
