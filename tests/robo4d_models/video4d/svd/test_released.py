import pytest
import torch
from released_svd import released_engine
from robo4d_models.video4d.svd.conditioning import clip_input
from robo4d_models.video4d.svd.convert import convert_checkpoint
from robo4d_models.video4d.svd.model import SvdModel
from robo4d_models.video4d.svd.released import model_from

FRAMES = 3


@pytest.fixture(scope="module")
def engine():
    torch.manual_seed(0)
    return released_engine()


@pytest.fixture(scope="module")
def state(engine):
    return engine.state_dict()


@pytest.fixture(scope="module")
def model(state):
    return model_from(state).requires_grad_(False)


def test_the_network_computes_what_the_released_one_does(engine, model):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(2 * FRAMES, 8, 4, 4, generator=rng)
    observed = torch.randn(2, 8, 4, 4, generator=rng)
    embedding = torch.randn(2, 1, 16, generator=rng)
    level = torch.tensor([0.7])
    theirs = engine.model(x, level.expand(2 * FRAMES), observed.repeat_interleave(FRAMES, dim=0), embedding)

    def ours(latents):
        """Points before colours there, colours before points here."""
        return torch.cat([latents[..., 4:, :, :], latents[..., :4, :, :]], dim=-3)

    context = embedding[:, 0].flip(0)[None, None].expand(1, 2, 2, 16)  # colours see view m, points view n
    result = model.network(ours(x.unflatten(0, (2, FRAMES)))[None], level, ours(observed)[None], context)
    torch.testing.assert_close(result[0], ours(theirs.unflatten(0, (2, FRAMES))), rtol=1e-3, atol=1e-4)


def test_the_vaes_encode_and_decode_as_the_released_ones(engine, model):
    images, latents = torch.randn(FRAMES, 3, 16, 16), torch.randn(FRAMES, 4, 4, 4)
    for coder, vae, embedder in (
        (model.rgb, engine.first_stage_color_model, engine.conditioner.embedders[2]),
        (model.points, engine.first_stage_pointmap_model, engine.conditioner.embedders[1]),
    ):
        moments = vae.encoder(images)
        torch.testing.assert_close(coder.posterior(images).mean, moments[:, :4], rtol=1e-3, atol=1e-4)
        told = embedder.encoder.quant_conv(moments)[:, :4]
        torch.testing.assert_close(coder.encode_condition(images), told, rtol=1e-3, atol=1e-4)
        decoded = vae.decoder(latents / 0.18215)
        torch.testing.assert_close(coder.decode(latents[None])[0], decoded, rtol=1e-3, atol=1e-3)


def test_clip_embeds_as_the_released_one(engine, model):
    colours = torch.rand(2, 3, 16, 32) * 2 - 1
    expected = engine.conditioner.embedders[0].open_clip.model.visual(clip_input(colours, 28))
    torch.testing.assert_close(model.embed(colours), expected, rtol=1e-3, atol=1e-4)


def test_condition_latents_are_unscaled_and_embeddings_crossed_as_they_were_trained(model):
    rgb, points = torch.randn(2, 1, 2, 3, 64, 64).clamp(-1, 1)
    condition = model.condition(rgb, points)
    torch.testing.assert_close(condition.latents[0, :, :4], model.rgb.encode_condition(rgb[0]))
    torch.testing.assert_close(condition.latents[0, :, 4:], model.points.encode_condition(points[0]))
    embeddings = model.embed(rgb[0])
    torch.testing.assert_close(condition.context[0, 0], embeddings.flip(0))


def test_shared_decoders_become_two_equal_ones_and_separate_ones_stay_apart(state, model):
    first, second = (decoder.state_dict() for decoder in model.network.decoders)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    name = "model.diffusion_model_2.output_blocks.0.0.in_layers.2.bias"
    apart = model_from(state | {name: state[name] + 1}).network.decoders
    bias = "up_blocks.0.resnets.0.spatial_res_block.conv1.bias"
    torch.testing.assert_close(apart[1].state_dict()[bias], apart[0].state_dict()[bias] + 1)


