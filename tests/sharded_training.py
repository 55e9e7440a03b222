"""Two processes train the small svd model as shards, on processors, which accelerate knows on GPUs only."""

import multiprocessing
import os
import shutil
from pathlib import Path

import torch.multiprocessing
import yaml
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from robo4d_models.video4d.svd.train import train_svd
from robo4d_models.video4d.svd.train_config import SvdTraining
from robo4d_models.video4d.trainer import TrainConfig

_PROCESSES = 2


def train_in_shards(config: Path, episodes: Path, base: Path, out: Path) -> None:
    """Train to the end, into whole/, and once more from the middle, into cut/; with a configuration of accelerate.

    The processes are forked from one that has imported everything: that takes longer than the training.
    """
    multiprocessing.set_forkserver_preload([train_svd.__module__])
    torch.multiprocessing.start_processes(
        _train, args=(config, episodes, base, out), nprocs=_PROCESSES, start_method="forkserver"
    )


def _train(rank: int, config: Path, episodes: Path, base: Path, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(_PROCESSES)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    torch.distributed.init_process_group(
        "gloo", init_method=(out / "meeting").as_uri(), rank=rank, world_size=_PROCESSES
    )
    shards = yaml.safe_load(config.read_text())["fsdp_config"]
    state = Accelerator(cpu=True).state
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=shards["fsdp_version"],
        auto_wrap_policy=shards["fsdp_auto_wrap_policy"].lower(),
        transformer_cls_names_to_wrap=shards["fsdp_transformer_layer_cls_to_wrap"].split(","),
        reshard_after_forward=shards["fsdp_reshard_after_forward"],
        cpu_ram_efficient_loading=False,
    )
    steps = TrainConfig(
        steps=2, batch=1, warm_up=1, log_every=1, validate_every=2, validation_batches=1, checkpoint_every_s=0
    )
    svd = SvdTraining(base=base)
    train_svd(part="network", data=episodes, out=out / "whole", svd=svd, config=steps)
    if Accelerator().is_main_process:
        shutil.copytree(out / "whole", out / "cut")
        (out / "cut/network/checkpoint-000000002.pt").unlink()
    Accelerator().wait_for_everyone()
    train_svd(part="network", data=episodes, out=out / "cut", svd=svd, config=steps)
