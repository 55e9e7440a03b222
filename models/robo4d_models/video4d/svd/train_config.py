"""What `robo4d train --preset svd` can be told beyond `TrainConfig`; apart, so that `tiny` need not load diffusers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SvdPart = Literal["network", "points_vae", "rgb_decoder", "points_decoder", "few_step"]
"""What can be trained, under the names of the files of weights; a few-step student has a folder of its own."""


@dataclass(frozen=True, kw_only=True)
class SvdTraining:
    """How to fine-tune the svd preset."""

    base: Path | None = None
    """Folder of weights to begin from, of `robo4d convert-checkpoint` or of another run; needed unless `out` is one."""
    lora_rank: int = 0
    """Train matrices of this rank beside the network's attention projections instead of all weights; 0 trains all."""
    learning_rate: float = 1e-5
    """Takes the place of `TrainConfig.learning_rate` but for small decoders, which begin from nothing. The paper's
    values are lost; the released code has 1e-6 (Adam) for the network and 1e-5 for the VAE."""
    weight_decay: float = 1e-6
    """Takes the place of `TrainConfig.weight_decay` (released configuration), but for small decoders."""
    points_weight: float = 1.0
    """lambda of the paper's eq. 3."""
    condition_dropout: float = 0.1
    """Share of samples that must do without image embedding, colours or points (each drawn by itself)."""
    joint_dropout: float = 0.05
    """Share of samples that must do without all three, which is what guidance compares with: by chance these would be
    one in a thousand. InstructPix2Pix (arXiv:2211.09800) has this share for its two conditions."""
    checkpoint_gradients: bool = True
    """Compute activations again in the backward pass: a third more time, a fraction of the memory."""
