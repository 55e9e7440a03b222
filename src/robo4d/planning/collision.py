"""Collisions of arms with themselves, with each other and with boxes in the cell: capsules, by Pinocchio and Coal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import coal
import numpy as np
import pinocchio as pin
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.plan import Code
from robo4d.planning.kinematics import add_joints
from robo4d.planning.robot import Box, Capsule, MountedArm


@dataclass(frozen=True, kw_only=True)
class Clearances:
    """Distances below which two bodies count as colliding [m]; a negative one allows them to overlap."""

    self_m: float = 0.01
    """Between links of one arm. Their capsules are wider than the links."""
    arms_m: float = 0.03
    """Between two arms, either of which may be off its plan by some centimetres."""
    scene_m: float = 0.02
    """Between an arm and the boxes of the cell."""
    fingers_scene_m: float = -0.01
    """Between fingers and boxes: they grasp what lies on a table, and their tracked height is off by up to 1 cm."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Two bodies that come too close."""

    sample: int
    """Index of the first posture in which they do."""
    code: Code
    bodies: tuple[str, str]
    distance_m: float
    """Distance between them [m]; negative where they overlap."""

    @classmethod
    def example(cls) -> "Contact":
        """Two hands."""
        return cls(sample=3, code=Code.ARM_COLLISION, bodies=("left/hand", "right/hand"), distance_m=0.012)


class CollisionChecker:
    """Capsules of all arms and boxes of the cell. Not for use in several threads."""

    def __init__(self, arms: Sequence[MountedArm], boxes: Sequence[Box], clearances: Clearances) -> None:
        """Build the collision model of the cell."""
        self._model = pin.Model()
        self._geometry = pin.GeometryModel()
        self._codes: list[Code] = []
        self._q_index: dict[str, Array] = {}
        margins: list[float] = []

        bodies: list[tuple[int, MountedArm, Capsule]] = []
        for arm in arms:
            joints = add_joints(self._model, arm)
            self._q_index[arm.name] = np.array([self._model.joints[joint].idx_q for joint in joints])
            bodies += [(self._add_capsule(arm, capsule, joints), arm, capsule) for capsule in arm.robot.capsules]
        box_ids = [self._add_box(box) for box in boxes]

        def watch(a: int, b: int, code: Code, margin: float) -> None:
            self._geometry.addCollisionPair(pin.CollisionPair(a, b))
            self._codes.append(code)
            margins.append(margin)

        for index, (a, arm_a, capsule_a) in enumerate(bodies):
            for b, arm_b, capsule_b in bodies[index + 1 :]:
                if arm_a is not arm_b:
                    watch(a, b, Code.ARM_COLLISION, clearances.arms_m)
                elif (capsule_a.link, capsule_b.link) in arm_a.robot.self_collisions:
                    watch(a, b, Code.SELF_COLLISION, clearances.self_m)
            if capsule_a.link in ("link0", "link1"):
                continue  # the base stands on the table
            margin = clearances.fingers_scene_m if capsule_a.link == "fingers" else clearances.scene_m
            for b in box_ids:
                watch(a, b, Code.SCENE_COLLISION, margin)

        self._data = self._model.createData()
        self._geometry_data = self._geometry.createData()
        for request, margin in zip(self._geometry_data.collisionRequests, margins, strict=True):
            request.security_margin = margin

    def first_contact(self, joints: Mapping[str, Float[Array, "n 7"]]) -> Contact | None:
        """The first posture that comes too close to anything, or None.

        Args:
            joints: Joint positions of every arm over time [rad].
        """
        postures = np.empty((len(next(iter(joints.values()))), self._model.nq))
        for name, index in self._q_index.items():
            postures[:, index] = joints[name]
        for sample, q in enumerate(postures):
            if pin.computeCollisions(self._model, self._data, self._geometry, self._geometry_data, q, True):
                return self._contact(sample)
        return None

    def _contact(self, sample: int) -> Contact:
        results = self._geometry_data.collisionResults
        pair = next(index for index in range(len(results)) if results[index].isCollision())
        ids = self._geometry.collisionPairs[pair]
        names = tuple(self._geometry.geometryObjects[body].name for body in (ids.first, ids.second))
        distance = pin.computeDistance(self._geometry, self._geometry_data, pair).min_distance
        return Contact(sample=sample, code=self._codes[pair], bodies=(names[0], names[1]), distance_m=float(distance))

    def _add_capsule(self, arm: MountedArm, capsule: Capsule, joints: Sequence[int]) -> int:
        axis = capsule.end - capsule.start
        length = float(np.linalg.norm(axis))
        R_link_capsule = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), axis).matrix()
        T_link_capsule = se3.pose(R_link_capsule, (capsule.start + capsule.end) / 2)
        if capsule.link == "link0":
            joint, T_joint_capsule = 0, arm.T_world_base @ T_link_capsule
        elif capsule.link.startswith("link"):
            joint, T_joint_capsule = joints[int(capsule.link[4:]) - 1], T_link_capsule
        else:
            joint, T_joint_capsule = joints[-1], arm.robot.T_link7_hand @ T_link_capsule
        name = f"{arm.name}/{capsule.link}"
        shape = coal.Capsule(capsule.radius, length)
        return self._geometry.addGeometryObject(pin.GeometryObject(name, joint, pin.SE3(T_joint_capsule), shape))

    def _add_box(self, box: Box) -> int:
        shape = coal.Box(*box.size_m)
        return self._geometry.addGeometryObject(pin.GeometryObject(box.name, 0, pin.SE3(box.T_world_box), shape))
