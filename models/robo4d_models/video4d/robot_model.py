"""The robot's own look: its CAD, where its links go when the gripper moves, and what a camera sees of them.

The CAD comes with the simulator, which is only needed to read it: trained weights hold the triangles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray as Array
from torch import Tensor

from robo4d.geometry import Camera, se3
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import MountedArm, RobotDescription

if TYPE_CHECKING:
    import open3d as o3d

ARM_PARTS = tuple(f"link{number}" for number in range(1, 8))
"""What turns with the joints; the frames are those of Franka's links."""
GRIPPER_PARTS = ("hand", "left_finger", "right_finger")
"""In the frame of the TCP, with the fingers together; the left one opens towards +y."""
PARTS = (*ARM_PARTS, *GRIPPER_PARTS)
_OPENING_AXIS = {"hand": 0.0, "left_finger": 1.0, "right_finger": -1.0}

_NEAR = 0.05
"""What is nearer to a camera [m] may be out of its picture, but never behind it."""
_AMBIENT = 0.4
"""Share of its colour that a surface shows when seen from the side."""
_STEPS_PER_POSE = 4
"""Differential inverse kinematics goes from one pose of a video to the next in so many steps."""


class Sight(NamedTuple):
    """What a camera sees of the robot."""

    depth: Float32[Array, "h w"]
    """Along the optical axis [m]; 0 beside the robot."""
    rgb: Float32[Array, "h w 3"]
    """In [0, 1], lit from the camera."""
    facing: Float32[Array, "h w"]
    """Cosine between the surface's normal and the ray."""
    arm: Int[Array, "h w"]
    """Which arm; -1 beside the robot."""
    gripper: Bool[Array, "h w"]
    """Whether it is its gripper."""


