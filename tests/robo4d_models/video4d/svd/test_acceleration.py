"""Ways to run the network against the plain one: the same to 1e-5 of its size in float32, to 1e-2 in bfloat16."""

import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_svd
import torch
from robo4d_models.video4d.svd.acceleration import CudaGraph, accelerated
from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.options import AccelerationConfig
from small_svd import inputs, small_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TOLERANCES = [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)]
CPU = torch.device("cpu")


def error(result, exact):
    """Relative to the size of what is exact."""
    return ((result.float() - exact.float()).norm() / exact.float().norm()).item()


def network_and_inputs(dtype, seeds=(1, 2), **sizes):
    network = small_network().to(dtype)
    drawn = [inputs(network.config, seed=seed, **sizes) for seed in seeds]
    return network, [(noisy.to(dtype), level, told.to(dtype), c.to(dtype)) for noisy, level, told, c in drawn]


class FakeGraph:
    """Records operations on tensors and does them again, into the same memory, as CUDA graphs do."""

    def __init__(self):
        self.operations, self.replays = [], 0

    def replay(self):
        self.replays += 1
        for func, args, kwargs, results in self.operations:
            again = tree_leaves(func(*args, **kwargs))
            for old, new in zip(tree_leaves(results), again, strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recording(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        self.graph.operations.append((func, args, kwargs or {}, results))
        return results


class FakeStream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def fake_gpu(monkeypatch):
    """CUDA graphs, done on the processor; gives those that were made."""
    made = []

    def graph():
        made.append(FakeGraph())
        return made[-1]

    for name, value in {
        "CUDAGraph": graph,
        "graph": Recording,
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "stream": lambda _: contextlib.nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return made


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_a_replayed_graph_answers_new_inputs_and_leaves_old_answers_alone(fake_gpu, dtype, tolerance):
    network, (first, second) = network_and_inputs(dtype)
    graph = CudaGraph(network)
    with torch.no_grad():
        answers = [graph(*first), graph(*second)]
        assert [made.replays for made in fake_gpu] == [2]
        for given, answer in zip((first, second), answers, strict=True):
            assert error(answer, network(*given)) <= tolerance
    assert error(answers[0], answers[1]) > 0.1


def test_inputs_of_another_shape_are_recorded_anew_and_old_ones_replayed(fake_gpu):
    network, (small, same) = network_and_inputs(torch.float32)
    larger = inputs(network.config, size=8)
    graph = CudaGraph(network)
    with torch.no_grad():
        for given in (small, larger, same):
            assert error(graph(*given), network(*given)) <= 1e-5
    assert [made.replays for made in fake_gpu] == [2, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: CUDA graphs")
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_a_graph_of_a_gpu_does_so_too(dtype, tolerance):
    network, drawn = network_and_inputs(dtype)
    network, drawn = network.cuda(), [[value.cuda() for value in given] for given in drawn]
    graph = CudaGraph(network)
    with torch.no_grad():
        answers = [graph(*given) for given in drawn]
        assert all(error(answer, network(*given)) <= tolerance for given, answer in zip(drawn, answers, strict=True))


class Shallow(TwoViewUNet):
    """A network that is compiled in no time, and whose code no test checks shapes in."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, noisy, noise_level, condition, context):
        return torch.tanh(self.layer(noisy)) * noise_level + condition[:, :, None] - context.mean()


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_a_compiled_network_runs_compiled_code_on_new_inputs_too(monkeypatch, dtype, tolerance):
    compiled, calls = [], []

    def backend(graph, example):
        compiled.append(graph)

        def run(*arguments):
            calls.append(1)
            return graph(*arguments)

        return run

    torch.manual_seed(0)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    network, (_, drawn) = Shallow().to(dtype), network_and_inputs(dtype)
    fast = accelerated(network, AccelerationConfig(mode="compile"), CPU)
    with torch.no_grad():
        for given in drawn:
            assert error(fast(*given), network(*given)) <= tolerance
    assert (len(compiled), len(calls)) == (1, 2)


@pytest.mark.skipif(
    "ROBO4D_SLOW_TESTS" not in os.environ, reason="compiles for minutes: ask for it with ROBO4D_SLOW_TESTS=1"
)
def test_the_whole_compiled_network_answers_new_inputs_as_the_plain_one():
    command = [sys.executable, Path(small_svd.__file__).with_name("compiled_svd.py")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for line, (calls, (dtype, tolerance)) in zip(told, enumerate(np.repeat(TOLERANCES, 2, axis=0), 1), strict=True):
        assert line.split()[0] == str(dtype).removeprefix("torch.")
        assert float(line.split()[1]) <= tolerance
        assert int(line.split()[2]) == calls


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_another_memory_layout_changes_only_the_rounding(dtype, tolerance):
    network, drawn = network_and_inputs(dtype)
    with torch.no_grad():
        exact = [network(*given) for given in drawn]
        other = accelerated(network, AccelerationConfig(channels_last=True), CPU)
        assert network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        assert max(error(other(*given), plain) for given, plain in zip(drawn, exact, strict=True)) <= tolerance


@pytest.mark.parametrize("layout", ["joint", "streams"])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_more_views_and_samples_in_one_batch_are_what_they_are_alone(layout, dtype, tolerance):
    network = small_network(layout=layout).to(dtype)
    noisy, level, condition, context = inputs(network.config, views=3, batch=2)
    noisy, condition, context = noisy.to(dtype), condition.to(dtype), context.to(dtype)
    with torch.no_grad():
        together = network(noisy, level, condition, context)
        for b in range(2):
            for m in (1, 2):
                rows = (slice(b, b + 1), [0, m])
                alone = network(noisy[rows], level[b : b + 1], condition[rows], context[rows])
                assert error(together[rows], alone) <= tolerance
