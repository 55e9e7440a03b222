"""Motion of one arm: a TCP target is followed smoothly, by differential inverse kinematics.

The target may jump. A virtual arm moves towards it with limited speed and acceleration, and the real arm's joint
servos follow the virtual one, much as a Cartesian impedance controller follows a filtered equilibrium pose. The joints
only ever move locally, and a posture task draws the elbow to its natural place: there are no branch jumps.
"""

from dataclasses import dataclass

import mink
import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim.panda import GRIPPER_BODIES, panda_spec
from robo4d.sim.state import CONTROL_PERIOD_S

POSTURES = {
    side: np.array([-sign * 0.45, -0.6, sign * 0.6, -2.3, 0.0, 1.75, 0.785])
    for side, sign in (("left", 1), ("right", -1))
}
"""The natural posture [rad]: elbow up and a little inwards, gripper down. The null space of the differential IK is
drawn to it. With the elbow straight above, the wrist becomes singular when the gripper reaches in low and near."""

MAX_SPEED = 0.25
"""Speed limit of the TCP [m/s]."""
MAX_ANGULAR_SPEED = 1.2
"""[rad/s]."""
_MAX_ACCELERATION = 1.0
"""[m/s^2]."""
_MAX_ANGULAR_ACCELERATION = 5.0
"""[rad/s^2]."""
_GAIN = 12.0
"""Speed per distance to the target [1/s]."""
_MAX_JOINT_SPEED = 1.5
"""[rad/s]; Franka's datasheet allows 2.175 for joints 1-4 and 2.61 for 5-7."""
_POSTURE_GAIN = 0.03
"""Share of the way to its natural place that the elbow is drawn in a control period ..."""
_POSTURE_SPEED = 0.02
"""... at least at this speed [m/s, rad/s]. Slower, it is drawn less, so that it rests soon after the gripper."""
_STANDSTILL = 1e-4
"""Below this speed [m/s, rad/s] the arm stands."""
_SERVO_LAG_S = 0.1
"""Time constant of the joint servos, damping over stiffness in Menagerie's model: made up for by leading the joints."""


@dataclass(frozen=True, kw_only=True)
class TrackerState:
    """Everything that a tracker remembers."""

    joints: Float[Array, "7"]
    """Of the virtual arm [rad]."""
    twist: Float[Array, "6"]
    """Of the virtual TCP: velocity [m/s] and angular velocity [rad/s], world axes."""
    T_world_target: Float[Array, "4 4"]


