"""Messages <-> core types. Nodes build no others: images have `images.py`, plans `plan_conversions.py`.

A message that holds what no core type may hold (a pose that is not finite, lists of unequal length) raises ValueError.
"""

import array
import math
from collections.abc import Mapping, Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Twist,
    Vector3,
    WrenchStamped,
)
from jaxtyping import Float, Shaped
from numpy import ndarray as Array
from robo4d_msgs import msg as robo4d_msgs
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from robo4d.geometry import se3
from robo4d.rgbd import ArmPosture, RgbdFrame, RgbdPair
from robo4d.track import GripperTrack
from robo4d.video import PointmapVideo
from robo4d_ros import images

WORLD = "world"
"""The frame of tracks and plans, and of all that the simulated cell tells."""


def time_from_ns(stamp_ns: int) -> Time:
    """A stamp from nanoseconds since the epoch."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def ns_from_time(stamp: Time) -> int:
    """Nanoseconds since the epoch."""
    return stamp.sec * 10**9 + stamp.nanosec


def duration_from_s(time_s: float) -> Duration:
    """A duration from seconds."""
    ns = round(1e9 * time_s)
    return Duration(sec=ns // 10**9, nanosec=ns % 10**9)


def s_from_duration(duration: Duration) -> float:
    """Seconds."""
    return duration.sec + 1e-9 * duration.nanosec


def header(stamp_ns: int, frame: str) -> Header:
    """The header of something seen at that time [ns] in that frame."""
    return Header(stamp=time_from_ns(stamp_ns), frame_id=frame)


def transform_from_matrix(T_a_b: Float[Array, "4 4"]) -> Transform:
    """A transform."""
    return Transform(translation=vector(T_a_b[:3, 3]), rotation=_quaternion(T_a_b))


def matrix_from_transform(transform: Transform) -> Float[Array, "4 4"]:
    """T_a_b; ValueError where the message is not finite, or its quaternion zero."""
    return _matrix(transform.translation, transform.rotation)


def matrices_from_transforms(transforms: Sequence[Transform]) -> Float[Array, "n 4 4"]:
    """T_a_b of each, at a small part of the time that one after the other takes; all NaN where it is no pose."""
    told = [(t.rotation, t.translation) for t in transforms]
    values = np.array([(r.w, r.x, r.y, r.z, p.x, p.y, p.z) for r, p in told], dtype=float).reshape(-1, 7)
    is_pose = np.isfinite(values).all(axis=1) & (np.linalg.norm(values[:, :4], axis=1) > 1e-9)
    Ts_a_b = np.full((len(values), 4, 4), np.nan)
    Ts_a_b[is_pose] = se3.from_quat_wxyz(values[is_pose, :4], values[is_pose, 4:])
    return Ts_a_b


def pose_from_matrix(T_a_b: Float[Array, "4 4"]) -> Pose:
    """The pose of b in a; all NaN where T_a_b is not finite."""
    if not np.isfinite(T_a_b).all():
        nan = math.nan
        return Pose(position=Point(x=nan, y=nan, z=nan), orientation=Quaternion(x=nan, y=nan, z=nan, w=nan))
    x, y, z = map(float, T_a_b[:3, 3])
    return Pose(position=Point(x=x, y=y, z=z), orientation=_quaternion(T_a_b))


def matrix_from_pose(pose: Pose) -> Float[Array, "4 4"]:
    """T_a_b; ValueError where the message is not finite, or its quaternion zero."""
    return _matrix(pose.position, pose.orientation)


def pose_stamped(T_a_b: Float[Array, "4 4"], *, frame: str, stamp_ns: int) -> PoseStamped:
    """The pose of b in the frame a at a time."""
    return PoseStamped(header=header(stamp_ns, frame), pose=pose_from_matrix(T_a_b))


def transforms_stamped(
    parents: Sequence[str], children: Sequence[str], Ts_parent_child: Float[Array, "n 4 4"], stamp_ns: int
) -> list[TransformStamped]:
    """The poses of frames in their parents at one time."""
    stamp, quats_wxyz = time_from_ns(stamp_ns), se3.to_quat_wxyz(Ts_parent_child).tolist()
    return [
        TransformStamped(
            header=Header(stamp=stamp, frame_id=parent),
            child_frame_id=child,
            transform=Transform(
                translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(w=quat[0], x=quat[1], y=quat[2], z=quat[3])
            ),
        )
        for parent, child, (x, y, z), quat in zip(
            parents, children, Ts_parent_child[:, :3, 3].tolist(), quats_wxyz, strict=True
        )
    ]


def frames_message(parent: str, Ts_parent_child: Mapping[str, Float[Array, "4 4"]], stamp_ns: int) -> TFMessage:
    """The poses of several frames in one parent."""
    Ts = np.array(list(Ts_parent_child.values()), float).reshape(-1, 4, 4)
    return TFMessage(transforms=transforms_stamped([parent] * len(Ts), list(Ts_parent_child), Ts, stamp_ns))


def joint_state(
    names: list[str], positions: Float[Array, " n"], velocities: Float[Array, " n"], *, stamp_ns: int
) -> JointState:
    """Joint angles [rad] or travels [m], and their velocities."""
    return JointState(
        header=header(stamp_ns, ""), name=names, position=positions.tolist(), velocity=velocities.tolist()
    )


def wrench_stamped(wrench: Float[Array, "6"], *, frame: str, stamp_ns: int) -> WrenchStamped:
    """Force [N] and torque [Nm] in the axes of a frame."""
    message = WrenchStamped(header=header(stamp_ns, frame))
    message.wrench.force, message.wrench.torque = vector(wrench[:3]), vector(wrench[3:])
    return message


def twist(v: Float[Array, "6"]) -> Twist:
    """Translation part first, then rotation part: velocities or accelerations."""
    return Twist(linear=vector(v[:3]), angular=vector(v[3:]))


def array_from_twist(twist: Twist) -> Float[Array, "6"]:
    """Translation part first, then rotation part."""
    v, w = twist.linear, twist.angular
    return np.array([v.x, v.y, v.z, w.x, w.y, w.z])


def vector(xyz: Float[Array, "3"]) -> Vector3:
    """A vector."""
    return Vector3(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def require_world(header: Header) -> None:
    """Refuse a track or a plan in another frame."""
    if header.frame_id != WORLD:
        raise ValueError(f"frame_id must be {WORLD!r}, got {header.frame_id!r}")


def message_from_pair(pair: RgbdPair) -> robo4d_msgs.RgbdPair:
    """The message of the same name."""
    return robo4d_msgs.RgbdPair(
        n=_message_from_frame(pair.n), m=_message_from_frame(pair.m), foreseen=messages_from_postures(pair.foreseen)
    )


def pair_from_message(message: robo4d_msgs.RgbdPair) -> RgbdPair:
    """The core type of the same name. Its arrays are views of the message's memory."""
    return RgbdPair(
        n=_frame_from_message(message.n),
        m=_frame_from_message(message.m),
        foreseen=postures_from_messages(message.foreseen),
    )


