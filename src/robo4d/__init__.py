"""Robo4D: from two RGB-D cameras to robot motion. The core: numpy and scipy only, neither torch nor ROS."""

from robo4d.geometry import Camera, Intrinsics, Pointmap, se3
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.video import PointmapVideo

__all__ = ["Camera", "Intrinsics", "Pointmap", "PointmapVideo", "RgbdFrame", "RgbdPair", "se3"]
