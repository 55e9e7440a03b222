"""RGB-D images of one camera, and the pair of views that the 4D model looks at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, Pointmap


@dataclass(frozen=True, kw_only=True)
class RgbdFrame:
    """One colour image with a depth image registered to it."""

    rgb: UInt8[Array, "h w 3"]
    depth: Float32[Array, "h w"]
    """Distance along the optical axis [m]; 0 where there is no measurement."""
    intrinsics: Intrinsics
    camera: str
    """Name of the camera's optical frame."""
    stamp_ns: int
    """Time of exposure [ns since the clock's epoch]."""
    T_world_camera: Float[Array, "4 4"] | None = None
    """Pose of the optical frame in the world, where it is known."""

    def __post_init__(self) -> None:
        """Refuse images that do not belong to the camera."""
        size = (self.intrinsics.height, self.intrinsics.width)
        if self.rgb.shape[:2] != size or self.depth.shape != size:
            raise ValueError(
                f"{self.camera}: colour {self.rgb.shape[:2]}, depth {self.depth.shape} and intrinsics {size} must have "
                "one size (height, width); register depth to colour in the camera driver"
            )

    @classmethod
    def example(cls) -> "RgbdFrame":
        """A grey wall 1 m in front of the example camera."""
        intrinsics = Intrinsics.example()
        size = (intrinsics.height, intrinsics.width)
        return cls(
            rgb=np.full((*size, 3), 128, np.uint8),
            depth=np.ones(size, np.float32),
            intrinsics=intrinsics,
            camera="camera",
            stamp_ns=0,
        )

    def pointmap(self) -> Pointmap:
        """The points that the image sees, in the camera's own optical frame."""
        return Pointmap.from_depth(self.depth, self.intrinsics, frame=self.camera)


@dataclass(frozen=True, kw_only=True)
class ArmPosture:
    """How an arm stands."""

    joints: Float[Array, "7"]
    """[rad]"""
    opening_m: float
    """Distance between the fingers [m]."""

    @classmethod
    def example(cls) -> "ArmPosture":
        """The posture that Franka calls ready, the gripper open."""
        return cls(joints=np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4]), opening_m=0.08)


@dataclass(frozen=True, kw_only=True)
class RgbdPair:
    """Two views of one moment. View n is the reference: all results are expressed in its frame (paper, section 3.2)."""

    n: RgbdFrame
    m: RgbdFrame
    foreseen: Mapping[str, ArmPosture] = field(default_factory=dict)
    """How each arm will stand, by name, where the views are predicted; empty where they were seen."""

    @classmethod
    def example(cls) -> "RgbdPair":
        """The example frame, seen twice."""
        return cls(n=RgbdFrame.example(), m=RgbdFrame.example())

    @property
    def stamp_ns(self) -> int:
        """The older of the two exposures [ns]: what the pair shows is at least this new."""
        return min(self.n.stamp_ns, self.m.stamp_ns)
