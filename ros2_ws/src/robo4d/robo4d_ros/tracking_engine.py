"""What the tracker node tracks with: the embedded engine, or FoundationPose and SAM 2 on a GPU."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from robo4d_models.tracking import EngineConfig, EngineFailed, FoundationPose, FoundationPoseConfig, servers

from robo4d.rgbd import RgbdPair
from robo4d.tracking import (
    ArmRenderer,
    GraspMemory,
    GripperPrior,
    GripperRenderer,
    Readout,
    ReadoutConfig,
    embedded_tracker,
    remembering,
    track_video,
)
from robo4d.tracking.masks import gripper_masks, projected_masks
from robo4d.video import PointmapVideo

_SERVERS = {"foundationpose_nvidia": "nvidia.py", "foundationpose_nvlabs": "nvlabs.py"}


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """What follows the grippers, and what tells their pixels."""

    name: Literal["embedded", "foundationpose_nvidia", "foundationpose_nvlabs"] = "embedded"
    """Our own, for a CPU; or FoundationPose, by NVIDIA's inference library or the authors' code."""
    python: str = ""
    """Interpreter of the environment that has FoundationPose's library; empty: of FOUNDATIONPOSE_NVIDIA or
    FOUNDATIONPOSE_NVLABS, which `robo4d doctor` looks at, too."""
    segmenter: Literal["none", "projection", "sam2"] = "none"
    """What finds the pixels of hand and fingers: the embedded engine needs none. For FoundationPose, projection draws
    them where the embedded engine has found them."""
    sam2_weights: str = "facebook/sam2.1-hiera-small"
    """A model on the Hugging Face hub, or a folder."""

    def __post_init__(self) -> None:
        """Refuse an engine that cannot be started."""
        if self.name != "embedded" and not self.interpreter.is_file():
            raise ValueError(
                f"engine.name {self.name} needs engine.python, the interpreter of the environment that has its "
                f"library; {str(self.interpreter)!r} is none. Or set engine.name to embedded, which needs no GPU"
            )
        if self.name == "embedded" and self.segmenter == "projection":
            raise ValueError(
                "engine.segmenter projection is for FoundationPose: the embedded engine would be judged by masks of "
                "its own. Set engine.segmenter to none or sam2"
            )

    @property
    def interpreter(self) -> Path:
        """That of the library."""
        return Path(self.python or os.environ.get(self.name.upper(), ""))


class TrackingEngine:
    """Reads videos with what was chosen. Close it when done.

    Args:
        choice: What to use.
        renderer: The gripper.
        config: How to read. FoundationPose looks through one camera: with it, `fusion` is `best_view`.

    Raises:
        ValueError: SAM 2's weights are not there.
    """

    def __init__(
        self, choice: EngineChoice, renderer: GripperRenderer, arm: ArmRenderer, config: ReadoutConfig
    ) -> None:
        self._renderer, self._arm, self._config, self._embedded_config = renderer, arm, config, config
        self._projects = choice.segmenter == "projection"
        self._memory = GraspMemory()
        self._library: FoundationPose | None = None
        if choice.name != "embedded":
            server = Path(servers.__file__).with_name(_SERVERS[choice.name])
            engine = EngineConfig(python=choice.interpreter, server=server)
            seeded = choice.name == "foundationpose_nvlabs"
            self._library = FoundationPose(FoundationPoseConfig(engine=engine, seeded=seeded))
            self._config = replace(config, fusion="best_view")
        self._segmenter = None
        if choice.segmenter == "sam2":
            from robo4d_models.segmentation import Sam2Config, Sam2Segmenter  # torch takes seconds

            try:
                self._segmenter = Sam2Segmenter(Sam2Config(weights=choice.sam2_weights))
            except OSError as error:
                raise ValueError(f"engine.sam2_weights: {error}") from error

    def read(self, video: PointmapVideo, pair: RgbdPair, priors: dict[str, GripperPrior]) -> Readout:
        """See `robo4d.tracking.track_video`.

        Raises:
            ValueError: the video cannot be read, or the engine failed.
        """
        return remembering(self._memory, priors, lambda known: self._read(video, pair, known))

    def _read(self, video: PointmapVideo, pair: RgbdPair, priors: dict[str, GripperPrior]) -> Readout:
        masks = None
        if self._segmenter is not None:
            masks = gripper_masks(self._segmenter, video, pair, priors=priors, renderer=self._renderer)
        elif self._projects:
            found = track_video(
                video, pair, priors=priors, renderer=self._renderer, arm=self._arm, config=self._embedded_config
            )
            masks = projected_masks(found.tracks, video, pair, renderer=self._renderer)
        try:
            return track_video(
                video,
                pair,
                priors=priors,
                renderer=self._renderer,
                arm=self._arm,
                config=self._config,
                make_tracker=self._library.make_tracker if self._library else embedded_tracker,
                masks=masks,
            )
        except EngineFailed as error:
            raise ValueError(str(error)) from error

    def close(self) -> None:
        """End the library's process."""
        if self._library:
            self._library.close()
