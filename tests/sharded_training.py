"""Run by two processes: trains the small svd model as shards, on processors, which accelerate knows on GPUs only.

Arguments: the configuration of accelerate, episodes, weights to begin from, the folder to write.
"""

import shutil
import sys
from pathlib import Path

import yaml
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from robo4d_models.video4d.svd.train import train_svd
from robo4d_models.video4d.svd.train_config import SvdTraining
from robo4d_models.video4d.trainer import TrainConfig

config, episodes, base, out = map(Path, sys.argv[1:])
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
