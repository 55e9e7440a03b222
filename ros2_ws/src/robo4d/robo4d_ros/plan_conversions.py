"""Plans as messages, and back."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from nav_msgs.msg import Path
from numpy import ndarray as Array
from robo4d_msgs import msg as robo4d_msgs
from std_msgs.msg import Header
from trajectory_msgs.msg import (
    JointTrajectory,
    JointTrajectoryPoint,
    MultiDOFJointTrajectory,
    MultiDOFJointTrajectoryPoint,
)

from robo4d.plan import ArmPlan, Code, GripperEvent, Plan, Verdict
from robo4d.rgbd import ArmPosture
from robo4d_ros.conversions import (
    WORLD,
    array_from_twist,
    duration_from_s,
    header,
    matrix_from_transform,
    ns_from_time,
    pose_stamped,
    require_world,
    s_from_duration,
    transform_from_matrix,
    twist,
)

_OPEN_M = 0.08
"""Between the fingers of the Franka Hand when it is open [m]."""


def message_from_plan(plan: Plan, *, plan_id: str, joint_names: Mapping[str, list[str]]) -> robo4d_msgs.Plan:
    """The message of the same name, without the keyframes, which are for viewers.

    Args:
        plan: The plan.
        plan_id: Its name.
        joint_names: Of each arm.
    """
    stamp, verdict = header(plan.stamp_ns, WORLD), plan.verdict
    return robo4d_msgs.Plan(
        header=stamp,
        id=plan_id,
        verdict=robo4d_msgs.Verdict(
            code=int(verdict.code),
            reason=verdict.reason,
            arm=verdict.arm,
            time=math.nan if verdict.time_s is None else verdict.time_s,
            value=math.nan if verdict.value is None else verdict.value,
        ),
        arms=[_message_from_arm(name, arm, plan.times_s, joint_names[name], stamp) for name, arm in plan.arms.items()],
        video_times=plan.video_times_s.tolist(),
        gripper_events=[
            robo4d_msgs.GripperEvent(
                arm=event.arm,
                time_from_start=duration_from_s(event.time_s),
                open=event.open,
                opening=math.nan if event.opening_m is None else event.opening_m,
            )
            for event in plan.events
        ],
    )


def plan_from_message(message: robo4d_msgs.Plan) -> Plan:
    """The core type of the same name, without keyframes."""
    require_world(message.header)
    verdict = message.verdict
    arms = {arm.arm: _arm_from_message(arm) for arm in message.arms}
    times = [times_s for times_s, _ in arms.values()]
    if any(not np.array_equal(times[0], other) for other in times[1:]):
        raise ValueError("all arms of a plan must have the same times")
    return Plan(
        stamp_ns=ns_from_time(message.header.stamp),
        verdict=Verdict(
            code=Code(verdict.code),
            reason=verdict.reason,
            arm=verdict.arm,
            time_s=None if math.isnan(verdict.time) else verdict.time,
            value=None if math.isnan(verdict.value) else verdict.value,
        ),
        times_s=times[0] if times else np.zeros(0),
        video_times_s=np.array(message.video_times, float),
        arms={name: arm for name, (_, arm) in arms.items()},
        events=tuple(
            GripperEvent(
                arm=event.arm,
                time_s=s_from_duration(event.time_from_start),
                open=event.open,
                opening_m=None if math.isnan(event.opening) else event.opening,
            )
            for event in message.gripper_events
        ),
        keyframes={},
    )


def postures_after(message: robo4d_msgs.Plan, before: Mapping[str, ArmPosture]) -> dict[str, ArmPosture]:
    """How each arm will stand when a plan has been executed; the message is not read any further, which takes long.

    Args:
        message: The plan.
        before: How each arm stands at its start, by name: arms and grippers without a motion stay like that.
    """
    joints = {arm.arm: np.array(arm.joint_trajectory.points[-1].positions) for arm in message.arms}
    openings = {event.arm: _opening_after(event) for event in message.gripper_events}
    return {
        arm: ArmPosture(joints=joints.get(arm, posture.joints), opening_m=openings.get(arm, posture.opening_m))
        for arm, posture in before.items()
    }


def cartesian_trajectory(
    arm: ArmPlan, times_s: Float[Array, " n"], *, tcp: str, stamp: Header
) -> MultiDOFJointTrajectory:
    """The TCP's motion as a standard message; velocities and accelerations in the axes of the header's frame."""
    points = [
        MultiDOFJointTrajectoryPoint(
            transforms=[transform_from_matrix(T)],
            velocities=[twist(v)],
            accelerations=[twist(a)],
            time_from_start=duration_from_s(t),
        )
        for t, T, v, a in zip(times_s, arm.Ts_world_tcp, arm.velocities, arm.accelerations, strict=True)
    ]
    return MultiDOFJointTrajectory(header=stamp, joint_names=[tcp], points=points)


def joint_trajectory(
    arm: ArmPlan, times_s: Float[Array, " n"], *, joint_names: list[str], stamp: Header
) -> JointTrajectory:
    """The joints' motion as joint trajectory controllers take it."""
    points = [
        JointTrajectoryPoint(
            positions=q.tolist(), velocities=v.tolist(), accelerations=a.tolist(), time_from_start=duration_from_s(t)
        )
        for t, q, v, a in zip(times_s, arm.joints, arm.joint_velocities, arm.joint_accelerations, strict=True)
    ]
    return JointTrajectory(header=stamp, joint_names=joint_names, points=points)