def messages_from_postures(postures: Mapping[str, ArmPosture]) -> list[robo4d_msgs.ArmPosture]:
    """The messages of the same name, of each arm by name."""
    return [
        robo4d_msgs.ArmPosture(arm=arm, joints=posture.joints, opening=posture.opening_m)
        for arm, posture in postures.items()
    ]


def postures_from_messages(messages: Sequence[robo4d_msgs.ArmPosture]) -> dict[str, ArmPosture]:
    """The core type of the same name, by arm; ValueError where a message is not finite."""
    for message in messages:
        if not np.isfinite([*message.joints, message.opening]).all():
            raise ValueError(f"the posture of the {message.arm} arm must be finite, got {message}")
    return {m.arm: ArmPosture(joints=np.array(m.joints, float), opening_m=m.opening) for m in messages}


def message_from_video(video: PointmapVideo) -> robo4d_msgs.PointmapVideo:
    """The message of the same name."""
    stamp = header(video.stamp_ns, video.frame)
    return robo4d_msgs.PointmapVideo(
        header=stamp,
        cameras=[images.camera_info_from_intrinsics(k, Header(stamp=stamp.stamp)) for k in video.intrinsics],
        times=packed("f", video.times_s),
        rgb=packed("B", video.rgb),
        points=packed("f", video.points),
        valid=packed("B", video.valid.view(np.uint8)),
    )


def video_from_message(message: robo4d_msgs.PointmapVideo) -> PointmapVideo:
    """The core type of the same name. Its arrays are views of the message's memory."""
    intrinsics = tuple(images.intrinsics_from_camera_info(camera) for camera in message.cameras)
    if not intrinsics:
        raise ValueError("a video needs a camera for each view; its list of cameras is empty")
    shape = (len(intrinsics), len(message.times), intrinsics[0].height, intrinsics[0].width)
    pixels = math.prod(shape)
    if (len(message.rgb), len(message.points), len(message.valid)) != (3 * pixels, 3 * pixels, pixels):
        raise ValueError(
            f"a video of shape (view, time, height, width) = {shape} has {pixels} pixels, but there are "
            f"{len(message.rgb)} colour values, {len(message.points)} coordinates and {len(message.valid)} validities"
        )
    return PointmapVideo(
        rgb=np.frombuffer(message.rgb, np.uint8).reshape(*shape, 3),
        points=np.frombuffer(message.points, np.float32).reshape(*shape, 3),
        valid=np.frombuffer(message.valid, np.uint8).reshape(shape) != 0,
        times_s=np.array(message.times, np.float32),
        intrinsics=intrinsics,
        frame=message.header.frame_id,
        stamp_ns=ns_from_time(message.header.stamp),
    )


