"""The gripper's CAD as a camera sees it: depth images, part labels, and points on its surface."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.gripper import GripperModel, Mesh, Part

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

_OPENING_STEP = 0.005
"""Openings are rounded to this [m], so that few scenes are built; a finger is then at most 1.3 mm off."""
_NEAR = 0.02
"""A gripper nearer than this to the camera's plane [m] is not drawn."""
_SKIN = 0.0005
"""Distance from the surface [m] from which it is asked what is in the way."""
_SURFACE_POINTS = 400
"""Points on the surface; in two views of 128 x 128, half a metre wide, the gripper has about as many pixels."""
_SHADOW_STEP = 0.04
"""What the fingers hide of each other is found out anew when the opening differs by so much [m]."""
_RENDERINGS = 48
"""Renderings that are kept for who asks for the same one next: of a gripper that stands still, in the next moment."""
_SURFACE_STEP = 0.001
"""Openings of surfaces are rounded to this [m], so that one that stays the same is not moved anew for every test."""


Window = tuple[slice, slice]
"""Rows and columns of an image; they may go on beyond its end."""
WHOLE: Window = (slice(None), slice(None))
NOWHERE: Window = (slice(0, 0), slice(0, 0))


@lru_cache(maxsize=16)
def pixel_rays(intrinsics: Intrinsics) -> Float32[Array, "h w 3"]:
    """As `Intrinsics.rays`, kept for the next image of the same camera."""
    return intrinsics.rays().astype(np.float32)


def box_window(corners_camera: Float[Array, "n 3"], intrinsics: Intrinsics) -> Window:
    """Rows and columns that may show what is inside boxes with these corners [m]; none if they reach the camera."""
    x, y, z = corners_camera.T
    if not z.min() > _NEAR:
        return NOWHERE
    u, v = intrinsics.fx * x / z + intrinsics.cx, intrinsics.fy * y / z + intrinsics.cy
    rows, columns = (slice(max(math.floor(a.min()), 0), max(math.ceil(a.max()), 0)) for a in (v, u))
    return rows, columns


def enclosing(one: Window, other: Window) -> Window:
    """The window that holds two, of which the second may be empty."""
    if any(side.start >= side.stop for side in other):
        return one
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def _fibonacci_sphere(count: int) -> Float[Array, "d 3"]:
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + np.sqrt(5)) * i
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=-1)


