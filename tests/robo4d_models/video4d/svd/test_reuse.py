import pytest
import torch
from robo4d_models.video4d.svd.edm import Condition, sample
from robo4d_models.video4d.svd.options import SamplerConfig, SvdOptions
from robo4d_models.video4d.svd.pipeline import SvdGenerator
from robo4d_models.video4d.svd.reuse import FeatureReuse
from small_svd import inputs, small_model, small_network, wall

from robo4d import RgbdPair

PAIR = RgbdPair(n=wall("camera_n", 0), m=wall("camera_m", 1, 1.2))


def sampled(network, call, **config):
    _, _, latents, context = inputs(network.config)
    told = Condition(latents=latents, context=context)
    return sample(call, told, 2, SamplerConfig(steps=4, **config), seed=0)


@pytest.mark.parametrize("layout", ["joint", "streams", "rgb"])
@pytest.mark.parametrize("multi_view", [True, False])
def test_the_shallow_part_completes_deep_features_to_what_the_whole_network_computes(layout, multi_view):
    network = small_network(layout=layout, multi_view=multi_view)
    arguments = inputs(network.config, views=3)
    expected, deep = network.with_deep(*arguments)
    assert torch.equal(network.with_deep(*arguments, deep)[0], expected)


def test_reuse_at_every_step_is_the_plain_sampler():
    network = small_network()
    for config in ({}, {"solver": "dpm++"}, {"guidance": (1.0, 2.5)}):
        expected = sampled(network, network, **config)
        assert torch.equal(sampled(network, FeatureReuse(network.with_deep, 1), **config), expected)


def test_deep_blocks_are_skipped_between_and_what_is_kept_goes_out_of_date():
    network = small_network()
    calls = []
    network.mid_block.register_forward_hook(lambda *_: calls.append("deep"))
    network.conv_in.register_forward_hook(lambda *_: calls.append("shallow"))
    result = sampled(network, FeatureReuse(network.with_deep, 2))
    assert calls == ["shallow", "deep", "shallow"] * 2
    difference = (result - sampled(network, network)).norm() / result.norm()
    assert 0 < difference < 0.5


def test_every_video_begins_with_features_of_its_own():
    once = SvdOptions(sampler=SamplerConfig(steps=3), device="cpu", feature_reuse=2)
    generator = SvdGenerator(small_model(), once)
    first, other, again = (generator.generate(PAIR, seed=seed).points for seed in (0, 1, 0))
    assert (first == again).all()
    assert (first != other).any()
    with pytest.raises(ValueError, match="at least 1"):
        SvdOptions(feature_reuse=0)
