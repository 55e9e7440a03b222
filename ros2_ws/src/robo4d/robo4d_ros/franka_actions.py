"""Franka's own gripper actions: those of franka_msgs where it is installed, as on the robot's computer, else ours.

The fields are the same, so that nobody else needs to know which ones they are.
"""

import importlib.util

if importlib.util.find_spec("franka_msgs"):
    from franka_msgs.action import Grasp, Move
    from franka_msgs.msg import GraspEpsilon
else:
    from robo4d_msgs.action import Grasp, Move
    from robo4d_msgs.msg import GraspEpsilon

__all__ = ["Grasp", "GraspEpsilon", "Move"]
