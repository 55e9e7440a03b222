"""Rigid motions, pinhole cameras and pointmaps. Conventions: docs/conventions.md."""

from robo4d.geometry import se3
from robo4d.geometry.camera import Camera, Intrinsics, look_at
from robo4d.geometry.pointmap import Pointmap

__all__ = ["Camera", "Intrinsics", "Pointmap", "look_at", "se3"]
