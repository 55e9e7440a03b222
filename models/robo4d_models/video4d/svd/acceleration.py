"""What makes the network faster on a GPU without changing what it computes beyond rounding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.options import AccelerationConfig

_Recorded = tuple[Any, list[Tensor], Any]
"""A CUDA graph, its inputs and its outputs."""


def dtype_of(config: AccelerationConfig, device: torch.device) -> torch.dtype:
    """The type to compute in on a device."""
    name = config.dtype
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    return getattr(torch, name)


def accelerated(
    network: TwoViewUNet, config: AccelerationConfig, device: torch.device, *, with_deep: bool = False
) -> Callable[..., Any]:
    """The network as configured; it must be on the device already.

    Args:
        network: It.
        config: How it runs.
        device: Where.
        with_deep: Do what its `with_deep` does, for `reuse`, instead of what its `forward` does.

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
    call: Callable[..., Any] = network.with_deep if with_deep else network
    if config.mode == "compile":
        call = torch.compile(call, dynamic=False)
    return call if config.mode == "eager" or device.type != "cuda" else CudaGraph(call)


class CudaGraph:
    """Records the first call of a function of tensors and replays it on the inputs of the later ones.

    Inputs are copied into the recorded call's own buffers and outputs out of it, so that neither a new image nor a
    caller who keeps an output meets values of another call.

    Args:
        function: What is recorded, anew for every new number and shape of inputs. It returns tensors.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function returns."""
        key = tuple(value.shape for value in inputs)
        if key not in self._recorded:
            self._recorded[key] = self._record([value.clone() for value in inputs])
        graph, buffers, outputs = self._recorded[key]
        for buffer, value in zip(buffers, inputs, strict=True):
            buffer.copy_(value)
        graph.replay()
        return tree_map(torch.clone, outputs)

    def _record(self, buffers: list[Tensor]) -> _Recorded:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose their kernels in the first calls, which no graph may contain
            for _ in range(3):
                self._function(*buffers)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._function(*buffers)
        return graph, buffers, outputs
