"""The planned motion as a translucent robot in RViz.

It is drawn by markers, since RViz knows one tf only: a second robot model would need the frames of the future there,
among those of the present, where any node may take one for the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rclpy.node import Node
from std_msgs.msg import ColorRGBA, String
from visualization_msgs.msg import Marker, MarkerArray

from robo4d.plan import Plan
from robo4d.planning.link_tree import LinkTree
from robo4d.planning.preview import Preview
from robo4d_ros import parameters
from robo4d_ros.conversions import duration_from_s, header, pose_from_matrix, vector
from robo4d_ros.execution.arm_listener import LATCHED

_PERIOD_S = 0.1
_LIFETIME_S = 0.5
"""Markers vanish when they are not told anew [s]: with the plan that they show, or with this node."""
_REST_S = 1.0
"""How long the end of the plan is shown before it begins anew [s]."""
_ALPHA = 0.35


@dataclass(frozen=True, kw_only=True)
class GhostConfig:
    """On which robot the plan is shown."""

    descriptions: tuple[str, ...] = ("robot_description",)
    """Topics with the URDF of the cell, or of each arm."""


@dataclass(frozen=True, kw_only=True)
class Scrub:
    """Which moment of the plan is shown."""

    moment: float = field(default=-1.0, metadata={"range": (-1.0, 1.0)})
    """Share of the plan: 0 is its start, 1 its end. Below 0 the plan is played at its own speed, again and again."""


class Ghost:
    """Publishes `plan/ghost` while somebody looks: the newest plan on every `robot_description` that it moves."""

    def __init__(self, node: Node, config: GhostConfig, joint_names: Mapping[str, Sequence[str]]) -> None:
        """Show nothing yet.

        Args:
            node: The node; it gets a parameter `ghost.moment`.
            config: Of the robot.
            joint_names: Of each arm, as they are called in the description.
        """
        self._node, self._joint_names = node, joint_names
        self._scrub = parameters.declare(node, Scrub(), prefix="ghost.", on_change=self._choose)
        self._trees: dict[str, LinkTree] = {}
        self._plan: Plan | None = None
        self._previews: list[tuple[str, Preview]] = []
        self._time_s = 0.0
        self._markers = node.create_publisher(MarkerArray, "plan/ghost", 1)
        for topic in config.descriptions:
            node.create_subscription(String, topic, lambda m, topic=topic: self._take(topic, m.data), LATCHED)
        node.create_timer(_PERIOD_S, self._show)

    def play(self, plan: Plan) -> None:
        """Show this plan from now on, in any thread; nothing, if it has no motion."""
        self._previews = [(tree.root, Preview(plan, tree, self._joint_names)) for tree in list(self._trees.values())]
        self._plan, self._time_s = plan, 0.0

    def _choose(self, scrub: Scrub) -> None:
        self._scrub = scrub

    def _take(self, topic: str, description: str) -> None:
        try:
            self._trees[topic] = LinkTree.from_urdf(description)
        except ValueError as error:
            self._node.get_logger().error(f"{topic}: {error}")
            return
        if self._plan:
            self.play(self._plan)

    def _show(self) -> None:
        if self._plan is None or not self._markers.get_subscription_count():
            return
        duration_s, moment = self._plan.duration_s, self._scrub.moment
        self._time_s = (self._time_s + _PERIOD_S) % (duration_s + _REST_S)
        time_s = moment * duration_s if moment >= 0 else min(self._time_s, duration_s)
        markers: list[Marker] = []
        for root, preview in self._previews:
            markers += _drawn(root, preview, time_s, first_id=len(markers))
        if markers:
            self._markers.publish(MarkerArray(markers=markers))


def _drawn(root: str, preview: Preview, time_s: float, *, first_id: int) -> list[Marker]:
    markers: list[Marker] = []
    for number, (visual, T_root_mesh) in enumerate(zip(preview.visuals, preview.poses(time_s), strict=True), first_id):
        r, g, b, a = visual.mesh.rgba
        marker = Marker(header=header(0, root), ns="ghost", id=number, type=Marker.MESH_RESOURCE, action=Marker.ADD)
        marker.mesh_resource, marker.color = visual.mesh.uri, ColorRGBA(r=r, g=g, b=b, a=_ALPHA * a)
        marker.lifetime = duration_from_s(_LIFETIME_S)
        marker.pose, marker.scale = pose_from_matrix(T_root_mesh), vector(visual.scale)
        markers.append(marker)
    return markers
