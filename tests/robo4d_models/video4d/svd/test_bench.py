import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from robo4d_models.video4d.svd import bench
from robo4d_models.video4d.svd import ways as ways_of_svd
from robo4d_models.video4d.svd.bench import _measure
from robo4d_models.video4d.svd.memory import _HeldBytes, inference_memory, training_memory
from robo4d_models.video4d.svd.model import SvdConfig, SvdModel
from robo4d_models.video4d.svd.options import AccelerationConfig
from robo4d_models.video4d.svd.ways import _NARROW_CLIP, NARROW, Way, flops_of, ways
from small_svd import SMALL_CLIP, inputs, small_config, small_model
from torch.nn.attention import SDPBackend, sdpa_kernel

CPU = torch.device("cpu")

MEASURED = {
    "released",
    "ours",
    "with features reused at every other step",
    "with small decoders",
    "with 1 step of a student, small decoders",
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
        "with features reused at every other step",
        "with small decoders",
        "with 8 steps of DPM-Solver++",
        "with 4 steps of a student",
        "with 4 steps of a student, small decoders",
        "with 2 steps of a student, small decoders",
        "with 1 step of a student, small decoders",
        "StableVideoDiffusionPipeline of diffusers",
    ]


def test_on_a_gpu_every_way_with_a_plus_keeps_what_those_before_it_have(monkeypatch):
    told = {}

    def remember(config, device, full, sampler, acceleration, **changes):
        told[name] = (acceleration, sampler, changes)

    monkeypatch.setattr(ways_of_svd, "_ours", remember)
    for name, make in ways(SvdConfig(), torch.device("cuda"), full=True, steps=25, compile_rows=True).items():
        if kind(name) not in ("released", "StableVideoDiffusionPipeline of diffusers"):
            make()
    accelerations = [acceleration for acceleration, _, _ in told.values()]
    assert [name for name in told if name.startswith("+")] == [
        "+ bf16",
        "+ CUDA graphs",
        "+ channels last",
        "+ compile",
    ]
    assert accelerations[:5] == [
        AccelerationConfig(dtype="float32"),
        AccelerationConfig(dtype="bfloat16"),
        AccelerationConfig(dtype="bfloat16", mode="graphs"),
        AccelerationConfig(dtype="bfloat16", mode="graphs", channels_last=True),
        AccelerationConfig(dtype="bfloat16", mode="compile", channels_last=True),
    ]
    assert set(accelerations[5:]) == {accelerations[4]}
    students = [sampler for name, (_, sampler, _) in told.items() if "student" in name]
    assert all((sampler.solver, sampler.sigma_min) == ("euler", 1.0) for sampler in students)


def test_each_way_has_its_figures(figures):
    assert {kind(row["name"]) for row in figures["rows"]} == MEASURED
    assert all(row["seconds"] > 0 and row["utilisation"] > 0 and row["peak_gb"] > 0 for row in figures["rows"])
    assert figures["machine"]


def test_every_row_is_of_a_whole_plan():
    found = {kind(name): make for name, make in ways(NARROW, CPU, full=False, steps=1, compile_rows=False).items()}
    for name in ("released", "ours", "with small decoders", "StableVideoDiffusionPipeline of diffusers"):
        way, at_work = found[name](), []
        for module in (module for part in way.parts for module in part.modules()):
            module.register_forward_hook(lambda module, *_, to=at_work: to.append(type(module).__name__))
        with torch.no_grad():
            way.run()
        assert {"CLIPVisionModelWithProjection", "Encoder"} <= set(at_work), name
        assert {"TemporalDecoder", "DecoderTiny"} & set(at_work), name


def test_the_released_way_computes_about_four_times_as_much(figures):
    released, ours = (figures["rows"][i] for i in (0, 1))
    assert (released["passes"], ours["passes"]) == (16, 4)
    assert 1.2 < released["tflop"] / ours["tflop"] < 4.1  # the VAE's share is the same in both


def test_what_changes_the_numbers_says_how_much(figures):
    rows = {row["name"]: row for row in figures["rows"]}
    assert rows["ours: 2 steps, fp32"]["difference"] == {"latents": 0, "colours": 0, "points": 0}
    decoded = rows["with small decoders"]["difference"]
    assert decoded["latents"] == 0
    assert min(decoded["colours"], decoded["points"]) > 0.1
    assert all(0 < value < 0.5 for value in rows["with features reused at every other step"]["difference"].values())
    assert figures["rows"][0]["difference"] is None


