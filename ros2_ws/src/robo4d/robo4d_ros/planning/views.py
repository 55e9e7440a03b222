"""The plan of one arm, as RViz shows it."""

import numpy as np
from nav_msgs.msg import Path
from rclpy.node import Node
from trajectory_msgs.msg import MultiDOFJointTrajectory

from robo4d.plan import Plan
from robo4d_ros.conversions import WORLD, header
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import cartesian_trajectory, path


class ArmViews:
    """What viewers are shown of one arm's plan. Where there is nothing to show, an empty message takes the old away."""

    def __init__(self, node: Node, arm: str) -> None:
        """Publish nothing yet."""
        self._arm = arm
        self._raw = node.create_publisher(Path, f"{arm}/path_raw", LATCHED)
        self._smooth = node.create_publisher(Path, f"{arm}/path", LATCHED)
        self._trajectory = node.create_publisher(MultiDOFJointTrajectory, f"{arm}/trajectory", LATCHED)

    def publish(self, plan: Plan) -> None:
        """Show a plan."""
        stamp_ns, nothing = plan.stamp_ns, (np.zeros((0, 4, 4)), np.zeros(0))
        keyframes, motion = plan.keyframes.get(self._arm), plan.arms.get(self._arm)
        raw = nothing if keyframes is None else (keyframes.Ts_world_raw, keyframes.times_s)
        smooth = nothing if motion is None else (motion.Ts_world_tcp, plan.times_s)
        self._raw.publish(path(*raw, stamp_ns=stamp_ns))
        self._smooth.publish(path(*smooth, stamp_ns=stamp_ns))
        trajectory = MultiDOFJointTrajectory(header=header(stamp_ns, WORLD))
        if motion is not None:
            trajectory = cartesian_trajectory(
                motion, plan.times_s, tcp=f"{self._arm}_hand_tcp", stamp=trajectory.header
            )
        self._trajectory.publish(trajectory)
