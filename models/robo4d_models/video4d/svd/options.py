"""How the svd preset makes a video; apart from what does it, so that others can be told without loading torch."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How noise becomes latents."""

    solver: Literal["euler", "dpm++"] = "euler"
    """Euler, 25 steps, is the paper's choice; DPM-Solver++ (2M) needs 8 to 10 (arXiv:2211.01095)."""
    steps: int = 25
    """Noise levels, each of which takes one pass of the network (two with guidance)."""
    sigma_min: float = 0.002
    """Lowest noise level."""
    sigma_max: float = 700.0
    """Highest noise level."""
    rho: float = 7.0
    """How they crowd towards the lowest one (arXiv:2206.00364, eq. 5)."""
    guidance: tuple[float, float] = (1.0, 1.0)
    """Scale of classifier-free guidance at the first and the last frame, linear between; Stable Video Diffusion has
    (1, 2.5). It doubles the work. All 1 leaves it off, as it is in effect in the released code."""

    def __post_init__(self) -> None:
        """Refuse schedules that go nowhere."""
        if self.steps < 1 or not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"steps must be at least 1 and 0 < sigma_min < sigma_max, got {self}")

    @property
    def is_guided(self) -> bool:
        """Whether the network is also asked what it would do untold."""
        return self.guidance != (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class AccelerationConfig:
    """How the network runs."""

    mode: Literal["eager", "graphs", "compile"] = "eager"
    """`graphs` replays the 2400 kernels of a step as one CUDA graph; `compile` has torch.compile write faster kernels
    (some minutes at the start), and on a GPU replays these as a graph, too."""
    channels_last: bool = False
    """Memory layout of 2D convolutions that tensor cores prefer."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on a GPU, float32 on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SvdOptions:
    """How a video is made."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    acceleration: AccelerationConfig = field(default_factory=AccelerationConfig)
    feature_reuse: int = 1
    """Deep features of the network are computed at every so many steps and kept for those between, each of which then
    takes a third of a pass (DeepCache, arXiv:2312.00858). 1 computes them all."""
    small_decoders: bool = False
    """Latents become images by the small decoders that were distilled from those of the VAEs."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; `auto` is the first GPU, or else the CPU."""
    offload: bool = False
    """Keep on the device only the part at work, the others in the computer's memory: slower, for small GPUs."""

    def __post_init__(self) -> None:
        """Refuse what excludes each other."""
        if self.offload and self.acceleration.mode != "eager":
            raise ValueError("a recorded or compiled network cannot move; offload needs acceleration mode `eager`")
        if self.feature_reuse < 1:
            raise ValueError(f"feature_reuse must be at least 1, which reuses nothing, got {self.feature_reuse}")