DIRECTIONS = _fibonacci_sphere(256).astype(np.float32)
"""Unit vectors all around, 11 degrees apart."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The gripper alone, seen by one camera."""

    depth: Float32[Array, "h w"]
    """Distance along the optical axis [m]; 0 where the gripper is not."""
    part: UInt8[Array, "h w"]
    """The `Part` of each pixel."""
    whole: bool
    """Whether it is certain that nothing of what was to be drawn lies outside the image."""
    window: Window
    """Outside of which nothing is drawn."""

    @classmethod
    def example(cls) -> "Rendering":
        """An image without a gripper."""
        size = (6, 8)
        return cls(depth=np.zeros(size, np.float32), part=np.zeros(size, np.uint8), whole=False, window=NOWHERE)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Points spread evenly over the outer surface of the gripper, in the frame of the hand, in random order."""

    points: Float32[Array, "n 3"]
    """[m]."""
    normals: Float32[Array, "n 3"]
    """Unit vectors across the surface, to either side."""
    part: UInt8[Array, " n"]
    """The `Part` of each point."""
    facing: Float32[Array, "d n"]
    """How much of an image a point's surroundings fill from far away in each of `DIRECTIONS`: the cosine of the angle
    to the normal, 0 where the rest of the gripper is in the way."""

    @classmethod
    def example(cls) -> "Surface":
        """One point, seen from everywhere."""
        return cls(
            points=np.zeros((1, 3), np.float32),
            normals=np.eye(3, dtype=np.float32)[:1],
            part=np.full(1, Part.HAND, np.uint8),
            facing=np.ones((len(DIRECTIONS), 1), np.float32),
        )

    def __getitem__(self, chosen: slice | Bool[Array, " n"]) -> "Surface":
        """Some of the points."""
        return Surface(
            points=self.points[chosen],
            normals=self.normals[chosen],
            part=self.part[chosen],
            facing=self.facing[:, chosen],
        )

    def seen_from(self, Ts_camera_hand: Float[Array, "b 4 4"]) -> tuple[Float32[Array, "b 3 n"], Float32[Array, "b n"]]:
        """The points in the frame of a camera [m] for many poses of the hand, and how much each faces the camera."""
        R, p = Ts_camera_hand[:, :3, :3].astype(np.float32), Ts_camera_hand[:, :3, 3].astype(np.float32)
        points = (R.reshape(-1, 3) @ self.points.T).reshape(len(R), 3, -1) + p[..., None]
        to_camera_hand = np.einsum("bji,bj->bi", R, -points.mean(axis=-1))
        return points, self.facing[np.argmax(to_camera_hand @ DIRECTIONS.T, axis=1)]


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
        self._scene = lru_cache(maxsize=None)(self._build_scene)
        self._rendering = lru_cache(maxsize=_RENDERINGS)(self._render)
        self._sampled = lru_cache(maxsize=None)(self._sample_surface)
        self._surface = lru_cache(maxsize=None)(self._move_surface)

    def render(
        self,
        T_camera_hand: Float[Array, "4 4"],
        opening_m: float,
        intrinsics: Intrinsics,
        *,
        corners_hand: Float[Array, "n 3"] | None = None,
    ) -> Rendering:
        """What the camera sees of the gripper at a pose, opened by a distance between the fingers [m].

        Args:
            T_camera_hand: The pose.
            opening_m: Distance between the fingers [m].
            intrinsics: Of the camera.
            corners_hand: Corners of boxes [m] that are all one wants to see; only the image around them is drawn.
        """
        box = None if corners_hand is None else corners_hand.tobytes()
        return self._rendering(T_camera_hand.astype(float).tobytes(), self._step(opening_m), intrinsics, box)

    def _render(
        self, T_camera_hand_bytes: bytes, step: int, intrinsics: Intrinsics, box_bytes: bytes | None
    ) -> Rendering:
        """What `render` gives: with arguments that can be looked up, as tracker, judge and meter ask for the same."""
        T_camera_hand = np.frombuffer(T_camera_hand_bytes).reshape(4, 4)
        scene, parts, corners = self._scene(step)
        if box_bytes is not None:
            corners = np.frombuffer(box_bytes).reshape(-1, 3)
        depth = np.zeros((intrinsics.height, intrinsics.width), np.float32)
        part = np.zeros((intrinsics.height, intrinsics.width), np.uint8)
        window = box_window(se3.apply(T_camera_hand, corners), intrinsics)
        rays = pixel_rays(intrinsics)[window]
        if rays.size == 0:
            return Rendering(depth=depth, part=part, whole=False, window=NOWHERE)
        hit, distance, mesh = cast(scene, se3.inverse(T_camera_hand), rays)
        depth[window] = np.where(hit, distance, 0)
        part[window] = np.where(hit, parts[mesh], Part.NONE)
        rows, columns = window
        inside = min(rows.start, columns.start) > 0
        whole = inside and rows.stop <= intrinsics.height and columns.stop <= intrinsics.width
        return Rendering(depth=depth, part=part, whole=whole, window=window)

    def surface(self, opening_m: float) -> Surface:
        """Points on all that can be seen of the gripper from somewhere, opened by a distance [m]; always the same."""
        return self._surface(round(self._clipped(opening_m) / _SURFACE_STEP))

    def _move_surface(self, step: int) -> Surface:
        opening_m = step * _SURFACE_STEP
        sampled_m = _SHADOW_STEP * round(opening_m / _SHADOW_STEP)
        sampled = self._sampled(sampled_m)
        travel = ((opening_m - sampled_m) / 2 * self.model.opening_axis).astype(np.float32)
        points = sampled.points.copy()
        points[sampled.part == Part.LEFT_FINGER] += travel
        points[sampled.part == Part.RIGHT_FINGER] -= travel
        return replace(sampled, points=points)

    def _sample_surface(self, opening_m: float) -> Surface:
        return sample_surface(self.model.parts(opening_m), self._scene(self._step(opening_m))[0], _SURFACE_POINTS)

    def _step(self, opening_m: float) -> int:
        return round(self._clipped(opening_m) / _OPENING_STEP)

    def _clipped(self, opening_m: float) -> float:
        return min(max(opening_m, 0.0), self.model.max_opening_m)

    def _build_scene(self, step: int) -> tuple["EmbreeScene", UInt8[Array, " k"], Float[Array, "n 3"]]:
        """Embree's scene of the parts, the part of each geometry in it, and the corners of boxes around them [m]."""
        parts = self.model.parts(step * _OPENING_STEP)
        corners = np.concatenate([mesh.bounds.vertices for mesh in parts.values()])
        return build_scene(parts.values()), np.array(list(parts), np.uint8), corners


