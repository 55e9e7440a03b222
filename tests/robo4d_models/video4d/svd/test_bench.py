import json

import pytest
import torch
from robo4d_models.video4d.svd import bench
from robo4d_models.video4d.svd.memory import training_memory
from robo4d_models.video4d.svd.model import SvdConfig
from robo4d_models.video4d.svd.ways import ways
from small_svd import small_config

MEASURED = {
    "released",
    "ours",
    "+ features reused at every other step",
    "+ small decoders",
    "+ 1 step, small decoders",
    "StableVideoDiffusionPipeline of diffusers",
}
"""The others differ from these in numbers of steps alone."""


def kind(name):
    return name.split(":")[0]


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            bench,
            "ways",
            lambda *args, **named: {
                name: make for name, make in ways(*args, **named).items() if kind(name) in MEASURED
            },
        )
        bench.bench_svd(repetitions=1, steps=2, compile_rows=False, json_file=path)
    return json.loads(path.read_text())


def test_all_ways_of_sampling_are_measured():
    names = ways(SvdConfig(), torch.device("cpu"), full=False, steps=25, compile_rows=True)
    assert [kind(name) for name in names] == [
        "released",
        "ours",
        "+ compile",
        "+ features reused at every other step",
        "+ small decoders",
        "+ DPM-Solver++, 8 steps",
        "+ 4 steps",
        "+ 4 steps, small decoders",
        "+ 2 steps, small decoders",
        "+ 1 step, small decoders",
        "StableVideoDiffusionPipeline of diffusers",
    ]


def test_each_way_has_its_figures(figures):
    assert {kind(row["name"]) for row in figures["rows"]} == MEASURED
    assert all(row["seconds"] > 0 and row["utilisation"] > 0 for row in figures["rows"])
    assert figures["machine"]


def test_the_released_way_computes_about_four_times_as_much(figures):
    released, ours = (figures["rows"][i] for i in (0, 1))
    assert (released["passes"], ours["passes"]) == (16, 4)
    assert 1.2 < released["tflop"] / ours["tflop"] < 4.1  # the VAE's share is the same in both


def test_what_changes_the_numbers_says_how_much(figures):
    rows = {row["name"]: row for row in figures["rows"]}
    assert rows["ours: 2 steps, fp32"]["difference"] == 0
    assert rows["+ small decoders"]["difference"] == 0  # of the latents
    assert 0 < rows["+ features reused at every other step"]["difference"] < 0.5
    assert rows["released: 2 steps, fp32, one by one, guidance without effect"]["difference"] is None


def test_reused_features_and_small_decoders_save_work(figures):
    tflop = {row["name"]: row["tflop"] for row in figures["rows"]}
    assert tflop["+ features reused at every other step"] < tflop["ours: 2 steps, fp32"]
    assert tflop["+ 1 step, small decoders"] < tflop["+ small decoders"] < tflop["ours: 2 steps, fp32"]


def test_memory_is_saved_by_computing_activations_twice_and_by_adapters():
    config = SvdConfig(network=small_config(), height=64, width=64, frames=4)
    kept, twice, adapters = (
        training_memory(config, **way)
        for way in ({"checkpoint_gradients": False}, {}, {"lora_rank": 2, "checkpoint_gradients": False})
    )
    assert 0 < twice.activations < 0.7 * kept.activations
    assert adapters.optimizer < 0.6 * kept.optimizer
    assert kept.total > kept.activations + kept.optimizer
