"""What robot_state_publisher does for a real robot: its description, and the frames of its links."""

from collections.abc import Mapping
from itertools import compress

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import String

from robo4d.planning.link_tree import LinkTree
from robo4d.planning.urdf import urdf
from robo4d.sim.panda import visual_meshes
from robo4d.sim.scene import MOUNTED_ARMS
from robo4d_ros.conversions import transforms_stamped
from robo4d_ros.execution.arm_listener import LATCHED


class RobotFrames:
    """Publishes `robot_description` once, and gives the frames of the links."""

    def __init__(self, node: Node) -> None:
        """Publish the description of both arms."""
        description = urdf(MOUNTED_ARMS, visual_meshes())
        self._tree = LinkTree.from_urdf(description)
        self._description = node.create_publisher(String, "robot_description", LATCHED)
        self._description.publish(String(data=description))

    def static(self, stamp_ns: int) -> list[TransformStamped]:
        """The frames that never move."""
        return self._transforms({}, [j.kind == "fixed" for j in self._tree.joints], stamp_ns)

    def moved(self, positions: Mapping[str, float], stamp_ns: int) -> list[TransformStamped]:
        """The frames of the links behind these joints, at their positions [rad or m]; none where one is not finite."""
        if not np.isfinite(list(positions.values())).all():
            return []
        return self._transforms(positions, [j.name in positions for j in self._tree.joints], stamp_ns)

    def _transforms(self, positions: Mapping[str, float], chosen: list[bool], stamp_ns: int) -> list[TransformStamped]:
        joints = list(compress(self._tree.joints, chosen))
        Ts_parent_child = self._tree.frames(positions)[chosen]
        return transforms_stamped([j.parent for j in joints], [j.child for j in joints], Ts_parent_child, stamp_ns)
