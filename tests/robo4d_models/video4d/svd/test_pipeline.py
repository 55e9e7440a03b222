import dataclasses

import numpy as np
import pytest
import torch
from robo4d_models.video4d.svd.model import SvdModel
from robo4d_models.video4d.svd.options import AccelerationConfig, SamplerConfig, SvdOptions
from robo4d_models.video4d.svd.pipeline import SvdGenerator
from small_svd import inputs, showing_everywhere, small_model, small_network, wall

from robo4d import RgbdPair
from robo4d.interfaces import Cancelled, VideoGenerator

QUICK = SvdOptions(sampler=SamplerConfig(steps=2), device="cpu")
PAIR = RgbdPair(n=wall("camera_n", 0, stamp_ns=7), m=wall("camera_m", 1, 1.2, stamp_ns=5))


@pytest.fixture(scope="module")
def generator():
    return SvdGenerator(small_model(), QUICK)


@pytest.fixture(scope="module")
def video(generator):
    return generator.generate(PAIR, seed=0)


def test_a_pair_becomes_a_video_of_both_views_in_the_reference_cameras_frame(video):
    assert video.rgb.shape == (2, 2, 16, 32, 3)
    assert video.frame == "camera_n"
    assert video.stamp_ns == 5
    np.testing.assert_allclose(video.times_s, [0.5, 1.0])
    assert video.intrinsics[0] == PAIR.n.intrinsics.resized(width=32, height=16)
    assert np.isfinite(video.points).all()
    assert (np.abs(video.points) <= 2).all()
    assert (video.points[~video.valid] == 0).all()


def test_points_are_decoded_to_metres():
    point = [0.25, -0.5, 1.25]
    generator = SvdGenerator(showing_everywhere(small_model(), point), QUICK)
    assert isinstance(generator, VideoGenerator)
    video = generator.generate(PAIR, seed=0)
    assert video.valid.all()
    np.testing.assert_allclose(video.points, np.broadcast_to(point, video.points.shape), atol=1e-5)


def test_the_same_seed_repeats_a_video_and_another_one_does_not(generator, video):
    np.testing.assert_array_equal(generator.generate(PAIR, seed=0).points, video.points)
    assert np.abs(generator.generate(PAIR, seed=1).points - video.points).max() > 0.01


def test_a_second_pair_is_answered_by_what_it_shows(generator, video):
    other = RgbdPair(n=wall("camera_n", 5), m=PAIR.m)
    answer = generator.generate(other, seed=0)
    assert np.abs(answer.rgb.astype(int) - video.rgb).max() > 0
    np.testing.assert_array_equal(generator.generate(PAIR, seed=0).rgb, video.rgb)


def test_a_pair_is_encoded_once_for_all_samples(generator):
    generator.generate(PAIR, seed=0)
    encoded = []
    handle = generator.model.rgb.vae.encoder.register_forward_hook(lambda *_: encoded.append(1))
    generator.generate(PAIR, seed=1)
    assert not encoded
    generator.generate(RgbdPair(n=wall("camera_n", 9), m=PAIR.m), seed=1)
    assert len(encoded) == 1
    handle.remove()


def test_three_views_come_from_one_batch(generator, video):
    frames = (PAIR.n, PAIR.m, wall("camera_o", 3))
    assert generator.generate_views(frames, seed=0).points.shape == (3, 2, 16, 32, 3)


def test_one_view_is_refused(generator):
    with pytest.raises(ValueError, match="two or more views"):
        generator.generate_views((PAIR.n,), seed=0)


def test_generation_can_be_cancelled(generator):
    with pytest.raises(Cancelled):
        generator.generate(PAIR, seed=0, progress=lambda step, steps: step < 1)


def test_a_view_without_any_depth_is_refused_by_name(generator):
    blind = dataclasses.replace(PAIR.m, depth=np.zeros_like(PAIR.m.depth))
    with pytest.raises(ValueError, match="camera_m: not one pixel has depth"):
        generator.generate(RgbdPair(n=PAIR.n, m=blind), seed=0)


def test_colours_alone_give_a_video_without_points():
    video = SvdGenerator(small_model(network={"layout": "rgb"}), QUICK).generate(PAIR, seed=0)
    assert not video.valid.any()
    assert video.rgb.std() > 0


@pytest.mark.parametrize("layout", ["joint", "streams", "rgb"])
def test_weights_survive_their_files(layout, tmp_path):
    model = small_model(network={"layout": layout}, condition_scale=0.5, context="released")
    model.save(tmp_path)
    loaded = SvdModel.load(tmp_path)
    assert loaded.config == model.config
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    expected = SvdGenerator(model, QUICK).generate(PAIR, seed=0)
    np.testing.assert_array_equal(SvdGenerator.load(tmp_path, QUICK).generate(PAIR, seed=0).rgb, expected.rgb)


def test_missing_weights_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="robo4d convert-checkpoint"):
        SvdGenerator.load(tmp_path)


def test_parts_that_wait_in_the_computers_memory_come_to_the_device_when_they_are_at_work(video, monkeypatch):
    moved, at_work = {}, []
    plain_to = torch.nn.Module.to

    def to(module, device=None, *rest, **named):
        moved[id(module)] = str(device)
        return plain_to(module, device, *rest, **named)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    # A name of the processor that tells the GPU of this test from the computer's memory.
    generator = SvdGenerator(small_model(), dataclasses.replace(QUICK, offload=True, device="cpu:0"))
    model = generator.model
    parts = {"network": model.network, "rgb": model.rgb, "points": model.points, "clip": model.clip}

    def note(name):
        there = {part for part, module in parts.items() if moved[id(module)] == "cpu:0"}
        at_work.append((name, there))

    workers = {"encoder": model.rgb.vae.encoder, "clip": model.clip, "network": model.network}
    for name, module in (workers | {"decoder": model.points.vae.decoder}).items():
        module.register_forward_pre_hook(lambda *_, name=name: note(name))
    again = generator.generate(PAIR, seed=0)
    encoding, coders = {"rgb", "points", "clip"}, {"rgb", "points"}
    assert [entry for i, entry in enumerate(at_work) if entry not in at_work[:i]] == [
        ("encoder", encoding),
        ("clip", encoding),
        ("network", {"network"}),
        ("decoder", coders),
    ]
    assert {moved[id(module)] for module in parts.values()} == {"cpu"}
    np.testing.assert_array_equal(again.points, video.points)


def test_bfloat16_changes_a_prediction_by_less_than_a_hundredth():
    network = small_network()
    arguments = inputs(network.config)
    exact = network(*arguments)
    rounded = network.bfloat16()(arguments[0].bfloat16(), arguments[1], *(a.bfloat16() for a in arguments[2:]))
    assert (rounded.float() - exact).norm() < 1e-2 * exact.norm()


def test_graphs_are_refused_without_a_gpu_and_for_parts_that_move():
    with pytest.raises(ValueError, match="need a GPU"):
        SvdGenerator(small_model(), dataclasses.replace(QUICK, acceleration=AccelerationConfig(mode="graphs")))
    with pytest.raises(ValueError, match="cannot move"):
        SvdOptions(offload=True, acceleration=AccelerationConfig(mode="compile"))
