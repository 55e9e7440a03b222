import dataclasses

import numpy as np
import pytest
import torch
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.svd import parts
from robo4d_models.video4d.svd.conditioning import PointCoding
from robo4d_models.video4d.svd.data import EpisodeClips, clip_times
from robo4d_models.video4d.svd.edm import Condition
from robo4d_models.video4d.svd.lora import add_adapters, merge_adapters
from robo4d_models.video4d.svd.model import SvdConfig, SvdModel
from robo4d_models.video4d.svd.options import SamplerConfig, SvdOptions
from robo4d_models.video4d.svd.parts import diffusion, few_step, point_losses, reconstruction
from robo4d_models.video4d.svd.pipeline import SvdGenerator
from robo4d_models.video4d.svd.train_config import SvdTraining
from robo4d_models.video4d.train import train
from robo4d_models.video4d.trainer import TrainConfig
from small_svd import inputs, small_config, small_model, small_network, wall, wall_episode

from robo4d import RgbdPair
from robo4d.episodes.storage import write_group
from robo4d.geometry import se3
from robo4d.sim.labels import Label

CONFIG = TrainConfig(
    steps=3, batch=1, warm_up=1, log_every=1, validate_every=3, validation_batches=1, checkpoint_every_s=0.0
)
SMALL = SvdConfig(network=small_config(), height=16, width=32, frames=2)


def clips(folder, **changes):
    return EpisodeClips(folder, SMALL, **({"factor": 2, "batch": 2, "seed": 0, "length": 2} | changes))


def test_a_batch_depends_on_seed_and_number_alone(episodes):
    first, again, other = clips(episodes)[0], clips(episodes)[0], clips(episodes)[1]
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.rgb, other.rgb)
    assert first.points.shape == (2, 2, 2, 3, 16, 32)
    assert first.gripper.shape == (2, 2, 2, 8, 16)


def test_what_follows_is_in_the_reference_views_frame_and_the_observation_in_each_views_own(episodes):
    sample = clips(episodes, batch=4)[0]
    (wall, seen), (told, _) = PointCoding().decode(sample.points), PointCoding().decode(sample.told_points)
    # One plane: z = const in the frame of every camera, as the views are only shifted along x and z.
    for b in range(4):
        reference_distance = told[b, 0, 2].amax()
        for view in range(2):
            depths = wall[b, view, :, 2][seen[b, view]]
            torch.testing.assert_close(depths, reference_distance.expand_as(depths), rtol=0, atol=1e-3)
    assert len({round(float(told[b, v, 2].amax()), 3) for b in range(4) for v in range(2)}) == 3


def test_grippers_are_marked_where_the_labels_have_them(episodes):
    gripper = clips(episodes)[0].gripper
    assert gripper[..., :2, :3].min() == 1
    assert gripper[..., 4:, 6:].max() == 0


def test_a_clip_spans_the_models_time_and_stays_at_the_end_of_the_episode():
    assert clip_times(100, 3, 10.0, SvdConfig()).tolist() == [3, *range(8, 54, 5)]
    assert clip_times(12, 8, 10.0, SMALL).tolist() == [8, 11, 11]


@pytest.fixture(scope="module")
def trained(episodes, base, tmp_path_factory):
    """Weights after an uninterrupted run."""
    out = tmp_path_factory.mktemp("trained")
    train(data=episodes, out=out, preset="svd", svd=SvdTraining(base=base), config=CONFIG)
    return out


def test_training_changes_the_network_alone_and_its_weights_make_a_video(base, trained):
    before, after = SvdModel.load(base).state_dict(), SvdModel.load(trained).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"network"}
    assert {name.removeprefix("network.").split(".")[0] for name in changed} >= {"conv_in", "decoders", "cross_view"}
    rows = checkpoints.read_curve(trained / "network/curve.jsonl")
    assert [row["step"] for row in rows if "rgb" in row] == [1, 2, 3]
    assert rows[-1]["validation"].keys() == {"rgb", "points"}
    options = SvdOptions(sampler=SamplerConfig(steps=1), device="cpu")
    video = SvdGenerator.load(trained, options).generate(RgbdPair(n=wall(), m=wall(seed=1)), seed=0)
    assert np.isfinite(video.points).all()


