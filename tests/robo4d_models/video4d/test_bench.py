import json
from dataclasses import asdict

import pytest
import torch
from ball_world import plates
from robo4d_models.video4d import bench, checkpoints
from robo4d_models.video4d.coding import TASKS
from robo4d_models.video4d.peer import Peer
from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.refiner import Refiner, RefinerConfig
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.synthetic import attempt_of, observed

from robo4d import shipped


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Of small networks with random weights."""
    folder = tmp_path_factory.mktemp("bench")
    plan = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64))
    refiner = Refiner(RefinerConfig(widths=(16, 24, 32), joint_layers=1))
    checkpoints.save_weights(folder / "plan.safetensors", plan.state_dict(), asdict(plan.config))
    values = refiner.state_dict() | plates().tensors()
    checkpoints.save_weights(folder / "refiner.safetensors", values, asdict(refiner.config))
    path = folder / "figures.json"
    bench.bench_tiny(
        folder,
        repetitions=1,
        batch=1,
        steps=(1, 4),
        config=TinyConfig(frames=2, size=32),
        peer_widths=(32, 32, 32),
        json_file=path,
    )
    return json.loads(path.read_text())


def test_the_shipped_model_accepts_the_images_that_it_is_timed_on():
    config = TinyConfig(frames=1)
    values, _ = checkpoints.load_weights(shipped.TINY / "refiner.safetensors")
    robot = RobotModel.from_tensors(values)
    pair, state = observed(attempt_of(robot, size=config.size, frames=config.frames, period_s=config.period_s))
    generator = TinyGenerator.load(shipped.TINY, TASKS[0], state=lambda stamp_ns: state, config=config)
    assert generator.generate(pair, seed=0).valid.any()


def test_tiny_and_its_peer_are_measured_side_by_side(figures):
    sampled = ["tiny: plan", "tiny: video", "tiny: 4 videos at once", "diffusers: video"]
    trained = ["tiny: training of the plan model", "tiny: training of the refiner", "diffusers: training"]
    rows = [(row["name"], row["steps"]) for row in figures["rows"]]
    assert rows == [(name, n) for n in (1, 4) for name in sampled] + [(name, None) for name in trained]
    for row in figures["rows"]:
        assert row["seconds"] > 0
        assert row["cpu_seconds"] > 0
        assert (row["clips_per_s"] is None) == (row["steps"] is not None)
    assert len(figures["load"]) == 2


def test_a_video_has_the_parameters_of_both_networks(figures):
    rows = {row["name"]: row["parameters"] for row in figures["rows"]}
    assert rows["tiny: video"] == rows["tiny: plan"] + rows["tiny: training of the refiner"]


def test_making_batches_is_a_figure_of_its_own(figures):
    seconds = {row["name"]: row["batch_seconds"] for row in figures["rows"] if row["batch_seconds"] is not None}
    assert list(seconds) == ["tiny: training of the plan model", "tiny: training of the refiner"]
    assert min(seconds.values()) > 0


def test_the_peer_is_as_large_as_tiny():
    with torch.device("meta"):
        tiny, peer = (PlanModel(), Refiner()), Peer()
    count = sum(value.numel() for model in tiny for value in model.parameters())
    assert sum(value.numel() for value in peer.parameters()) == pytest.approx(count, rel=0.02)


def test_memory_is_that_of_the_run():
    memory = bench.PeakMemory(torch.device("cpu"))
    held = torch.ones(50_000_000)
    del held
    assert 180 < memory.megabytes() < 260