def build_scene(meshes: Iterable[Mesh]) -> "EmbreeScene":
    """Meshes to cast rays at."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    scene = EmbreeScene()
    for mesh in meshes:
        TriangleMesh(scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
    return scene


def cast(
    scene: "EmbreeScene", T_body_camera: Float[Array, "4 4"], rays: Float32[Array, "*b 3"]
) -> tuple[Bool[Array, "*b"], Float32[Array, "*b"], Int[Array, "*b"]]:
    """What rays of a camera hit of a body: whether they do, the depth along the optical axis [m], and which mesh.

    Args:
        scene: Of the body, in its own frame.
        T_body_camera: The camera's pose.
        rays: Directions in the frame of the camera, with z = 1: so far as Embree measures, that is the depth.
    """
    directions = _rows(rays) @ T_body_camera[:3, :3].T.astype(np.float32)
    origins = np.empty_like(directions)
    origins[:] = T_body_camera[:3, 3]
    hits = scene.run(origins, directions, output=True)
    shape = rays.shape[:-1]
    mesh = hits["geomID"].reshape(shape)
    return mesh >= 0, hits["tfar"].reshape(shape), mesh


def sample_surface(parts: Mapping[Part, Mesh], scene: "EmbreeScene", count: int) -> Surface:
    """Points on all that can be seen of a body from somewhere; always the same.

    Args:
        parts: The body.
        scene: The same, as `build_scene` makes it.
        count: How many, at most.
    """
    rng = np.random.default_rng(0)
    areas = np.array([mesh.area for mesh in parts.values()])
    counts = rng.multinomial(3 * count, areas / areas.sum())  # a third or more is hidden inside the CAD
    sampled = [mesh.sample(int(n), rng) for mesh, n in zip(parts.values(), counts, strict=True)]
    mixed = rng.permutation(counts.sum())
    points, normals = (np.concatenate(lists)[mixed] for lists in zip(*sampled, strict=True))
    labels = np.repeat(np.array(list(parts), np.uint8), counts)[mixed]
    visible = _visible(scene, points, normals)
    outer = np.flatnonzero(visible.any(axis=0))[:count]
    return Surface(
        points=points[outer].astype(np.float32),
        normals=normals[outer].astype(np.float32),
        part=labels[outer],
        facing=(visible * np.abs(DIRECTIONS @ normals.T))[:, outer].astype(np.float32),
    )


def _visible(scene: "EmbreeScene", points: Float[Array, "n 3"], normals: Float[Array, "n 3"]) -> Bool[Array, "d n"]:
    """From which of `DIRECTIONS` each point on the surface of a body is seen."""
    side = np.sign(normals @ DIRECTIONS.T)[..., None]  # CAD need not be oriented: each side is looked at
    origins = points[:, None] + _SKIN * side * normals[:, None]
    hit = scene.run(_rows(origins), _rows(np.broadcast_to(DIRECTIONS, origins.shape)))
    return hit.reshape(origins.shape[:2]).T < 0


def _rows(vectors: Float[Array, "*b 3"]) -> Float32[Array, "n 3"]:
    return np.ascontiguousarray(vectors.reshape(-1, 3), np.float32)
