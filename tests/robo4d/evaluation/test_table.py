import json

import numpy as np

from robo4d.evaluation.table import means, report


def test_means_leave_out_what_was_not_measured():
    rows = [{"psnr": float("inf"), "tcp": float("nan")}, {"psnr": 20.0, "tcp": 4.0}]
    assert means(rows) == {"psnr": 60.0, "tcp": 4.0}
    assert np.isnan(means(rows[:1])["tcp"])


def test_a_file_holds_whole_rows_as_strict_json(tmp_path, capsys):
    row = {"row": "oracle", "miou": 0.25, "by_step": [1.0, float("nan")], "hidden": float("nan")}
    report([row], ["miou"], tmp_path / "new" / "table.jsonl")
    printed = capsys.readouterr().out
    assert "hidden" not in printed
    assert printed.split() == ["oracle", "miou", "0.25"]
    written = json.loads((tmp_path / "new" / "table.jsonl").read_text())
    assert written == {"row": "oracle", "miou": 0.25, "by_step": [1.0, None], "hidden": None}
