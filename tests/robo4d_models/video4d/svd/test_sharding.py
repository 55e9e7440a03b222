from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.svd import sharding
from robo4d_models.video4d.svd.model import SvdModel
from sharded_training import train_in_shards
from small_svd import inputs, small_network

CONFIG = Path(sharding.__file__).with_name("fsdp.yaml")


@pytest.fixture
def plugin(monkeypatch):
    """What `accelerate launch` tells the processes, as they understand it."""
    arguments = launch_command_parser().parse_args(["--config_file", str(CONFIG), "robo4d"])
    arguments, *_ = _validate_launch_command(arguments)
    assert arguments.use_fsdp
    for name, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(name, value)
    return FullyShardedDataParallelPlugin()


def test_the_shards_are_modules_of_the_network_that_run_whenever_they_are_needed(plugin):
    network = small_network()
    plugin.set_auto_wrap_policy(network)  # refuses names that the network lacks
    assert plugin.fsdp_version == 2
    wrapped = {
        name: module
        for name, module in network.named_modules()
        if type(module).__name__ in plugin.transformer_cls_names_to_wrap
    }
    called = set()
    for name, module in wrapped.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    network(*inputs(network.config))
    assert called == wrapped.keys()  # else its weights would not have been gathered
    inside = {id(p) for name, module in wrapped.items() if name for p in module.parameters()}
    assert sum(p.numel() for p in network.parameters() if id(p) in inside) > 0.85 * sum(
        p.numel() for p in network.parameters()
    )


def test_a_sharded_run_goes_on_where_it_stopped_and_writes_whole_weights(episodes, base, tmp_path):
    train_in_shards(CONFIG, episodes, base, tmp_path)
    before, whole, cut = (SvdModel.load(folder).network for folder in (base, tmp_path / "whole", tmp_path / "cut"))
    torch.testing.assert_close(cut.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), whole.parameters(), strict=True))
    rows = checkpoints.read_curve(tmp_path / "cut/network/curve.jsonl")
    assert {row["step"] for row in rows if "rgb" in row} == {1, 2}
    assert rows[-1]["validation"].keys() == {"rgb", "points"}
