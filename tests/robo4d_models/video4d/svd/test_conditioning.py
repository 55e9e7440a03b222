import dataclasses

import numpy as np
import pytest
import torch
from robo4d_models.video4d.svd.conditioning import PointCoding, clip_input, encode_frame
from robo4d_models.video4d.svd.vae import TARGET_SCALE
from small_svd import SMALL_CLIP, small_model, wall


def test_points_survive_their_code():
    coding = PointCoding()
    points = torch.rand(2, 3, 4, 5) * 2 - 0.4
    valid = torch.rand(2, 4, 5) > 0.3
    decoded, found = coding.decode(coding.encode(points, valid))
    assert torch.equal(found, valid)
    torch.testing.assert_close(decoded, torch.where(valid[:, None], points, 0.0), rtol=0, atol=1e-6)


def test_one_centimetre_is_a_150th_of_the_scale():
    point = torch.tensor([0.5, 0.5, 0.5]).reshape(1, 3, 1, 1)
    seen = torch.ones(1, 1, 1, dtype=torch.bool)
    step = PointCoding().encode(point + 0.01, seen) - PointCoding().encode(point, seen)
    torch.testing.assert_close(step, torch.full_like(step, 0.01 / 1.5))


def test_points_outside_the_bounds_are_missing():
    far = torch.tensor([0.0, 0.0, 2.5]).reshape(1, 3, 1, 1)
    _, found = PointCoding().decode(PointCoding().encode(far, torch.ones(1, 1, 1, dtype=torch.bool)))
    assert not found.any()


def test_the_released_way_marks_missing_points_by_the_cameras_own_place():
    coding = PointCoding(missing="origin")
    code = coding.encode(torch.zeros(1, 3, 1, 2), torch.tensor([[[False, True]]]))
    torch.testing.assert_close(code, torch.full_like(code, -1 / 3))
    assert not coding.decode(code)[1].any()


def test_a_frame_is_coded_with_the_very_points_that_were_measured():
    frame = wall()
    rgb, code = encode_frame(frame, 16, 32, PointCoding())
    points, valid = PointCoding().decode(code)
    assert rgb.shape == (3, 16, 32)
    assert rgb.abs().max() <= 1
    assert not valid[:, :4].any()
    assert valid[:, 5:].all()
    measured = frame.pointmap().cloud()
    nearest = np.linalg.norm(measured[None] - points[:, valid].T.numpy()[:, None], axis=-1).min(axis=1)
    assert nearest.max() < 1e-5
    projected, depth = frame.intrinsics.resized(width=32, height=16).project(points[:, 8, 16].numpy())
    assert depth == pytest.approx(1.0)
    np.testing.assert_allclose(projected, [16.5, 8.5], atol=0.8)  # an old pixel is up to half of a new one away


def test_an_image_without_depth_is_refused():
    frame = wall()
    with pytest.raises(ValueError, match="unit is metres"):
        encode_frame(dataclasses.replace(frame, depth=np.zeros_like(frame.depth)), 16, 32, PointCoding())


def test_clip_gets_a_square_in_its_own_units():
    white = clip_input(torch.ones(1, 3, 16, 32), SMALL_CLIP["image_size"])
    assert white.shape == (1, 3, 28, 28)
    torch.testing.assert_close(white.mean(dim=(0, 2, 3)), torch.tensor([1.9303, 2.0749, 2.1459]), rtol=1e-3, atol=0)


def test_latents_of_condition_and_target_differ_by_scale_and_last_layer():
    model = small_model()
    coder = model.rgb
    coder.condition_quant.load_state_dict(coder.vae.quant_conv.state_dict())
    images = torch.randn(2, 3, 16, 32)
    coder.vae.quant_conv.bias.data[4:] = -30  # no spread
    coder.vae.quant_conv.weight.data[4:] = 0
    torch.testing.assert_close(
        coder.encode_target(images), TARGET_SCALE * coder.encode_condition(images), rtol=1e-4, atol=1e-4
    )
    assert coder.decode(torch.zeros(1, 2, 4, 8, 16)).shape == (1, 2, 3, 16, 32)


def test_every_view_sees_its_own_embedding_or_as_released_colours_of_m_and_points_of_n():
    rgb, points = torch.randn(2, 1, 2, 3, 16, 32).clamp(-1, 1)
    own = small_model(network={"layout": "streams"})
    embeddings = own.embed(rgb[0])
    context = own.condition(rgb, points).context[0]
    torch.testing.assert_close(context, embeddings[:, None].expand(-1, 2, -1))
    released = small_model(network={"layout": "streams"}, context="released").condition(rgb, points).context[0]
    for view in range(2):
        torch.testing.assert_close(released[view], embeddings.flip(0))