def test_weights_without_a_place_or_a_partner_are_named(state):
    with pytest.raises(ValueError, match=r"1 weights are not of the released model: other\.weight"):
        model_from(state | {"other.weight": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"not of the released model: first_stage|not of the released model: decoder\.odd"
    ):
        model_from(state | {"first_stage_color_model.decoder.odd": torch.zeros(1)})
    name = "model.diffusion_model.middle_block.0.in_layers.0.weight"
    with pytest.raises(ValueError, match=r"middle_block\.0\.in_layers\.0\.weight differs"):
        model_from(state | {name: state[name] + 1})
    pruned = {key: value for key, value in state.items() if ".middle_block.1.proj_in.weight" not in key}
    with pytest.raises(ValueError, match=r"1 weights are missing \['mid_block\.attentions\.0\.proj_in\.weight'\]"):
        model_from(pruned)
    with pytest.raises(ValueError, match="lacks clip"):
        model_from({key: value for key, value in state.items() if "open_clip" not in key})


CONDITION = "conditioner.embedders.1.encoder."
"""Of points."""


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (CONDITION, "encoder.odd"),
        (CONDITION, "quant_conv.odd"),
        (CONDITION, "odd.weight"),
        ("first_stage_color_model.", "encoder.mid.attn_1.odd.weight"),
        ("conditioner.embedders.0.open_clip.model.", "visual.transformer.resblocks.0.odd.weight"),
        ("model.diffusion_model_2.", "middle_block.0.odd"),
    ],
)
def test_every_weight_that_is_not_of_theirs_is_named(state, group, name):
    with pytest.raises(ValueError, match=name.rsplit("odd", maxsplit=1)[0].split(".")[-1] + "odd"):
        model_from(state | {group + name: torch.zeros(1)})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (CONDITION + "quant_conv.weight", "points.*'quant_conv.weight'"),
        (CONDITION + "encoder.conv_in.bias", "points.*'encoder.conv_in.bias'"),
        ("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight", "attn2.to_k.weight is missing"),
        ("model.diffusion_model.input_blocks.2.0.op.weight", "op.weight"),
        (
            "first_stage_color_model.encoder.down.1.block.0.conv1.weight",
            "encoder.down.1.block.0.conv1.weight is missing",
        ),
        ("conditioner.embedders.0.open_clip.model.visual.proj", "visual.proj is missing"),
    ],
)
def test_every_weight_that_is_missing_is_named(state, name, told):
    with pytest.raises(ValueError, match=told):
        model_from({key: value for key, value in state.items() if key != name})


def test_without_the_encoders_of_conditions_nobody_knows_their_last_layer(state):
    with pytest.raises(ValueError, match="lacks points_condition"):
        model_from({key: value for key, value in state.items() if not key.startswith(CONDITION)})


def test_conditions_with_an_encoder_of_their_own_are_refused(state):
    name = "encoder.conv_in.bias"
    with pytest.raises(
        ValueError, match=r"conditions and targets \(points\).*1 weights differ, first encoder\.conv_in"
    ):
        model_from(state | {CONDITION + name: state[CONDITION + name] + 1})


def vae_file(state, path, changed):
    """Of the VAE of points, with some weights changed."""
    vae = {key.removeprefix("first_stage_pointmap_model."): value for key, value in state.items()}
    vae = {key: value + key.startswith(changed) for key, value in vae.items() if key.startswith(("encoder", "decoder"))}
    loss = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.zeros(1)}
    torch.save({"state_dict": vae | loss}, path)
    return path


def test_a_vae_whose_encoder_the_checkpoints_conditions_never_passed_is_refused(state, tmp_path):
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    other = vae_file(state, tmp_path / "points.ckpt", "encoder.")
    with pytest.raises(ValueError, match="--points-vae must be the one that the network was trained with"):
        convert_checkpoint(source=tmp_path / "model.ckpt", out=tmp_path / "out", points_vae=other, height=64, width=64)


def test_a_checkpoint_file_becomes_a_folder_of_ours(state, model, tmp_path, capsys):
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "model.ckpt")
    vae = vae_file(state, tmp_path / "points.ckpt", "decoder.")
    convert_checkpoint(source=tmp_path / "model.ckpt", out=tmp_path / "out", points_vae=vae, height=64, width=64)
    told = "".join(capsys.readouterr().out.split())
    assert f"VAEofpoints:thatof{vae};lastlayerofconditions:thatof{tmp_path / 'model.ckpt'}" in told
    assert f"VAEofcolours:thatof{tmp_path / 'model.ckpt'};" in told
    loaded = SvdModel.load(tmp_path / "out")
    assert loaded.config.network == model.config.network
    assert (loaded.config.height, loaded.config.context, loaded.config.points.missing) == (64, "released", "origin")
    torch.testing.assert_close(loaded.network.state_dict(), model.network.state_dict(), rtol=0, atol=0)
    name = "vae.decoder.conv_in.weight"
    torch.testing.assert_close(loaded.points.state_dict()[name], model.points.state_dict()[name] + 1)
    quant = "condition_quant.weight"
    torch.testing.assert_close(loaded.points.state_dict()[quant], model.points.state_dict()[quant])


class Payload:
    def __reduce__(self):
        return print, ("run",)


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    torch.save({"state_dict": {}, "callbacks": Payload()}, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="holds more than weights"):
        convert_checkpoint(source=tmp_path / "model.ckpt", out=tmp_path / "out")
