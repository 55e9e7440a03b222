"""The links of a robot as its URDF tells them: where each is at given joint positions, and what it looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.planning.urdf import Mesh

_MOVING = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Connects a link to the one that it is mounted on."""

    name: str
    kind: str
    """fixed, revolute, continuous or prismatic."""
    parent: str
    child: str
    T_parent_joint: Float[Array, "4 4"]
    """Pose of the child at position 0."""
    axis: Float[Array, "3"]
    """Unit vector in the frame of the joint."""
    upper: float
    """Upper end of the range [rad or m]; 0 where it has none."""


@dataclass(frozen=True, kw_only=True)
class Visual:
    """A mesh on a link."""

    link: str
    T_link_mesh: Float[Array, "4 4"]
    scale: Float[Array, "3"]
    mesh: Mesh


@dataclass(frozen=True, kw_only=True)
class LinkTree:
    """A robot without loops."""

    root: str
    """The link that all others are mounted on, at last."""
    joints: tuple[Joint, ...]
    """Each after the joint that moves its parent."""
    visuals: tuple[Visual, ...]
    """Meshes only; boxes and other shapes are left out."""

    @classmethod
    def from_urdf(cls, text: str) -> "LinkTree":
        """The robot that a URDF describes.

        Raises:
            ValueError: it is no URDF, has joints of other kinds, or links that are not connected to one root.
        """
        try:
            robot = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ValueError(f"the robot description is no URDF: {error}; expand xacro files first") from None
        joints = [_joint(element) for element in robot.findall("joint")]
        links = {_attribute(element, "name") for element in robot.findall("link")}
        roots = links - {joint.child for joint in joints}
        if len(roots) != 1:
            raise ValueError(f"a robot has one root link, this description has {sorted(roots) or 'none'}")
        root = roots.pop()
        ordered, known = list[Joint](), {root}
        while left := [joint for joint in joints if joint.child not in known]:
            reached = [joint for joint in left if joint.parent in known]
            if not reached:
                raise ValueError(f"the joints {', '.join(j.name for j in left)} are not connected to {root}")
            ordered += reached
            known |= {joint.child for joint in reached}
        colours = {
            material.get("name", ""): _vector(material.find("color"), "rgba", "1 1 1 1")
            for material in robot.iter("material")
            if material.find("color") is not None
        }
        visuals = [
            _visual(_attribute(link, "name"), element, mesh, colours)
            for link in robot.findall("link")
            for element in link.findall("visual")
            if (mesh := element.find("geometry/mesh")) is not None
        ]
        return cls(root=root, joints=tuple(ordered), visuals=tuple(visuals))

    def frames(self, positions: Mapping[str, float]) -> Float[Array, "j 4 4"]:
        """T_parent_child of every joint, at positions by name [rad or m]; joints that are not named are at 0."""
        at = np.array([positions.get(joint.name, 0.0) for joint in self.joints])[:, None]
        Ts_parent_joint, axes, sliding = self._stacked
        turn = Rotation.from_rotvec(np.where(sliding, 0.0, at * axes)).as_matrix()
        return Ts_parent_joint @ se3.pose(turn, np.where(sliding, at * axes, 0.0))

    @cached_property
    def _stacked(self) -> tuple[Float[Array, "j 4 4"], Float[Array, "j 3"], Bool[Array, "j 1"]]:
        """Pose at position 0, axis, and whether it slides, of every joint."""
        return (
            np.array([joint.T_parent_joint for joint in self.joints]).reshape(-1, 4, 4),
            np.array([joint.axis for joint in self.joints]).reshape(-1, 3),
            np.array([[joint.kind == "prismatic"] for joint in self.joints]).reshape(-1, 1),
        )

    def poses(self, positions: Mapping[str, float]) -> dict[str, Float[Array, "4 4"]]:
        """T_root_link of every link, at joint positions by name [rad or m]; joints that are not named are at 0."""
        Ts_root_link = {self.root: np.eye(4)}
        for joint, T_parent_child in zip(self.joints, self.frames(positions), strict=True):
            Ts_root_link[joint.child] = Ts_root_link[joint.parent] @ T_parent_child
        return Ts_root_link

    def moved_by(self, names: set[str]) -> set[str]:
        """The links that any of these joints moves."""
        moved = set[str]()
        for joint in self.joints:
            if joint.name in names or joint.parent in moved:
                moved.add(joint.child)
        return moved


def _joint(element: Element) -> Joint:
    name, kind = _attribute(element, "name"), element.get("type", "")
    if kind not in ("fixed", *_MOVING):
        raise ValueError(f"joint {name} must be fixed, {', '.join(_MOVING)}, got {kind!r}")
    limit = element.find("limit")
    return Joint(
        name=name,
        kind=kind,
        parent=_attribute(element.find("parent"), "link"),
        child=_attribute(element.find("child"), "link"),
        T_parent_joint=_origin(element),
        axis=_vector(element.find("axis"), "xyz", "1 0 0"),
        upper=0.0 if limit is None else float(limit.get("upper", "0")),
    )


def _visual(link: str, element: Element, mesh: Element, colours: Mapping[str, Float[Array, "4"]]) -> Visual:
    material = element.find("material")
    rgba = np.ones(4) if material is None else colours.get(material.get("name", ""), np.ones(4))
    r, g, b, a = map(float, rgba)
    return Visual(
        link=link,
        T_link_mesh=_origin(element),
        scale=_vector(mesh, "scale", "1 1 1"),
        mesh=Mesh(uri=_attribute(mesh, "filename"), rgba=(r, g, b, a)),
    )


def _origin(element: Element) -> Float[Array, "4 4"]:
    origin = element.find("origin")
    R = Rotation.from_euler("xyz", _vector(origin, "rpy", "0 0 0")).as_matrix()
    return se3.pose(R, _vector(origin, "xyz", "0 0 0"))


def _vector(element: Element | None, attribute: str, default: str) -> Float[Array, " n"]:
    return np.array((default if element is None else element.get(attribute, default)).split(), float)


def _attribute(element: Element | None, attribute: str) -> str:
    value = None if element is None else element.get(attribute)
    if value is None:
        raise ValueError(f"the robot description lacks an attribute {attribute!r}")
    return value