def test_reused_features_and_small_decoders_save_work(figures):
    tflop = {row["name"]: row["tflop"] for row in figures["rows"]}
    small, one = "with small decoders", "with 1 step of a student, small decoders"
    assert tflop["with features reused at every other step"] < tflop["ours: 2 steps, fp32"]
    assert tflop[one] < tflop[small] < tflop["ours: 2 steps, fp32"]


def nothing(_):
    """A plan of another network."""


def measured(way, ceilings=None):
    return _measure("a way", lambda: way, CPU, 2, ceilings or {torch.float32: 1.0})[0]


def test_a_compiled_way_is_timed_as_compiled_and_counted_as_plain():
    calls = []

    def backend(graph, _):
        def compiled(*arguments):
            calls.append(1)
            return graph(*arguments)

        return compiled

    def multiply(a):
        return a @ a

    a, fast = torch.eye(8), torch.compile(multiply, backend=backend)
    row = measured(Way(run=lambda: nothing(fast(a)), parts=(), passes=0, plain=lambda: multiply(a)))
    assert len(calls) == 3  # once to compile, then twice timed
    assert row.tflop == pytest.approx(2 * 8**3 / 1e12)


def test_the_peak_is_that_of_a_plan_alone():
    layer = torch.nn.Linear(4, 1_000_000, bias=False)  # 16 MB
    before = np.ones(100_000_000, np.uint8)
    del before  # what the process held once is none of it
    row = measured(Way(run=lambda: nothing(np.ones(50_000_000, np.uint8)), parts=(layer, layer), passes=0, plain=int))
    assert row.peak_gb == pytest.approx(0.066, abs=0.01)


def test_operations_are_held_against_the_ceiling_of_their_own_type():
    a = torch.eye(64)

    def run():
        _, _ = a @ a, a.bfloat16() @ a.bfloat16()

    assert flops_of(run) == {torch.float32: 2 * 64**3, torch.bfloat16: 2 * 64**3}
    way = Way(run=run, parts=(), passes=0, plain=run)
    row = measured(way, {torch.float32: 1.0, torch.bfloat16: 1e9})
    assert row.utilisation * row.seconds == pytest.approx(2 * 64**3 / 1e12, rel=1e-3)


def test_memory_is_saved_by_computing_activations_twice_and_by_adapters():
    config = SvdConfig(network=small_config(), height=64, width=64, frames=4)
    kept, twice, adapters = (
        training_memory(config, **way)
        for way in ({"checkpoint_gradients": False}, {}, {"lora_rank": 2, "checkpoint_gradients": False})
    )
    assert 0 < twice.activations < 0.7 * kept.activations
    assert adapters.optimizer < 0.6 * kept.optimizer
    assert kept.total > kept.activations + kept.optimizer


def meta_model(**changes):
    with torch.device("meta"):
        return SvdModel.untrained(replace(NARROW, **changes), vae_widths=(32, 32, 64), vae_layers=1, clip=_NARROW_CLIP)


def test_a_plan_holds_its_weights_and_the_fullest_of_its_activations():
    model = meta_model()
    in_bfloat16 = sum(part.numel() for p in (model.network, model.rgb, model.clip) for part in p.parameters())
    in_float32 = sum(part.numel() for part in model.points.parameters())
    plan, short = inference_memory(model), inference_memory(meta_model(frames=2))
    assert plan.weights * 1e9 == pytest.approx(2 * in_bfloat16 + 4 * in_float32)
    assert 0 < short.activations < 0.8 * plan.activations
    assert plan.total == plan.weights + plan.activations


def test_parts_that_wait_elsewhere_leave_memory_to_the_one_at_work():
    whole, apart = (inference_memory(meta_model(), offload=offload) for offload in (False, True))
    assert apart.total < whole.total
    assert apart.weights < 0.8 * whole.weights


def test_what_is_computed_without_values_is_what_tensors_with_values_hold():
    model = small_model(height=64, width=64, frames=4)
    with torch.device("meta"):
        ghost = SvdModel.untrained(model.config, vae_widths=(32, 32), vae_layers=1, clip=SMALL_CLIP)
    computed = inference_memory(ghost).activations
    model.network.bfloat16()
    model.place_coders(CPU, torch.bfloat16)
    held = _HeldBytes(model.parameters())
    before, (noisy, level, condition, context) = held.now, inputs(model.config.network, frames=4, size=32)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), held:
        model.network(noisy.bfloat16(), level, condition.bfloat16(), context.bfloat16())
    assert computed * 1e9 == pytest.approx(held.peak - before, rel=0.05)