@dataclass(frozen=True, kw_only=True)
class RobotModel:
    """One arm and its gripper: triangles, each part in its own frame."""

    vertices: Float32[Array, "n 3"]
    """[m]."""
    triangles: Int[Array, "m 3"]
    """Indices of vertices."""
    rgb: Float32[Array, "m 3"]
    """Of the triangles' materials, in [0, 1]."""
    part: Int[Array, " m"]
    """Index of `PARTS`, ascending."""

    @classmethod
    def of_franka(cls) -> "RobotModel":
        """A Franka arm with Franka's hand."""
        import trimesh

        from robo4d.sim.panda import T_HAND_TCP, finger_poses, visual_meshes

        T_tcp_hand = se3.inverse(T_HAND_TCP)
        Ts = {"hand": T_tcp_hand} | {name: T_tcp_hand @ T for name, T in finger_poses(0.0).items()}
        looks = visual_meshes()
        vertices, triangles, rgb, part = list[Array](), list[Array](), list[Array](), list[Array]()
        count = 0
        for index, name in enumerate(PARTS):
            for look in looks[name.replace("_", "")]:
                mesh = trimesh.load_mesh(url2pathname(urlparse(look.uri).path))
                vertices.append(se3.apply(Ts.get(name, np.eye(4)), np.asarray(mesh.vertices, float)))
                triangles.append(count + np.asarray(mesh.faces))
                rgb.append(np.tile(look.rgba[:3], (len(mesh.faces), 1)))
                part.append(np.full(len(mesh.faces), index))
                count += len(mesh.vertices)
        return cls(
            vertices=np.concatenate(vertices).astype(np.float32),
            triangles=np.concatenate(triangles).astype(np.int32),
            rgb=np.concatenate(rgb).astype(np.float32),
            part=np.concatenate(part).astype(np.int32),
        )

    def tensors(self) -> dict[str, Tensor]:
        """For storing beside weights; `from_tensors` reads them."""
        return {f"robot.{f.name}": torch.from_numpy(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "RobotModel":
        """What `tensors` made."""
        return cls(**{f.name: tensors[f"robot.{f.name}"].numpy() for f in fields(cls)})

    def see(self, camera: Camera, arms: Sequence[Mapping[str, Float[Array, "4 4"]]]) -> Sight:
        """What a camera sees of some parts of each arm, given by T_world_part."""
        import open3d as o3d

        height, width = camera.intrinsics.height, camera.intrinsics.width
        rays = camera.intrinsics.rays()  # of length 1 along the optical axis, so that hits are at depths
        sight = Sight(
            depth=np.zeros((height, width), np.float32),
            rgb=np.zeros((height, width, 3), np.float32),
            facing=np.zeros((height, width), np.float32),
            arm=np.full((height, width), -1),
            gripper=np.zeros((height, width), bool),
        )
        for arm, Ts_world_part in enumerate(arms):
            for name in self._parts.keys() & Ts_world_part.keys():
                part = self._parts[name]
                T_part_camera = se3.inverse(Ts_world_part[name]) @ camera.T_world_camera
                window = _window(se3.apply(se3.inverse(T_part_camera), part.corners), camera)
                directions = rays[window] @ T_part_camera[:3, :3].T
                if not directions.size:
                    continue
                origins = np.broadcast_to(T_part_camera[:3, 3], directions.shape)
                cast = np.concatenate([origins, directions], axis=-1).astype(np.float32)
                hits = part.scene.cast_rays(o3d.core.Tensor.from_numpy(cast), nthreads=1)
                depth, before = hits["t_hit"].numpy(), sight.depth[window]
                nearer = np.isfinite(depth) & (depth > _NEAR) & ((before == 0) | (depth < before))
                unit = directions[nearer] / np.linalg.norm(directions[nearer], axis=-1, keepdims=True)
                facing = np.abs(np.einsum("nk,nk->n", hits["primitive_normals"].numpy()[nearer], unit))
                albedo = part.rgb[hits["primitive_ids"].numpy()[nearer]]
                sight.depth[window][nearer] = depth[nearer]
                sight.rgb[window][nearer] = albedo * (_AMBIENT + (1 - _AMBIENT) * facing[:, None])
                sight.facing[window][nearer] = facing
                sight.arm[window][nearer] = arm
                sight.gripper[window][nearer] = name in GRIPPER_PARTS
        return sight

    def follow(self, Ts_world_tcp: Float[Array, "t 4 4"], joints: Float[Array, "7"]) -> Float[Array, "t 7 4 4"]:
        """T_world_part of `ARM_PARTS` at each of the TCP's poses.

        The elbow is free to turn: it is kept as near as can be to where it is now, which with a controller that holds a
        posture is right to a few millimetres for seconds.

        Args:
            Ts_world_tcp: Poses of the TCP; the first is that of `joints`.
            joints: Joint positions at the first pose [rad].
        """
        T_world_base = Ts_world_tcp[0] @ se3.inverse(self._kinematics.forward(joints))
        steps = np.arange(1, _STEPS_PER_POSE + 1)[:, None] / _STEPS_PER_POSE
        twists = se3.log(se3.inverse(Ts_world_tcp[:-1]) @ Ts_world_tcp[1:])
        between = Ts_world_tcp[:-1, None] @ se3.exp(twists[:, None] * steps)
        path = np.concatenate([Ts_world_tcp[:1], between.reshape(-1, 4, 4)])
        followed, _, _ = self._kinematics.follow(se3.inverse(T_world_base) @ path, joints)
        return T_world_base @ np.stack([self._kinematics.links(q) for q in followed[::_STEPS_PER_POSE]])

    @cached_property
    def _kinematics(self) -> ArmKinematics:
        """That which all Franka arms share."""
        anywhere = np.full(3, np.inf)
        franka = RobotDescription.load("fer")
        return ArmKinematics(
            MountedArm(
                name="arm", robot=franka, T_world_base=np.eye(4), workspace_min=-anywhere, workspace_max=anywhere
            )
        )

    @cached_property
    def _parts(self) -> "dict[str, _Part]":
        import open3d as o3d  # takes a second

        parts: dict[str, _Part] = {}
        for index in np.unique(self.part):
            triangles = self.triangles[self.part == index]
            used, renumbered = np.unique(triangles, return_inverse=True)
            vertices = self.vertices[used]
            scene = o3d.t.geometry.RaycastingScene(nthreads=1)
            scene.add_triangles(
                o3d.core.Tensor.from_numpy(np.ascontiguousarray(vertices)),
                o3d.core.Tensor.from_numpy(renumbered.reshape(-1, 3).astype(np.uint32)),
            )
            low, high = vertices.min(axis=0), vertices.max(axis=0)
            corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(8, 3)
            parts[PARTS[index]] = _Part(scene, corners.astype(float), self.rgb[self.part == index])
        return parts


class _Part(NamedTuple):
    """A part, ready for ray casting."""

    scene: "o3d.t.geometry.RaycastingScene"
    corners: Float[Array, "8 3"]
    """Of the box around it [m]."""
    rgb: Float32[Array, "m 3"]


def _window(corners_camera: Float[Array, "8 3"], camera: Camera) -> tuple[slice, slice]:
    """The rows and columns in which a box may be seen."""
    k = camera.intrinsics
    if corners_camera[:, 2].min() < _NEAR:
        in_front = corners_camera[:, 2].max() > _NEAR
        return (slice(None), slice(None)) if in_front else (slice(0), slice(0))
    uv = corners_camera[:, :2] / corners_camera[:, 2:] * [k.fx, k.fy] + [k.cx, k.cy]
    low = np.floor(uv.min(axis=0)).clip(0, [k.width, k.height]).astype(int)
    high = np.ceil(uv.max(axis=0)).clip(0, [k.width, k.height]).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def gripper_poses(T_world_tcp: Float[Array, "4 4"], width: float) -> dict[str, Float[Array, "4 4"]]:
    """T_world_part of a gripper that is open by `width` [m]."""
    return {name: T_world_tcp @ se3.translation(0, 0.5 * width * sign, 0) for name, sign in _OPENING_AXIS.items()}
