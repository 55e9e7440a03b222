"""What makes the network faster on a GPU without changing what it computes beyond rounding."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robo4d_models.video4d.svd.edm import Network


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

    def torch_dtype(self, device: torch.device) -> torch.dtype:
        """The type to compute in on a device."""
        name = self.dtype
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" else "float32"
        return getattr(torch, name)


def accelerated(network: nn.Module, config: AccelerationConfig, device: torch.device) -> Network:
    """The network as configured; it must be on the device already.

    Raises:
        ValueError: CUDA graphs are asked for without a GPU.
    """
    if config.mode == "graphs" and device.type != "cuda":
        raise ValueError(f"CUDA graphs need a GPU, the device is {device}; use acceleration mode `eager` or `compile`")
    if config.channels_last:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                # Module by module, because weights of temporal convolutions have five axes.
                module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  missing in its stubs
    call: Network = torch.compile(network, dynamic=False) if config.mode == "compile" else network
    return call if config.mode == "eager" or device.type != "cuda" else CudaGraph(call)


class CudaGraph:
    """Records the first call of a network and replays it on the inputs of the later ones.

    Inputs are copied into the recorded call's own buffers and the output out of it, so that neither a new image nor a
    caller who keeps an output meets values of another call.

    Args:
        network: What is recorded, anew for every new shape of inputs.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}

    def __call__(
        self,
        noisy: Float[Tensor, "b v t c h w"],
        noise_level: Float[Tensor, " b"],
        condition: Float[Tensor, "b v c h w"],
        context: Float[Tensor, "b v s d"],
    ) -> Float[Tensor, "b v t c h w"]:
        """What the network returns."""
        inputs = (noisy, noise_level, condition, context)
        key = tuple(value.shape for value in inputs)
        if key not in self._recorded:
            self._recorded[key] = self._record([value.clone() for value in inputs])
        graph, buffers, output = self._recorded[key]
        for buffer, value in zip(buffers, inputs, strict=True):
            buffer.copy_(value)
        graph.replay()
        return output.clone()

    def _record(self, buffers: list[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose their kernels in the first calls, which no graph may contain
            for _ in range(3):
                self._network(*buffers)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._network(*buffers)
        return graph, buffers, output
