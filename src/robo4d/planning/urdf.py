"""Our robots as URDF, the form in which ROS asks for them: the same data that plans are made with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.planning.robot import Capsule, MountedArm

_FINGER_Z_M = 0.0584
"""Where the fingers sit on the Franka Hand (franka_description 566ba44, end_effectors/franka_hand)."""
_FINGER_TRAVEL_M = 0.04
"""Of each finger, from closed to open (same source)."""
_FINGER_SPEED_M_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """What a link looks like, in its own frame and in metres."""

    uri: str
    """file:// or package://"""
    rgba: tuple[float, float, float, float]
    """Each in [0, 1]."""


def urdf(arms: Sequence[MountedArm], meshes: Mapping[str, Sequence[Mesh]]) -> str:
    """The description of a cell, whose root link is the world.

    Links are named as Franka names them, after the arm: left_base, left_link0 to left_link7, left_hand, left_hand_tcp,
    left_leftfinger, left_rightfinger; joints left_joint1 to 7 and left_finger_joint1 and 2. The collision geometry is
    the planner's.

    Args:
        arms: With distinct names.
        meshes: By link, without the arm's name before it. Links that are not in it have nothing to be seen by.
    """
    robot = Element("robot", name="robo4d")
    SubElement(robot, "link", name="world")
    for arm in arms:
        _add_arm(robot, arm, meshes)
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode")


def _add_arm(robot: Element, arm: MountedArm, meshes: Mapping[str, Sequence[Mesh]]) -> None:
    name, description = arm.name, arm.robot
    # The fingers' capsule covers the opening as a whole, in the frame of the hand.
    capsules = {link: [c for c in description.capsules if c.link == link] for link in _links()}
    capsules["hand"] += [c for c in description.capsules if c.link == "fingers"]
    for link in ("base", *_links(), "hand_tcp"):
        element = SubElement(robot, "link", name=f"{name}_{link}")
        for mesh in meshes.get(link, ()):
            _add_visual(element, mesh)
        for capsule in capsules.get(link, ()):
            _add_collisions(element, capsule)

    def fix(parent: str, child: str, T_parent_child: Float[Array, "4 4"]) -> None:
        _add_joint(robot, f"{name}_{child}_joint", "fixed", (parent, f"{name}_{child}"), T_parent_child)

    fix("world", "base", arm.T_world_base)
    fix(f"{name}_base", "link0", np.eye(4))
    for index, T_link_joint in enumerate(description.Ts_link_joint):
        joint = _add_joint(
            robot,
            f"{name}_joint{index + 1}",
            "revolute",
            (f"{name}_link{index}", f"{name}_link{index + 1}"),
            T_link_joint,
        )
        _add_motion(
            joint, "0 0 1", description.lower[index], description.upper[index], float(description.velocity[index])
        )
    fix(f"{name}_link7", "hand", description.T_link7_hand)
    fix(f"{name}_hand", "hand_tcp", description.T_hand_tcp)
    for number, finger, yaw in ((1, "leftfinger", 0.0), (2, "rightfinger", math.pi)):
        T_hand_finger = se3.pose(Rotation.from_euler("z", yaw).as_matrix(), np.array([0.0, 0.0, _FINGER_Z_M]))
        links = (f"{name}_hand", f"{name}_{finger}")
        joint = _add_joint(robot, f"{name}_finger_joint{number}", "prismatic", links, T_hand_finger)
        _add_motion(joint, "0 1 0", 0.0, _FINGER_TRAVEL_M, _FINGER_SPEED_M_S)


def _links() -> list[str]:
    return [*(f"link{index}" for index in range(8)), "hand", "leftfinger", "rightfinger"]


def _add_joint(
    robot: Element, name: str, kind: str, links: tuple[str, str], T_parent_child: Float[Array, "4 4"]
) -> Element:
    joint = SubElement(robot, "joint", name=name, type=kind)
    SubElement(joint, "parent", link=links[0])
    SubElement(joint, "child", link=links[1])
    rpy = Rotation.from_matrix(T_parent_child[:3, :3]).as_euler("xyz")
    SubElement(joint, "origin", xyz=_text(T_parent_child[:3, 3]), rpy=_text(rpy))
    return joint


def _add_motion(joint: Element, axis: str, lower: float, upper: float, velocity: float) -> None:
    SubElement(joint, "axis", xyz=axis)
    # URDF wants a greatest effort; nothing of ours computes with one.
    SubElement(joint, "limit", lower=f"{lower}", upper=f"{upper}", velocity=f"{velocity}", effort="0")


def _add_visual(link: Element, mesh: Mesh) -> None:
    visual = SubElement(link, "visual")
    SubElement(SubElement(visual, "geometry"), "mesh", filename=mesh.uri)
    # Materials of one name are one material, for the whole robot.
    material = SubElement(visual, "material", name="rgba_" + "_".join(f"{value:.3g}" for value in mesh.rgba))
    SubElement(material, "color", rgba=_text(mesh.rgba))


def _add_collisions(link: Element, capsule: Capsule) -> None:
    """A cylinder and its two round ends: URDF has no capsules."""
    axis, radius = capsule.end - capsule.start, f"{capsule.radius}"
    length = float(np.linalg.norm(axis))
    x, y, z = axis / length
    roll, pitch = math.asin(-y), math.atan2(x, z)  # turn z, the axis of URDF's cylinders, to the capsule's
    cylinder = _add_collision(link, (capsule.start + capsule.end) / 2, (roll, pitch, 0.0))
    SubElement(cylinder, "cylinder", radius=radius, length=f"{length}")
    for end in (capsule.start, capsule.end):
        SubElement(_add_collision(link, end, (0.0, 0.0, 0.0)), "sphere", radius=radius)


def _add_collision(link: Element, xyz: Iterable[float], rpy: Iterable[float]) -> Element:
    collision = SubElement(link, "collision")
    SubElement(collision, "origin", xyz=_text(xyz), rpy=_text(rpy))
    return SubElement(collision, "geometry")


def _text(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.10g}" for value in values)
