"""The gripper's CAD as a camera sees it: depth images, part labels, and points on its surface."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.gripper import ALL_PARTS, GripperModel, Part

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

_OPENING_STEP = 0.005
"""Openings are rounded to this [m], so that few scenes are built; a finger is then at most 1.3 mm off."""
_NEAR = 0.02
"""A gripper nearer than this to the camera's plane [m] is not drawn."""
_SKIN = 0.0005
"""Distance from the surface [m] from which it is asked what is in the way."""


def _fibonacci_sphere(count: int) -> Float[Array, "d 3"]:
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + np.sqrt(5)) * i
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=-1)


DIRECTIONS = _fibonacci_sphere(256)
"""Unit vectors all around, 11 degrees apart."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The gripper alone, seen by one camera."""

    depth: Float[Array, "h w"]
    """Distance along the optical axis [m]; 0 where the gripper is not."""
    part: UInt8[Array, "h w"]
    """The `Part` of each pixel."""

    @classmethod
    def example(cls) -> "Rendering":
        """An image without a gripper."""
        return cls(depth=np.zeros((6, 8)), part=np.zeros((6, 8), np.uint8))


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Points spread evenly over the outer surface of the gripper, in the frame of the hand."""

    points: Float[Array, "n 3"]
    """[m]."""
    part: UInt8[Array, " n"]
    """The `Part` of each point."""
    visible: Bool[Array, "d n"]
    """Whether a point is seen from far away in each of `DIRECTIONS`, past the rest of the gripper."""

    @classmethod
    def example(cls) -> "Surface":
        """One point, seen from everywhere."""
        return cls(
            points=np.zeros((1, 3)), part=np.full(1, Part.HAND, np.uint8), visible=np.ones((len(DIRECTIONS), 1), bool)
        )


class GripperRenderer:
    """Casts rays at the gripper's CAD, on the CPU; all calls with the same arguments give the same pixels.

    Args:
        model: The gripper.
    """

    def __init__(self, model: GripperModel) -> None:
        self.model = model
        corners = np.concatenate([m.vertices for m in model.parts(model.max_opening_m).values()])
        low, high = corners.min(axis=0), corners.max(axis=0)
        self.centre_hand: Float[Array, "3"] = (low + high) / 2
        """Middle of the gripper [m]."""
        self._corners = np.array(
            [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        self._scene = lru_cache(maxsize=None)(self._build_scene)
        self._surface = lru_cache(maxsize=None)(self._sample_surface)

    def render(self, T_camera_hand: Float[Array, "4 4"], opening_m: float, intrinsics: Intrinsics) -> Rendering:
        """What the camera sees of the gripper at a pose, opened by a distance between the fingers [m]."""
        depth = np.zeros((intrinsics.height, intrinsics.width))
        part = np.zeros((intrinsics.height, intrinsics.width), np.uint8)
        window = self._window(T_camera_hand, intrinsics)
        rays = intrinsics.rays()[window]
        if rays.size == 0:
            return Rendering(depth=depth, part=part)
        scene, parts = self._scene(self._step(opening_m))
        T_hand_camera = se3.inverse(T_camera_hand)
        directions = rays @ T_hand_camera[:3, :3].T
        origins = np.broadcast_to(T_hand_camera[:3, 3], directions.shape)
        hits = scene.run(_rows(origins), _rows(directions), output=True)
        hit = hits["geomID"] >= 0
        # Embree measures along the direction as it is given, and its z in the camera is 1: that is the depth.
        depth[window] = np.where(hit, hits["tfar"], 0).reshape(rays.shape[:2])
        part[window] = np.where(hit, parts[hits["geomID"]], Part.NONE).reshape(rays.shape[:2])
        return Rendering(depth=depth, part=part)

    def surface(self, count: int, opening_m: float, parts: tuple[Part, ...] = ALL_PARTS) -> Surface:
        """About `count` points, spread evenly over what can be seen of some parts from somewhere; always the same."""
        return self._surface(count, self._step(opening_m), parts)

    def _sample_surface(self, count: int, step: int, parts: tuple[Part, ...]) -> Surface:
        rng = np.random.default_rng(0)
        meshes = {part: mesh for part, mesh in self.model.parts(step * _OPENING_STEP).items() if part in parts}
        corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes.values()])
        labels = np.concatenate([np.full(len(mesh.faces), part, np.uint8) for part, mesh in meshes.items()])
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normals, axis=1)
        chosen = rng.choice(len(area), size=3 * count, p=area / area.sum())  # a third or more is hidden inside the CAD
        u, v = rng.random((2, 3 * count, 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = corners[chosen].swapaxes(0, 1)
        points = a + u * (b - a) + v * (c - a)
        visible = self._visible(points, normals[chosen] / area[chosen, None], step)
        outer = np.flatnonzero(visible.any(axis=0))[:count]
        return Surface(points=points[outer], part=labels[chosen][outer], visible=visible[:, outer])

    def _visible(self, points: Float[Array, "n 3"], normals: Float[Array, "n 3"], step: int) -> Bool[Array, "d n"]:
        scene, _ = self._scene(step)
        side = np.sign(normals @ DIRECTIONS.T)[..., None]  # CAD need not be oriented: each side is looked at
        origins = points[:, None] + _SKIN * side * normals[:, None]
        hit = scene.run(_rows(origins), _rows(np.broadcast_to(DIRECTIONS, origins.shape)))
        return hit.reshape(origins.shape[:2]).T < 0

    def _window(self, T_camera_hand: Float[Array, "4 4"], intrinsics: Intrinsics) -> tuple[slice, slice]:
        """Rows and columns that may show the gripper."""
        corners = se3.apply(T_camera_hand, self._corners)
        if not np.all(corners[:, 2] > _NEAR):
            return slice(0, 0), slice(0, 0)
        uv, _ = intrinsics.project(corners)
        (u0, v0), (u1, v1) = np.floor(uv.min(axis=0)).astype(int), np.ceil(uv.max(axis=0)).astype(int)
        return slice(max(v0, 0), max(v1, 0)), slice(max(u0, 0), max(u1, 0))

    def _step(self, opening_m: float) -> int:
        return round(float(np.clip(opening_m, 0, self.model.max_opening_m)) / _OPENING_STEP)

    def _build_scene(self, step: int) -> tuple["EmbreeScene", UInt8[Array, " k"]]:
        """Embree's scene of the parts, and the part of each geometry in it."""
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        scene, parts = EmbreeScene(), self.model.parts(step * _OPENING_STEP)
        for mesh in parts.values():
            TriangleMesh(scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
        return scene, np.array(list(parts), np.uint8)


def _rows(vectors: Float[Array, "*b 3"]) -> Float32[Array, "n 3"]:
    return np.ascontiguousarray(vectors.reshape(-1, 3), np.float32)