def message_from_track(track: GripperTrack) -> robo4d_msgs.GripperTrack:
    """The message of the same name, in the world frame. What nobody measured is NaN, what nobody says is empty."""
    unknown = [math.nan] * len(track.times_s)
    return robo4d_msgs.GripperTrack(
        header=header(track.stamp_ns, WORLD),
        arm=track.arm,
        times=track.times_s.tolist(),
        poses=[pose_from_matrix(T) for T in track.Ts_world_tcp],
        confidence=track.confidence.tolist(),
        inlier=track.inlier.tolist(),
        view=track.view.tolist(),
        reason=[str(reason) for reason in track.reasons or [""] * len(unknown)],
        opening=track.opening_m.tolist(),
        searched_opening=unknown if track.searched_opening_m is None else track.searched_opening_m.tolist(),
        centroid_distance=unknown if track.centroids_m is None else track.centroids_m.tolist(),
        open=track.open.tolist(),
        foreseen=messages_from_postures({track.arm: track.foreseen} if track.foreseen else {}),
    )


def track_from_message(message: robo4d_msgs.GripperTrack) -> GripperTrack:
    """The core type of the same name."""
    require_world(message.header)
    columns = ("times", "poses", "confidence", "inlier", "view", "reason", "opening", "open")
    columns += ("searched_opening", "centroid_distance")
    lengths = {name: len(getattr(message, name)) for name in columns}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the lists of the {message.arm} gripper's track must be equally long, got {lengths}")
    return GripperTrack(
        arm=message.arm,
        stamp_ns=ns_from_time(message.header.stamp),
        times_s=np.array(message.times, float),
        Ts_world_tcp=np.array([_matrix_or_lost(pose) for pose in message.poses]).reshape(-1, 4, 4),
        confidence=np.array(message.confidence, float),
        inlier=np.array(message.inlier, bool),
        view=np.array(message.view, int),
        opening_m=np.array(message.opening, float),
        open=np.array(message.open, bool),
        searched_opening_m=np.array(message.searched_opening, float),
        centroids_m=np.array(message.centroid_distance, float),
        reasons=tuple(message.reason),
        foreseen=postures_from_messages(message.foreseen).get(message.arm),
    )


def packed(code: str, values: Shaped[Array, "..."]) -> array.array:
    """Numbers as rclpy keeps them. Given an array of numpy it would look at every element: 64 ms a megabyte."""
    content = array.array(code)
    content.frombytes(memoryview(np.ascontiguousarray(values)).cast("B"))
    return content


def _message_from_frame(frame: RgbdFrame) -> robo4d_msgs.RgbdFrame:
    stamp = header(frame.stamp_ns, frame.camera)
    known = frame.T_world_camera is not None
    return robo4d_msgs.RgbdFrame(
        color=images.image_from_rgb(frame.rgb, stamp),
        depth=images.image_from_depth(frame.depth, stamp),
        camera_info=images.camera_info_from_intrinsics(frame.intrinsics, stamp),
        placed=known,
        pose=transform_from_matrix(frame.T_world_camera if known else np.eye(4)),
    )


def _frame_from_message(message: robo4d_msgs.RgbdFrame) -> RgbdFrame:
    return RgbdFrame(
        rgb=images.rgb_from_image(message.color),
        depth=images.depth_from_image(message.depth),
        intrinsics=images.intrinsics_from_camera_info(message.camera_info),
        camera=message.color.header.frame_id,
        stamp_ns=ns_from_time(message.color.header.stamp),
        T_world_camera=matrix_from_transform(message.pose) if message.placed else None,
    )


def _quaternion(T_a_b: Float[Array, "4 4"]) -> Quaternion:
    w, x, y, z = map(float, se3.to_quat_wxyz(T_a_b))
    return Quaternion(x=x, y=y, z=z, w=w)


def _matrix(position: Point | Vector3, orientation: Quaternion) -> Float[Array, "4 4"]:
    p = np.array([position.x, position.y, position.z])
    if not np.isfinite(p).all():
        raise ValueError(f"position must be finite, got {p}")
    return se3.from_quat_wxyz(np.array([orientation.w, orientation.x, orientation.y, orientation.z]), p)


def _matrix_or_lost(pose: Pose) -> Float[Array, "4 4"]:
    """All NaN where the position is."""
    return np.full((4, 4), np.nan) if math.isnan(pose.position.x) else matrix_from_pose(pose)
