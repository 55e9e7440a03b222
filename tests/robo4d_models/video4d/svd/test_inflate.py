import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from robo4d_models.video4d.svd.convert import convert_checkpoint
from robo4d_models.video4d.svd.model import SvdModel
from small_svd import SMALL_CLIP, inputs, randomize
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stable Video Diffusion as diffusers has it, small."""
    folder = tmp_path_factory.mktemp("svd")
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=(1, 2),
        cross_attention_dim=16,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    )
    vae = AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * 2, block_out_channels=(32, 32))
    randomize(unet).save_pretrained(folder / "unet")
    randomize(vae).save_pretrained(folder / "vae")
    randomize(CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL_CLIP))).save_pretrained(folder / "image_encoder")
    return folder


@pytest.mark.parametrize("layout", ["joint", "streams", "rgb"])
def test_training_begins_as_stable_video_diffusion_for_the_colours_of_every_view(folder, layout, tmp_path):
    convert_checkpoint(source=folder, out=tmp_path, layout=layout, height=16, width=32)
    model = SvdModel.load(tmp_path).requires_grad_(False)
    unet = UNetSpatioTemporalConditionModel.from_pretrained(folder / "unet").requires_grad_(False)
    torch.nn.init.zeros_(unet.add_embedding.linear_2.weight)
    torch.nn.init.zeros_(unet.add_embedding.linear_2.bias)
    noisy, level, condition, context = inputs(model.config.network)
    output = model.network(noisy, level, condition, context)
    for view in range(2):
        sample = torch.cat([noisy[:, view, :, :4], condition[:, view, None, :4].expand(-1, 2, -1, -1, -1)], dim=2)
        expected = unet(sample, level[0], context[:, view, :1], torch.zeros(1, 3)).sample
        torch.testing.assert_close(output[:, view, :, :4], expected, rtol=1e-4, atol=1e-5)


def test_both_vaes_begin_as_that_of_stable_video_diffusion(folder, tmp_path):
    convert_checkpoint(source=folder, out=tmp_path, height=16, width=32)
    model = SvdModel.load(tmp_path)
    vae = AutoencoderKLTemporalDecoder.from_pretrained(folder / "vae")
    images = torch.randn(2, 3, 16, 32)
    with torch.no_grad():
        expected = vae.encode(images).latent_dist.mean
        for coder in (model.rgb, model.points):
            torch.testing.assert_close(coder.encode_condition(images), expected)
            torch.testing.assert_close(coder.posterior(images).mean, expected)


def test_a_folder_without_its_parts_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"has no unet/config\.json"):
        convert_checkpoint(source=tmp_path, out=tmp_path / "out")
