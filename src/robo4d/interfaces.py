"""What the parts promise each other. Each has an embedded default that needs no GPU, and the part that a lab uses."""

from collections.abc import Callable
from typing import Protocol

from robo4d.rgbd import RgbdPair
from robo4d.video import PointmapVideo


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


class CameraSource(Protocol):
    """Delivers synchronized pairs of RGB-D frames."""

    def latest(self) -> RgbdPair | None:
        """The newest complete pair, or None before the first."""
        ...


class Cancelled(Exception):
    """Work was stopped on request, not by an error."""
