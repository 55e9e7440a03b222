from dataclasses import replace

import pytest
import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from robo4d_models.video4d.svd.network import NetworkConfig, TwoViewUNet
from small_svd import inputs, small_config, small_network


def parameters(**changes):
    with torch.device("meta"):
        network = TwoViewUNet(NetworkConfig(**changes))
    return sum(parameter.numel() for parameter in network.parameters()), network


def test_the_full_model_has_the_papers_2_40_billion_parameters_and_12_layers_between_the_views():
    count, network = parameters()
    assert count == pytest.approx(2.40e9, rel=0.01)
    assert len(network.cross_view) == 12


@pytest.mark.parametrize(
    ("changes", "billions"),
    [
        ({"multi_view": False}, 2.38),
        ({"layout": "streams"}, 2.40),
        ({"layout": "rgb"}, 2.40),
        ({"layout": "rgb", "multi_view": False}, 1.54),
    ],
)
def test_the_ablations_have_the_papers_sizes(changes, billions):
    assert parameters(**changes)[0] == pytest.approx(billions * 1e9, rel=0.012)


@pytest.mark.parametrize("layout", ["joint", "streams", "rgb"])
@pytest.mark.parametrize("multi_view", [True, False])
def test_every_layout_predicts_what_it_is_given(layout, multi_view):
    network = small_network(layout=layout, multi_view=multi_view)
    arguments = inputs(network.config)
    output = network(*arguments)
    assert output.shape == arguments[0].shape
    assert output.isfinite().all()


def test_one_view_without_attention_is_stable_video_diffusion():
    network = small_network(layout="rgb", multi_view=False)
    theirs = UNetSpatioTemporalConditionModel(
        block_out_channels=network.config.widths,
        layers_per_block=network.config.layers,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=(1, 2),
        cross_attention_dim=network.config.context_width,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    ).eval()
    renamed = {name.removeprefix("decoders.0."): value for name, value in network.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all(name.startswith("add_embedding") for name in missing)
    torch.nn.init.zeros_(theirs.add_embedding.linear_2.weight)
    torch.nn.init.zeros_(theirs.add_embedding.linear_2.bias)
    noisy, level, condition, context = inputs(network.config, views=1)
    sample = torch.cat([noisy[:, 0], condition.expand(-1, 2, -1, -1, -1)], dim=2)
    expected = theirs(sample, level[0], context[:, 0], torch.zeros(1, 3)).sample
    torch.testing.assert_close(network(noisy, level, condition, context)[:, 0], expected)


def changed_by(network, arguments, index, view, channels):
    """Views and halves of the channels of the output that change with an input of one view."""
    changed = [argument.clone() for argument in arguments]
    changed[index][:, view, ..., channels, :, :] += 1
    difference = (network(*changed) - network(*arguments)).abs().amax(dim=(0, 2, 4, 5))
    return {(v, "rgb" if c < 4 else "points") for v, c in (difference > 1e-4).nonzero().tolist()}


def test_the_reference_view_never_hears_of_the_other_one():
    network = small_network()
    arguments = inputs(network.config)
    assert {v for v, _ in changed_by(network, arguments, 0, 1, slice(0, 8))} == {1}
    assert {v for v, _ in changed_by(network, arguments, 0, 0, slice(0, 8))} == {0, 1}


def test_without_attention_between_views_each_is_on_its_own():
    network = small_network(multi_view=False)
    arguments = inputs(network.config)
    assert {v for v, _ in changed_by(network, arguments, 0, 0, slice(0, 8))} == {0}


def test_in_separate_streams_only_points_look_across_and_only_at_points():
    network = small_network(layout="streams")
    arguments = inputs(network.config)
    assert changed_by(network, arguments, 0, 0, slice(0, 4)) == {(0, "rgb")}
    assert changed_by(network, arguments, 0, 0, slice(4, 8)) == {(0, "points"), (1, "points")}


def test_the_second_view_has_a_decoder_of_its_own():
    network = small_network(multi_view=False)
    arguments = inputs(network.config)
    same = [argument.clone() for argument in arguments]
    for tensor in (same[0], same[2], same[3]):
        tensor[:, 1] = tensor[:, 0]
    output = network(*same)
    assert (output[:, 0] - output[:, 1]).abs().max() > 0.1
    network.decoders[1].load_state_dict(network.decoders[0].state_dict())
    output = network(*same)
    torch.testing.assert_close(output[:, 0], output[:, 1])


def test_layers_between_the_views_begin_without_effect():
    torch.manual_seed(0)
    network = TwoViewUNet(small_config()).eval().requires_grad_(False)
    arguments = inputs(network.config)
    before = network(*arguments)
    network.cross_view, network.config = torch.nn.ModuleList(), replace(network.config, multi_view=False)
    torch.testing.assert_close(network(*arguments), before, rtol=0, atol=0)


def test_gradients_computed_with_less_memory_are_the_same():
    gradients = []
    for checkpoint_gradients in (False, True):
        network = TwoViewUNet(small_config(), checkpoint_gradients=checkpoint_gradients)
        network.load_state_dict(small_network().state_dict())
        network.train()(*inputs(network.config)).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert all(gradient is not None for gradient in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_sizes_that_do_not_halve_are_refused():
    network = small_network()
    with pytest.raises(ValueError, match="multiples of 2"):
        network(*inputs(network.config, size=5))
    with pytest.raises(ValueError, match="multiples of 32"):
        NetworkConfig(widths=(48, 96))
