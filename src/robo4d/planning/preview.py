"""A plan played on a robot's description, for people who are to approve it."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.plan import Plan
from robo4d.planning.link_tree import LinkTree, Visual


class Preview:
    """Where the plan takes the links that it moves. The links of arms that hold their pose are not in it."""

    def __init__(self, plan: Plan, tree: LinkTree, joint_names: Mapping[str, Sequence[str]]) -> None:
        """Prepare.

        Args:
            plan: With a motion or without one.
            tree: The robot.
            joint_names: Joints of each arm in the tree, in the order of the plan's. Those of other robots are left out,
                as a cell may have a description for each arm.
        """
        known = {joint.name for joint in tree.joints}
        self._plan, self._tree = plan, tree
        self._names = {arm: names for arm, names in joint_names.items() if arm in plan.arms and known >= set(names)}
        self._fingers = {
            arm: {
                j.name: j.upper for j in tree.joints if j.kind == "prismatic" and j.child in tree.moved_by(set(names))
            }
            for arm, names in self._names.items()
        }
        moved = tree.moved_by({name for names in self._names.values() for name in names})
        self.visuals: tuple[Visual, ...] = tuple(visual for visual in tree.visuals if visual.link in moved)
        """What is to be seen of these links."""

    def poses(self, time_s: float) -> Float[Array, "n 4 4"]:
        """T_root_mesh of each of `visuals` at a time of the plan [s]."""
        if not self.visuals:
            return np.zeros((0, 4, 4))
        sample = int(np.clip(np.searchsorted(self._plan.times_s, time_s), 0, len(self._plan.times_s) - 1))
        positions: dict[str, float] = {}
        for arm, names in self._names.items():
            positions |= dict(zip(names, map(float, self._plan.arms[arm].joints[sample]), strict=True))
            positions |= {name: upper if self._open(arm, time_s) else 0.0 for name, upper in self._fingers[arm].items()}
        Ts_root_link = self._tree.poses(positions)
        return np.stack([Ts_root_link[visual.link] @ visual.T_link_mesh for visual in self.visuals])

    def _open(self, arm: str, time_s: float) -> bool:
        """Before its first event a gripper is in the other state; one that does nothing is shown open."""
        events = [event for event in self._plan.events if event.arm == arm]
        past = [event for event in events if event.time_s <= time_s]
        return past[-1].open if past else not events or not events[0].open
