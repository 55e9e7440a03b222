import dataclasses
import json

import pytest
import torch
from robo4d_models.evaluate import evaluate
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.pipeline import TinyConfig
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from small_svd import small_model

from robo4d.tracking.clips import make_clips

REQUIRED = {
    "abs_rel_n", "abs_rel_m", "delta1_n", "delta1_m", "miou", "miou_robust", "miou_ceiling", "psnr",
    "gripper_point_mm", "tcp_error_mm",
}  # fmt: skip
FVD = {"fvd_n", "fvd_m", "fvd_paired_n", "fvd_paired_m"}


class MeanColour(torch.nn.Module):
    """In place of I3D: its features are the mean colours of the halves of a video."""

    def forward(self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False):
        assert (rescale, resize, return_features) == (False, False, True)
        return torch.cat([half.mean(dim=(2, 3, 4)) for half in x.chunk(2, dim=2)], dim=1)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    """A plan model that knows nothing, and no refiner."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    model = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64))
    checkpoints.save_weights(folder / "plan.safetensors", model.state_dict(), dataclasses.asdict(model.config))
    return folder


@pytest.fixture(scope="module")
def svd_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svd")
    small_model().save(folder)
    return folder


def rows_of(file):
    return {row["row"]: row for row in map(json.loads, file.read_text().splitlines())}


def test_missing_weights_are_named_before_hours_of_simulation(tmp_path):
    with pytest.raises(ValueError, match="robo4d train"):
        evaluate(checkpoint=str(tmp_path / "nowhere"), data=tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_a_missing_network_of_features_is_named_with_where_to_get_it(tiny_folder, tmp_path):
    with pytest.raises(ValueError, match="get i3d_torchscript"):
        evaluate(checkpoint=str(tiny_folder), data=tmp_path / "clips", i3d=tmp_path / "i3d.pt")
    (tmp_path / "i3d.pt").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="no TorchScript"):
        evaluate(checkpoint=str(tiny_folder), data=tmp_path / "clips", i3d=tmp_path / "i3d.pt")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two moments of a demonstration."""
    folder = tmp_path_factory.mktemp("eval") / "clips"
    make_clips(folder, count=2, seed_offset=7_000_000, workers=1, size=96)
    return folder


@pytest.mark.gl
def test_the_table_has_all_rows_and_columns_for_a_folder_of_tiny(tiny_folder, clips, tmp_path):
    file, pictures = tmp_path / "eval.jsonl", tmp_path / "pictures"
    evaluate(checkpoint=str(tiny_folder), data=clips, clips=1, json_file=file, pictures=pictures)
    rows = rows_of(file)
    assert list(rows) == ["static", str(tiny_folder), "oracle"]
    assert all(row.keys() >= REQUIRED and not row.keys() & FVD for row in rows.values())
    static, subject, oracle = rows.values()
    assert oracle["abs_rel_all_n"] == oracle["gripper_point_mm"] == 0
    assert all(row["miou_ceiling"] == oracle["miou"] for row in rows.values())
    assert oracle["cross_view_mm"] < 2
    assert oracle["tcp_error_mm"] < static["tcp_error_mm"]
    for reading in ("tcp", "plan_head", "fused"):
        assert len(subject[f"{reading}_error_by_step_mm"]) == TinyConfig().frames
    assert {path.suffix for path in pictures.iterdir()} == {".png", ".mp4"}
    assert (pictures / "errors_by_step.png").exists()


@pytest.mark.gl
def test_weights_of_svd_are_measured_by_the_same_table_and_features_of_videos_in_all_rows(svd_folder, clips, tmp_path):
    torch.jit.script(MeanColour()).save(str(tmp_path / "i3d.pt"))
    file = tmp_path / "eval.jsonl"
    evaluate(checkpoint=str(svd_folder), data=clips, clips=2, json_file=file, i3d=tmp_path / "i3d.pt")
    rows = rows_of(file)
    assert all(row.keys() >= REQUIRED | FVD and row["clips"] == 2 for row in rows.values())
    static, subject, oracle = rows.values()
    assert oracle["fvd_n"] == pytest.approx(0, abs=1e-6)
    assert oracle["fvd_paired_m"] == oracle["abs_rel_n"] == 0
    assert subject["fvd_paired_n"] > static["fvd_paired_n"] > 0
    assert subject["fvd_m"] > static["fvd_m"] > 0
    assert len(subject["tcp_error_by_step_mm"]) == 2  # as many frames as it predicts
