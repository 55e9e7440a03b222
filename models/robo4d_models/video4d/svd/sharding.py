"""Training with weights, gradients and the optimizer's state spread over processes: FSDP2, as accelerate sets it up.

`fsdp.yaml` says which modules are shards. Files are written whole, by the first process.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.trainer import Trainer


class ShardedTrainer(Trainer):
    """One run of training, each process with its share of everything; see `Trainer`."""

    _restored: dict[str, Any] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.accelerator.prepare(self.training, self.optimizer)
        # `run` would prepare them again, which mistakes empty shards of different weights for each other.
        self.accelerator.prepare = lambda *prepared, device_placement=None: prepared
        self.averaged = {name: _shard(value, self._weight(name)) for name, value in self.averaged.items()}
        if self._restored:
            for name, moments in self._restored["optimizer"].items():
                weight = self._weight(name)
                self.optimizer.state[weight] = {key: _shard(value, weight) for key, value in moments.items()}
            self._restored = None

    def save(self) -> None:
        """Write a checkpoint, and the averaged weights for use. All processes must call it."""
        model = {name: _whole(value) for name, value in self.training.model.state_dict().items()}
        averaged = {name: _whole(value) for name, value in self.averaged.items()}
        optimizer = {
            name: {key: _whole(value) for key, value in self.optimizer.state[self._weight(name)].items()}
            for name in self.averaged
        }
        if self.accelerator.is_main_process:
            state = {"step": self.step, "model": model, "averaged": averaged, "optimizer": optimizer}
            checkpoints.save(self.out, self.step, state)
            config, constants = self._about
            checkpoints.save_weights(self._weights, averaged | constants, config)
        self.accelerator.wait_for_everyone()

    def _restore(self, path: Path) -> None:
        """Before anything is spread; the optimizer's state must wait until then."""
        state = self._restored = checkpoints.load(path, "cpu")
        self.step = state["step"]
        self.training.model.load_state_dict(state["model"])
        self.averaged = {name: value.to(self._device) for name, value in state["averaged"].items()}

    def _weight(self, name: str) -> Tensor:
        return self.training.model.get_parameter(name)


def _shard(value: Tensor, weight: Tensor) -> Tensor:
    """This process's share of a value that belongs to a weight."""
    if isinstance(weight, DTensor) and value.shape == weight.shape:
        return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
    return value


def _whole(value: Tensor) -> Tensor:
    # Copied into memory that is the CPU's as such, not that of a process ("cpu:0"), which could not be loaded.
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return torch.empty_like(whole, device="cpu").copy_(whole)