def test_a_run_that_was_cut_off_makes_the_same_steps_as_one_that_was_not(episodes, base, trained, tmp_path):
    svd = SvdTraining(base=base)
    train(data=episodes, out=tmp_path, preset="svd", svd=svd, config=CONFIG, slice_minutes=0)
    assert checkpoints.newest(tmp_path / "network").name == "checkpoint-000000001.pt"
    train(data=episodes, out=tmp_path, preset="svd", svd=svd, config=CONFIG)
    whole, cut = (checkpoints.load_weights(folder / "network.safetensors")[0] for folder in (trained, tmp_path))
    torch.testing.assert_close(cut, whole, rtol=0, atol=0)


@pytest.mark.parametrize("losses", [diffusion, few_step])
def test_points_are_encoded_in_float32_whatever_the_network_computes_in(episodes, losses, monkeypatch):
    monkeypatch.setattr(parts, "few_step_losses", lambda *_, **named: {})
    model, told, types = small_model(), SvdTraining(condition_dropout=0.0, joint_dropout=0.0), []
    model.place_coders(torch.device("cpu"), torch.bfloat16)
    for name, coder in (("rgb", model.rgb), ("points", model.points)):
        coder.vae.encoder.register_forward_hook(lambda *io, name=name: types.append((name, io[2].dtype)))
    teacher = {"teacher": model.network} if losses is few_step else {}
    with torch.autocast("cpu", torch.bfloat16):  # as accelerate does
        losses(small_network(), clips(episodes)[0], None, model=model, svd=told, **teacher)
    assert set(types) == {("rgb", torch.bfloat16), ("points", torch.float32)}


def test_a_share_of_the_samples_is_told_nothing(episodes, monkeypatch):
    shares = []
    monkeypatch.setattr(Condition, "dropped", lambda told, *alone, **together: shares.append((alone, together)) or told)
    svd = SvdTraining(condition_dropout=0.2, joint_dropout=0.3)
    diffusion(small_network(), clips(episodes)[0], None, model=small_model(), svd=svd)
    diffusion(small_network(), clips(episodes)[0], torch.Generator(), model=small_model(), svd=svd)  # a validation
    assert shares == [((0.2,), {"together": 0.3})]


def test_adapters_train_few_weights_and_end_as_plain_ones(episodes, base, tmp_path):
    svd = SvdTraining(base=base, lora_rank=2)
    train(data=episodes, out=tmp_path, preset="svd", svd=svd, config=CONFIG)
    before, after = SvdModel.load(base).network.state_dict(), SvdModel.load(tmp_path).network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".attn1.to_q.weight" in name for name in changed)
    assert not any("resnets" in name for name in changed)
    adapters, _ = checkpoints.load_weights(tmp_path / "adapters.safetensors")
    assert sum(value.numel() for value in adapters.values()) < 0.5 * sum(value.numel() for value in before.values())


def test_a_few_step_student_is_a_folder_of_weights_beside_its_teachers(episodes, base, tmp_path):
    once = dataclasses.replace(CONFIG, steps=1, validate_every=1)
    svd = SvdTraining(base=base)
    train(data=episodes, out=tmp_path, preset="svd", part="few_step", svd=svd, config=once)
    teacher, student = (SvdModel.load(folder).state_dict() for folder in (tmp_path, tmp_path / "few_step"))
    changed = {name for name in teacher if not torch.equal(teacher[name], student[name])}
    assert {name.split(".")[0] for name in changed} == {"network"}
    options = SvdOptions(sampler=SamplerConfig(steps=1), device="cpu")
    video = SvdGenerator.load(tmp_path / "few_step", options).generate(RgbdPair(n=wall(), m=wall(seed=1)), seed=0)
    assert np.isfinite(video.points).all()


def test_merged_adapters_compute_what_they_did_beside_the_weights():
    network = small_network()
    before = network(*inputs(network.config))
    add_adapters(network, 2)
    torch.testing.assert_close(network(*inputs(network.config)), before, rtol=1e-4, atol=1e-5)
    for name, parameter in network.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter, std=0.1)
    beside = network(*inputs(network.config))
    merge_adapters(network)
    assert (beside - before).abs().max() > 1e-3
    torch.testing.assert_close(network(*inputs(network.config)), beside, rtol=1e-4, atol=1e-5)
    assert network.state_dict().keys() == small_network().state_dict().keys()


def falling(out, part, name):
    """Whether a loss is lower at the end of a run than at its beginning."""
    rows = [row[name] for row in checkpoints.read_curve(out / part / "curve.jsonl") if name in row]
    return np.mean(rows[-4:]) < 0.8 * np.mean(rows[:4])


