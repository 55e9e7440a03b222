"""The motion of one gripper through a predicted video: what the tracker makes, and the planner turns into a plan."""

import enum
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.rgbd import ArmPosture


class Reason(str, enum.Enum):
    """Why a pose is not trusted; empty where it is."""

    TRUSTED = ""
    OUT_OF_VIEW = "most of the gripper is outside the image"
    OCCLUDED = "something hides the gripper"
    NO_DEPTH = "the image has no depth where the gripper should be"
    LOST = "the image does not show the gripper where it should be"
    JUMP = "the gripper moved farther than it can between two frames"
    PRIOR_MISMATCH = "the observation contradicts the pose from the robot's state"
    OTHER_ARM = "this is the gripper of the other arm"
    CONTRADICTED = "the generator says that the gripper is elsewhere"

    def __str__(self) -> str:
        """The sentence, also from Python 3.11 on."""
        return self.value


@dataclass(frozen=True, kw_only=True)
class GripperTrack:
    """Pose and opening of one arm's gripper in every frame of a video. Frame 0 is the observation itself."""

    arm: str
    """Name of the arm, such as "left"."""
    stamp_ns: int
    """Exposure time of the observation that the video starts from [ns]."""
    times_s: Float[Array, " t"]
    """Time of each frame after the observation [s]: 0, then increasing."""
    Ts_world_tcp: Float[Array, "t 4 4"]
    """Pose of the tool centre point (between the fingertips, z along the approach direction); NaN where lost."""
    confidence: Float[Array, " t"]
    """Trust in each pose, 0 (none) to 1."""
    inlier: Bool[Array, " t"]
    """Frames whose pose the tracker vouches for. The others are kept for viewers and never followed."""
    view: Int[Array, " t"]
    """View that each pose was taken from: 0 for n, 1 for m, -1 for both."""
    opening_m: Float[Array, " t"]
    """Distance between the fingers [m] by the measure that `open` was decided on; NaN where unknown."""
    open: Bool[Array, " t"]
    """Whether the gripper counts as open (paper, section 3.4), debounced by the tracker."""
    searched_opening_m: Float[Array, " t"] | None = None
    """Distance between the pads [m] by fitting the fingers; NaN where not seen, None where nobody measured it."""
    centroids_m: Float[Array, " t"] | None = None
    """Distance of the fingers' centroids [m], by the paper's rule; NaN where a finger is hidden, None as above."""
    reasons: tuple[str, ...] | None = None
    """Why each pose is not vouched for, empty where it is (`Reason`); None where nobody tells."""
    foreseen: ArmPosture | None = None
    """How the arm will stand in the observation, where that is predicted; None where it was seen."""

    def __post_init__(self) -> None:
        """Refuse times and confidences that cannot be those of a video."""
        if len(self.times_s) == 0 or self.times_s[0] != 0 or not np.all(np.diff(self.times_s) > 0):
            raise ValueError(f"{self.arm}: times must be 0 (the observation), then increase, got {self.times_s}")
        if not np.all((self.confidence >= 0) & (self.confidence <= 1)):
            raise ValueError(f"{self.arm}: confidences must be in [0, 1], 0 where lost, got {self.confidence}")
        if self.reasons is not None and len(self.reasons) != len(self.times_s):
            raise ValueError(f"{self.arm}: each of {len(self.times_s)} poses has a reason, got {self.reasons}")

    @classmethod
    def example(cls) -> "GripperTrack":
        """Five frames, half a second apart: 4 cm down, the fingers close in the third, then back up."""
        downwards = np.stack([np.diag([1.0, -1.0, -1.0])] * 5)
        heights = np.array([0.30, 0.28, 0.26, 0.28, 0.30])
        positions = np.stack([np.full(5, 0.45), np.full(5, 0.2), heights], axis=-1)
        is_open = np.array([True, True, False, False, False])
        return cls(
            arm="left",
            stamp_ns=0,
            times_s=0.5 * np.arange(5),
            Ts_world_tcp=se3.pose(downwards, positions),
            confidence=np.full(5, 0.9),
            inlier=np.ones(5, bool),
            view=np.zeros(5, int),
            opening_m=np.where(is_open, 0.08, 0.02),
            open=is_open,
        )

    @property
    def usable(self) -> Bool[Array, " t"]:
        """Frames whose pose can be followed: vouched for, trusted at all, and a rigid motion."""
        return self.inlier & (self.confidence > 0) & se3.is_valid(self.Ts_world_tcp)

    def before(self, time_s: float) -> "GripperTrack":
        """The frames before a time [s], of which the observation must be one."""
        count = int(np.searchsorted(self.times_s, time_s))
        cut = {f.name: value[:count] for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}
        return replace(self, **cut, reasons=self.reasons and self.reasons[:count])
