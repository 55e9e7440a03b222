import json

import pytest
from robo4d_models.video4d.svd.bench import bench_model
from robo4d_models.video4d.svd.memory import training_memory
from robo4d_models.video4d.svd.model import SvdConfig
from small_svd import small_config


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    bench_model(repetitions=1, steps=1, compile_rows=False, json_file=path)
    return json.loads(path.read_text())


def test_all_ways_are_measured_in_one_run(figures):
    assert [row["name"].split(":")[0] for row in figures["rows"]] == [
        "released",
        "ours",
        "+ DPM-Solver++, 8 steps",
        "+ 4 steps",
        "StableVideoDiffusionPipeline of diffusers",
    ]
    assert all(row["seconds"] > 0 and row["utilisation"] > 0 for row in figures["rows"])
    assert figures["machine"]


def test_the_released_way_computes_about_four_times_as_much(figures):
    released, ours = (figures["rows"][i] for i in (0, 1))
    assert (released["passes"], ours["passes"]) == (8, 2)
    assert 1.2 < released["tflop"] / ours["tflop"] < 4.1  # the VAE's share is the same in both


def test_memory_is_saved_by_computing_activations_twice_and_by_adapters():
    config = SvdConfig(network=small_config(), height=64, width=64, frames=4)
    kept, twice, adapters = (
        training_memory(config, **way)
        for way in ({"checkpoint_gradients": False}, {}, {"lora_rank": 2, "checkpoint_gradients": False})
    )
    assert 0 < twice.activations < 0.7 * kept.activations
    assert adapters.optimizer < 0.6 * kept.optimizer
    assert kept.total > kept.activations + kept.optimizer
