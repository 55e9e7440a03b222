"""Compares the small svd network as torch.compile makes it with itself: `python tests/compiled_svd.py`.

A script, because the tests' checks of shapes cannot be compiled.
"""

import torch
from robo4d_models.video4d.svd.acceleration import accelerated
from robo4d_models.video4d.svd.options import AccelerationConfig
from small_svd import inputs, small_network

if __name__ == "__main__":
    network = small_network()
    fast = accelerated(network, AccelerationConfig(mode="compile"), torch.device("cpu"))
    with torch.inference_mode():
        for seed in (1, 2):
            arguments = inputs(network.config, seed=seed)
            exact = network(*arguments)
            print(float((fast(*arguments) - exact).norm() / exact.norm()))
