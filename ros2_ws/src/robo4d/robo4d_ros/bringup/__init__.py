"""Starting all nodes: one table for `ros2 launch robo4d bringup.launch.py` and `python -m robo4d_ros.bringup`."""

from robo4d_ros.bringup.graph import BringupConfig, NodeSpec, environment, nodes, parse

__all__ = ["BringupConfig", "NodeSpec", "environment", "nodes", "parse"]