class TcpTracker:
    """The virtual arm of one side.

    Args:
        T_world_base: Where the arm is mounted.
        posture: The joints' preferred angles [rad].
    """

    def __init__(self, T_world_base: Float[Array, "4 4"], posture: Float[Array, "7"]) -> None:
        self._configuration = mink.Configuration(_kinematic_model(T_world_base))
        model = self._configuration.model
        self._frame = mink.FrameTask("arm_tcp", "site", position_cost=1.0, orientation_cost=0.3, lm_damping=1e-4)
        self._posture = mink.PostureTask(model, cost=np.array([3e-3] * 7), gain=_POSTURE_GAIN)
        self._posture.set_target(posture)
        joints = [model.joint(i).name for i in range(7)]
        self._limits = [
            mink.ConfigurationLimit(model, gain=0.5, min_distance_from_limits=0.05),
            mink.VelocityLimit(model, {name: np.array([_MAX_JOINT_SPEED]) for name in joints}),
        ]
        self._natural_joints = posture
        self.reset(posture)

    def reset(self, joints: Float[Array, "7"]) -> None:
        """Stand still in a configuration, and hold it."""
        self._configuration.update(joints)
        self._twist = np.zeros(6)
        self.T_world_target = self.T_world_tcp

    @property
    def T_world_tcp(self) -> Float[Array, "4 4"]:
        """Where the virtual arm is."""
        return self._configuration.get_transform_frame_to_world("arm_tcp", "site").as_matrix()

    @property
    def state(self) -> TrackerState:
        """A copy of all that is remembered."""
        return TrackerState(
            joints=self._configuration.q.copy(), twist=self._twist.copy(), T_world_target=self.T_world_target.copy()
        )

    @state.setter
    def state(self, state: TrackerState) -> None:
        self._configuration.update(state.joints.copy())
        self._twist = state.twist.copy()
        self.T_world_target = state.T_world_target.copy()

    def advance(self) -> Float[Array, "7"]:
        """Move the virtual arm by one control period; returns the angles for the joint servos [rad]."""
        before = self.T_world_tcp
        position_error = self.T_world_target[:3, 3] - before[:3, 3]
        rotation_error = _rotation_vector(before, self.T_world_target)
        v = _approach(position_error, self._twist[:3], MAX_SPEED, _MAX_ACCELERATION)
        w = _approach(rotation_error, self._twist[3:], MAX_ANGULAR_SPEED, _MAX_ANGULAR_ACCELERATION)
        wanted = np.concatenate([v, w])
        if np.linalg.norm(wanted) < _STANDSTILL:  # saves the work for an arm that waits
            self._twist = np.zeros(6)
            return self._configuration.q.copy()
        self._posture.gain = _POSTURE_GAIN * min(1.0, float(np.linalg.norm(wanted)) / _POSTURE_SPEED)
        velocity = self._move_to(_displaced(before, CONTROL_PERIOD_S * wanted))
        after = self.T_world_tcp
        self._twist = np.concatenate([after[:3, 3] - before[:3, 3], _rotation_vector(before, after)]) / CONTROL_PERIOD_S
        return self._configuration.q + _SERVO_LAG_S * velocity

    def joints_at(self, T_world_tcp: Float[Array, "4 4"]) -> Float[Array, "7"]:
        """Joints [rad] that hold the TCP in a pose, reached from the natural posture. The tracker then stands there.

        Raises:
            ValueError: the pose is out of reach.
        """
        self.reset(self._natural_joints)
        self._posture.gain = _POSTURE_GAIN
        for _ in range(300):
            self._move_to(T_world_tcp)
            error = T_world_tcp[:3] - self.T_world_tcp[:3]
            if np.abs(error).max() < 1e-3:
                self.reset(self._configuration.q.copy())
                return self._configuration.q.copy()
        raise ValueError(f"the arm cannot reach\n{T_world_tcp}")

    def _move_to(self, T_world_goal: Float[Array, "4 4"]) -> Float[Array, "7"]:
        """Move the virtual arm for one period as near to the goal as the limits allow; returns the velocity [rad/s]."""
        self._frame.set_target(mink.SE3.from_matrix(T_world_goal))
        velocity = mink.solve_ik(
            self._configuration,
            [self._frame, self._posture],
            CONTROL_PERIOD_S,
            "daqp",
            damping=1e-5,
            limits=self._limits,
        )
        self._configuration.integrate_inplace(velocity, CONTROL_PERIOD_S)
        return velocity


def _approach(
    error: Float[Array, "3"], velocity: Float[Array, "3"], max_speed: float, max_acceleration: float
) -> Float[Array, "3"]:
    """The next velocity towards a target at `error`: speed and acceleration stay limited, and nothing overshoots."""
    distance = np.linalg.norm(error)
    braking = np.sqrt(max_acceleration * distance)  # half the deceleration that is allowed: a margin against overshoot
    speed = min(_GAIN * distance, braking, max_speed)
    wanted = error * (speed / max(distance, 1e-9))
    change = wanted - velocity
    return velocity + change * min(1.0, max_acceleration * CONTROL_PERIOD_S / max(float(np.linalg.norm(change)), 1e-9))


def _rotation_vector(T_world_a: Float[Array, "4 4"], T_world_b: Float[Array, "4 4"]) -> Float[Array, "3"]:
    """The rotation from a to b, world axes [rad]."""
    return mink.SO3.from_matrix(T_world_b[:3, :3] @ T_world_a[:3, :3].T).log()


def _displaced(T_world_a: Float[Array, "4 4"], displacement: Float[Array, "6"]) -> Float[Array, "4 4"]:
    """The pose moved [m] and rotated [rad] along the world's axes."""
    R = mink.SO3.exp(displacement[3:]).as_matrix() @ T_world_a[:3, :3]
    return se3.pose(R, T_world_a[:3, 3] + displacement[:3])


def _kinematic_model(T_world_base: Float[Array, "4 4"]) -> mujoco.MjModel:
    """The seven joints and the TCP of one arm, nothing else."""
    arm = panda_spec()
    for part in [*arm.actuators, *arm.tendons, *arm.equalities, *arm.geoms, *arm.meshes]:
        arm.delete(part)
    for finger in GRIPPER_BODIES[1:]:
        arm.delete(arm.body(finger))
    spec = mujoco.MjSpec()
    spec.option.integrator = arm.option.integrator
    frame = spec.worldbody.add_frame(pos=T_world_base[:3, 3], quat=se3.to_quat_wxyz(T_world_base))
    spec.attach(arm, prefix="arm_", frame=frame)
    return spec.compile()
