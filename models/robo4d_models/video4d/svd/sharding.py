"""Training with weights, gradients and the optimizer's state spread over processes: FSDP2, as accelerate sets it up.

`fsdp.yaml` says which modules are shards. Files are those of any other run: written whole, by the first process.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.trainer import Trainer

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class ShardedTrainer(Trainer):
    """One run of training, each process with its share of everything; see `Trainer`."""

    _restored: dict[str, Any] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # `run` does this again, which changes nothing then.
        self.accelerator.prepare(self.training, self.optimizer)
        parameters = dict(self.training.model.named_parameters())
        self.averaged = {name: _spread_as(parameters[name], value) for name, value in self.averaged.items()}
        if self._restored:
            set_optimizer_state_dict(self.training, self.optimizer, self._restored["optimizer"], options=_WHOLE)
            self._restored = None

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights for use. All processes must call it."""
        state = {
            "step": self.step,
            "model": get_model_state_dict(self.training.model, options=_WHOLE),
            "averaged": {name: _whole(value) for name, value in self.averaged.items()},
            "optimizer": get_optimizer_state_dict(self.training, self.optimizer, options=_WHOLE),
        }
        if self.accelerator.is_main_process:
            checkpoints.save(self.out, self.step, state)
            config, constants = self._about
            checkpoints.save_weights(self._weights, state["averaged"] | constants, config)
        self.accelerator.wait_for_everyone()

    def _restore(self, path: Path) -> None:
        """Before anything is spread; the optimizer's state must wait until then."""
        state = self._restored = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.training.model.load_state_dict(state["model"])
        self.averaged = {name: value.to(self._device) for name, value in state["averaged"].items()}


def _spread_as(parameter: Tensor, value: Tensor) -> Tensor:
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
