"""What the parts promise each other. Each has an embedded default that needs no GPU, and the part that a lab uses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, UInt8
from numpy import ndarray as Array

from robo4d.execution.targets import ArmTarget, GripperCommand, GripperOutcome, JointCourse
from robo4d.health import Health
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.track import GripperTrack
from robo4d.video import PointmapVideo


@runtime_checkable
class VideoGenerator(Protocol):
    """Imagines the future of two RGB-D views."""

    def generate(
        self, pair: RgbdPair, *, seed: int, progress: Callable[[int, int], bool] = lambda step, steps: True
    ) -> PointmapVideo:
        """The predicted video that follows the pair.

        Args:
            pair: The observation.
            seed: Selects the sample.
            progress: Called with (step done, steps in all); generation is cancelled when it returns False.

        Raises:
            Cancelled: `progress` returned False.
        """
        ...


@runtime_checkable
class TellsMotion(Protocol):
    """A generator that knows where it has drawn the grippers, for the readouts `plan_head` and `fused`."""

    @property
    def told(self) -> Mapping[str, GripperTrack]:
        """The motion of each arm's gripper in the last video, by arm; empty before the first."""
        ...


@dataclass(frozen=True, kw_only=True)
class ToldVideo:
    """A video, and where its generator has drawn the grippers."""

    video: PointmapVideo
    told: Mapping[str, GripperTrack]
    """The motion of each arm's gripper in the video, by arm; empty if the generator does not tell it."""


@runtime_checkable
class GeneratesBatches(Protocol):
    """A generator that makes several futures of one observation at once."""

    def generate_batch(
        self,
        pair: RgbdPair,
        *,
        seeds: Sequence[int],
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> Sequence[ToldVideo]:
        """For each seed the video that `VideoGenerator.generate` makes of it, up to rounding.

        Args:
            pair: The observation.
            seeds: Select the samples.
            progress: See `VideoGenerator.generate`; told of all videos together.

        Raises:
            Cancelled: `progress` returned False.
        """
        ...


@runtime_checkable
class PlacesCameras(Protocol):
    """A generator that finds cameras whose poses are unknown."""

    def place(self, pair: RgbdPair) -> RgbdPair:
        """The pair with the poses of both cameras; the very same one where they are known.

        Raises:
            ValueError: the images do not tell them.
        """
        ...

    @property
    def placement(self) -> Health | None:
        """How sure the poses are that `place` told last, or why it told none; None where they were known."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Finds the pixels of one object in all images of a video."""

    def segment(self, rgb: UInt8[Array, "t h w 3"], prompt: Bool[Array, "h w"]) -> Bool[Array, "t h w"]:
        """The object's mask in every image; empty where it is not seen.

        Args:
            rgb: The video of one camera.
            prompt: The object's mask in the first image, such as `robo4d.tracking.projection.projected_mask`.

        Raises:
            ValueError: the prompt is empty.
        """
        ...


@runtime_checkable
class PoseTracker(Protocol):
    """Follows one object of known shape through the images of one or more cameras that stand still.

    It gives its best guess and no confidence: trust is judged from outside, the same way for every tracker
    (`robo4d.tracking.judge`). Poses are in the world of the frames' `T_world_camera`, which must be set.
    """

    @property
    def joints(self) -> Float[Array, "7"] | None:
        """Positions of the joints of the arm that holds the object at the last pose [rad]; None if not found."""
        ...

    def register(
        self,
        frames: Sequence[RgbdFrame],
        *,
        masks: Sequence[Bool[Array, "h w"]] | None = None,
        T_world_object: Float[Array, "4 4"] | None = None,
    ) -> Float[Array, "4 4"]:
        """Begin, or begin anew, with the images of one moment; returns T_world_object as they show it.

        Args:
            frames: One image of each camera. Trackers that look through one camera take exactly one.
            masks: Pixels of the object in each of them.
            T_world_object: Where it should be, from the robot's state.

        Raises:
            ValueError: neither a mask nor a pose is given and the tracker cannot do without, or the number of frames.
        """
        ...

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        """Go on to the next moment; returns T_world_object.

        Raises:
            ValueError: `register` was not called before, or the number of frames has changed.
        """
        ...


class CameraSource(Protocol):
    """Delivers synchronized pairs of RGB-D frames."""

    def latest(self) -> RgbdPair | None:
        """The newest complete pair, or None before the first."""
        ...


class Controller(Protocol):
    """Passes commands to the arms' controllers."""

    def command(self, targets: Mapping[str, ArmTarget], courses: Mapping[str, JointCourse] | None) -> None:
        """Called at every tick.

        Args:
            targets: Where each arm shall be now; empty where nothing is commanded.
            courses: Where the joints go from now until they rest, whenever that has changed.
        """
        ...

    def faults(self) -> Mapping[str, str]:
        """Why an arm does not follow any more, as far as its controller says so; empty where all is well."""
        ...

    def other_publishers(self) -> tuple[str, ...]:
        """Names of others who command the same arms, so that a controller may ignore all of us."""
        ...


class Gripper(Protocol):
    """Opens and closes, in its own time."""

    def command(self, command: GripperCommand) -> None:
        """Begin to open or to grasp; a command that is not done yet is replaced."""
        ...

    def outcomes(self) -> tuple[GripperOutcome, ...]:
        """The commands that have ended since the last call."""
        ...


class Cancelled(Exception):
    """Work was stopped on request, not by an error."""
