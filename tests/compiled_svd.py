"""Compares the small svd network as torch.compile makes it with itself: `python tests/compiled_svd.py [BACKEND]`.

Each line has a type, the relative error of the answer to new inputs, and how many times compiled code had run by then.

A script, because the tests' checks of shapes cannot be compiled.
"""

import sys
from functools import partial

import torch
from robo4d_models.video4d.svd.acceleration import accelerated
from robo4d_models.video4d.svd.options import AccelerationConfig
from small_svd import inputs, small_network
from torch._dynamo.backends.registry import lookup_backend

calls = 0


def counting(graph, example, *, backend, **options):
    compiled = lookup_backend(backend)(graph, example, **options)

    def run(*arguments):
        global calls
        calls += 1
        return compiled(*arguments)

    return run


if __name__ == "__main__":
    backend = sys.argv[1] if len(sys.argv) > 1 else "inductor"
    torch.compile = partial(torch.compile, backend=partial(counting, backend=backend))
    for dtype in (torch.float32, torch.bfloat16):
        network = small_network().to(dtype)
        fast = accelerated(network, AccelerationConfig(mode="compile"), torch.device("cpu"))
        with torch.inference_mode():
            for seed in (1, 2):
                noisy, level, condition, context = inputs(network.config, seed=seed)
                arguments = noisy.to(dtype), level, condition.to(dtype), context.to(dtype)
                exact = network(*arguments).float()
                error = float((fast(*arguments).float() - exact).norm() / exact.norm())
                print(str(dtype).removeprefix("torch."), error, calls)
