import numpy as np
import pytest
import torch
from robo4d_models.segmentation import Sam2Config, Sam2Segmenter


@pytest.fixture(scope="module")
def segmenter():
    """The real architecture with random weights, at 128 px and a tenth of the smallest published size."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=32,
        num_attention_heads=1,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[32, 64, 128, 256],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 8, 4],
        global_attention_blocks=[3],
    )
    sizes = [[32, 32], [16, 16], [8, 8]]
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[256, 128, 64, 32], backbone_feature_sizes=sizes
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": 128},
        image_size=128,
        memory_attention_num_layers=1,
        memory_attention_rope_feat_sizes=[8, 8],
    )
    return Sam2Segmenter(Sam2Config(device="cpu"), Sam2VideoModel(config))


def test_the_prompt_comes_back_in_the_first_image_and_every_image_has_a_mask(segmenter):
    rgb = np.random.default_rng(0).integers(0, 255, (3, 96, 120, 3), np.uint8)
    prompt = np.zeros((96, 120), bool)
    prompt[30:60, 40:80] = True
    masks = segmenter.segment(rgb, prompt)
    assert masks.shape == (3, 96, 120)
    assert masks.dtype == bool
    assert (masks[0] & prompt).sum() / (masks[0] | prompt).sum() > 0.9


def test_an_empty_prompt_is_refused(segmenter):
    with pytest.raises(ValueError, match="prompt is empty"):
        segmenter.segment(np.zeros((2, 96, 120, 3), np.uint8), np.zeros((96, 120), bool))
