"""The gripper that is tracked: its CAD, in parts that move against each other."""

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from robo4d.geometry import se3

_LARGEST_PART = 2.0
"""Size [m] above which a part is taken to be in millimetres."""


class Part(enum.IntEnum):
    """What a pixel of a rendered gripper shows."""

    NONE = 0
    HAND = 1
    LEFT_FINGER = 2
    RIGHT_FINGER = 3
    WRIST = 4
    ARM = 5


FINGERS = (Part.LEFT_FINGER, Part.RIGHT_FINGER)
ALL_PARTS = (Part.HAND, *FINGERS, Part.WRIST)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A triangle mesh [m]."""

    vertices: Float[Array, "n 3"]
    faces: Int[Array, "m 3"]
    """Indices of each triangle's corners."""

    @classmethod
    def box(cls, low: tuple[float, float, float], high: tuple[float, float, float]) -> "Mesh":
        """An axis-parallel box between two corners [m]."""
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        return cls(vertices=corners, faces=np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]))

    @classmethod
    def example(cls) -> "Mesh":
        """A cube of 10 cm."""
        return cls.box((-0.05, -0.05, -0.05), (0.05, 0.05, 0.05))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"]]:
        """Points spread evenly over the surface [m], and its unit normals there, to the side that the faces tell."""
        a, b, c = self.vertices[self.faces].swapaxes(0, 1)
        normals = np.cross(b - a, c - a)
        areas = np.linalg.norm(normals, axis=1)
        chosen = rng.choice(len(areas), size=count, p=areas / areas.sum())
        u, v = rng.random((2, count, 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        points = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
        return points, normals[chosen] / areas[chosen, None]

    @property
    def area(self) -> float:
        """Of the surface [m^2]."""
        a, b, c = self.vertices[self.faces].swapaxes(0, 1)
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    @property
    def bounds(self) -> "Mesh":
        """The axis-parallel box around it."""
        return Mesh.box(tuple(self.vertices.min(axis=0)), tuple(self.vertices.max(axis=0)))

    def moved(self, T_a_b: Float[Array, "4 4"]) -> "Mesh":
        """The mesh in frame a, b being its present frame."""
        return Mesh(vertices=se3.apply(T_a_b, self.vertices), faces=self.faces)


@dataclass(frozen=True, kw_only=True)
class GripperModel:
    """A parallel gripper with the link that carries it, all in the frame of the hand.

    The wrist is part of what is tracked because it adds surface: with it, rotation is found better than with a
    perfect mask of the hand alone, and pixels of the forearm are not taken for the hand.
    """

    hand: Mesh
    left_finger: Mesh
    """Position when the gripper is closed."""
    right_finger: Mesh
    """Position when the gripper is closed."""
    wrist: Mesh
    """The last link of the arm."""
    opening_axis: Float[Array, "3"]
    """Unit vector along which the left finger opens; the right one opens the other way, equally far."""
    max_opening_m: float
    """Distance between the fingers when fully open [m]."""
    T_hand_tcp: Float[Array, "4 4"]
    """Tool centre point: between the fingertips, z along the approach direction."""

    def __post_init__(self) -> None:
        """Refuse CAD in millimetres and broken meshes, both of which track without an error message, wrongly."""
        for name in ("hand", "left_finger", "right_finger", "wrist"):
            mesh: Mesh = getattr(self, name)
            if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all() or mesh.faces.max() >= len(mesh.vertices):
                raise ValueError(f"{name}: a mesh needs faces, finite vertices, and indices of its vertices only")
            if (size := float(np.ptp(mesh.vertices, axis=0).max())) > _LARGEST_PART:
                raise ValueError(f"{name} is {size:.0f} m large: CAD must be in metres; scale millimetres by 0.001")
        if not np.isclose(np.linalg.norm(self.opening_axis), 1) or self.max_opening_m <= 0:
            raise ValueError("the opening axis must be a unit vector, the largest opening positive [m]")

    @classmethod
    def example(cls) -> "GripperModel":
        """A gripper of boxes with a Franka hand's measures, to the centimetre."""
        finger_high, finger_low = (0.01, 0.02, 0.112), (-0.01, 0.0, 0.058)
        return cls(
            hand=Mesh.box((-0.031, -0.10, -0.02), (0.031, 0.10, 0.066)),
            left_finger=Mesh.box(finger_low, finger_high),
            right_finger=Mesh.box((-0.01, -0.02, 0.058), (0.01, 0.0, 0.112)),
            wrist=Mesh.box((-0.045, -0.045, -0.06), (0.08, 0.045, -0.015)),
            opening_axis=np.array([0.0, 1.0, 0.0]),
            max_opening_m=0.08,
            T_hand_tcp=se3.translation(0, 0, 0.1034),
        )

    def parts(self, opening_m: float) -> dict[Part, Mesh]:
        """The parts of the gripper, opened by a distance between the fingers [m], in the frame of the hand."""
        travel = 0.5 * opening_m * self.opening_axis
        return {
            Part.HAND: self.hand,
            Part.LEFT_FINGER: self.left_finger.moved(se3.translation(*travel)),
            Part.RIGHT_FINGER: self.right_finger.moved(se3.translation(*-travel)),
            Part.WRIST: self.wrist,
        }