def test_the_vae_of_points_learns_from_points_alone_and_goes_on_where_it_stopped(episodes, base, tmp_path):
    svd = SvdTraining(base=base, learning_rate=5e-3)
    steps = dataclasses.replace(CONFIG, steps=24, validate_every=24, checkpoint_every_s=1e9)
    train(data=episodes, out=tmp_path, preset="svd", part="points_vae", svd=svd, config=steps, slice_minutes=0)
    assert checkpoints.newest(tmp_path / "points_vae").name == "checkpoint-000000001.pt"
    train(data=episodes, out=tmp_path, preset="svd", part="points_vae", svd=svd, config=steps)
    before, after = SvdModel.load(base), SvdModel.load(tmp_path)
    losses = [
        reconstruction(model.points.requires_grad_(False), clips(episodes)[0], torch.Generator().manual_seed(0))
        for model in (before, after)
    ]
    for name in ("points", "condition"):
        assert losses[1][name] < 0.9 * losses[0][name]
    rows = checkpoints.read_curve(tmp_path / "points_vae/curve.jsonl")
    assert [row["step"] for row in rows if "points" in row] == list(range(1, 25))
    assert rows[-1]["validation"].keys() == {"points", "missing", "condition"}
    before, after = before.state_dict(), after.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {".".join(name.split(".")[:3]).removeprefix("points.") for name in changed}
    assert parts >= {"vae.encoder", "vae.decoder", "vae.quant_conv", "condition_quant.weight"}
    assert all(name.startswith("points.") for name in changed)


def test_pixels_without_a_point_count_a_tenth_and_not_among_those_with_one():
    code, valid = torch.zeros(1, 1, 3, 2, 2), torch.tensor([[[[True, True], [True, False]]]])
    decoded = torch.where(valid[:, :, None], 0.25, 1.0).expand_as(code)
    losses = point_losses(decoded, code, valid)
    assert (losses["points"], losses["missing"]) == (pytest.approx(0.25), pytest.approx(0.1))
    assert point_losses(decoded, code, torch.ones_like(valid))["missing"] == 0


def test_what_has_a_point_is_told_of_every_batch(episodes):
    sample = clips(episodes)[0]
    assert sample.valid.shape == (2, 2, 2, 16, 32)
    assert torch.equal(sample.valid, PointCoding().decode(sample.points)[1])


def test_small_decoders_are_distilled_and_make_videos_in_place_of_the_vaes(episodes, base, tmp_path):
    steps = dataclasses.replace(CONFIG, steps=24, validate_every=24, checkpoint_every_s=1e9)
    options = SvdOptions(sampler=SamplerConfig(steps=1), device="cpu", small_decoders=True)
    pair = RgbdPair(n=wall(), m=wall(seed=1))
    with pytest.raises(ValueError, match="--part rgb_decoder"):
        SvdGenerator.load(base, options)
    for part, loss in (("rgb_decoder", "rgb"), ("points_decoder", "points")):
        train(data=episodes, out=tmp_path, preset="svd", part=part, svd=SvdTraining(base=base), config=steps)
        assert falling(tmp_path, part, loss)
    before, after = SvdModel.load(base).state_dict(), SvdModel.load(tmp_path).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    video = SvdGenerator.load(tmp_path, options).generate(pair, seed=0)
    by_vae = SvdGenerator.load(tmp_path, dataclasses.replace(options, small_decoders=False)).generate(pair, seed=0)
    assert video.points.shape == by_vae.points.shape == (2, 2, 16, 32, 3)
    assert np.isfinite(video.points).all()
    assert (video.rgb != by_vae.rgb).any()


def test_nothing_to_begin_from_and_nothing_to_learn_from_are_refused(episodes, base, tmp_path):
    with pytest.raises(ValueError, match="robo4d convert-checkpoint"):
        train(data=episodes, out=tmp_path, preset="svd", config=CONFIG)
    with pytest.raises(ValueError, match="its parts are network, points_vae"):
        train(data=episodes, out=tmp_path, preset="svd", part="refiner", config=CONFIG)
    write_group(tmp_path / "empty", {"robo4d_dataset": {}})
    with pytest.raises(ValueError, match="robo4d collect"):
        train(data=tmp_path / "empty", out=tmp_path, preset="svd", svd=SvdTraining(base=base), config=CONFIG)


def test_labels_and_poses_of_the_test_episode_are_what_the_tests_say():
    episode, images = wall_episode(1)
    assert (images[0][2][:, :8, :12] == Label.LEFT_HAND).all()
    assert all(se3.is_valid(camera.T_world_camera) for camera in episode.cameras)