def path(Ts_world_tcp: Float[Array, "n 4 4"], times_s: Float[Array, " n"], *, stamp_ns: int) -> Path:
    """Poses with their times [s] after a stamp [ns], as nav_msgs has it; those that are not finite are left out."""
    return Path(
        header=header(stamp_ns, WORLD),
        poses=[
            pose_stamped(T, frame=WORLD, stamp_ns=stamp_ns + round(1e9 * float(time_s)))
            for T, time_s in zip(Ts_world_tcp, times_s, strict=True)
            if np.isfinite(T).all()
        ],
    )


def _opening_after(event: robo4d_msgs.GripperEvent) -> float:
    """[m]; fingers of which the video does not show what they hold are closed."""
    if event.open:
        return _OPEN_M
    return 0.0 if math.isnan(event.opening) else event.opening


def _message_from_arm(
    name: str, arm: ArmPlan, times_s: Float[Array, " n"], joint_names: list[str], stamp: Header
) -> robo4d_msgs.ArmPlan:
    return robo4d_msgs.ArmPlan(
        arm=name,
        trajectory=cartesian_trajectory(arm, times_s, tcp=f"{name}_hand_tcp", stamp=stamp),
        joint_trajectory=joint_trajectory(arm, times_s, joint_names=joint_names, stamp=stamp),
        confidence=arm.confidence.tolist(),
    )


def _arm_from_message(message: robo4d_msgs.ArmPlan) -> tuple[Float[Array, " n"], ArmPlan]:
    """The times [s] and the motion."""
    poses, joints = message.trajectory.points, message.joint_trajectory.points
    times_s = np.array([s_from_duration(point.time_from_start) for point in poses])
    if [point.time_from_start for point in joints] != [point.time_from_start for point in poses]:
        raise ValueError(f"the poses and the joints of the plan of {message.arm} must have the same times")
    if len(message.confidence) != len(poses):
        raise ValueError(f"the plan of {message.arm} has {len(poses)} poses, but {len(message.confidence)} confidences")
    return times_s, ArmPlan(
        Ts_world_tcp=np.array([matrix_from_transform(point.transforms[0]) for point in poses]).reshape(-1, 4, 4),
        velocities=np.array([array_from_twist(point.velocities[0]) for point in poses]).reshape(-1, 6),
        accelerations=np.array([array_from_twist(point.accelerations[0]) for point in poses]).reshape(-1, 6),
        joints=np.array([point.positions for point in joints]).reshape(-1, 7),
        joint_velocities=np.array([point.velocities for point in joints]).reshape(-1, 7),
        joint_accelerations=np.array([point.accelerations for point in joints]).reshape(-1, 7),
        confidence=np.array(message.confidence, float),
    )
