"""Which generator a folder of weights is for: the tiny preset, or svd. Neither is imported before it is wanted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robo4d import shipped
from robo4d.interfaces import VideoGenerator
from robo4d_models.video4d.svd.options import SvdOptions


def weights_folder(name: str) -> Path:
    """The folder that a name on a command line means: `tiny` is the weights that ship, all else a path."""
    return shipped.TINY if name == "tiny" else Path(name)


def is_svd(folder: Path) -> bool:
    """Whether a folder holds weights of the svd preset."""
    return (folder / "network.safetensors").is_file()


def load_generator(
    folder: Path,
    task: str,
    *,
    state: Callable[[int], Any] = lambda stamp_ns: None,
    flow_steps: int | None = None,
    svd: SvdOptions | None = None,
) -> VideoGenerator:
    """The generator with the weights of a folder.

    Args:
        folder: As `robo4d train` or `robo4d convert-checkpoint` wrote it.
        task: What the robot shall do. Weights of svd are of one task and are not told.
        state: Tells the tiny preset the robot's `RobotState` at a time [ns], or None. Svd is told images only.
        flow_steps: Steps in which the tiny preset samples its plans; as many as it prefers if left out.
        svd: How svd makes a video.

    Raises:
        ValueError: weights are missing, damaged or of another model, or `flow_steps` is given for svd.
    """
    if is_svd(folder):
        from robo4d_models.video4d.svd.pipeline import SvdGenerator

        if flow_steps is not None:
            raise ValueError(f"{folder} holds weights of svd, which plans in no flow: leave flow_steps out")
        return SvdGenerator.load(folder, svd)
    from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator

    config = TinyConfig() if flow_steps is None else TinyConfig(flow_steps=flow_steps)
    return TinyGenerator.load(folder, task, state=state, config=config)
