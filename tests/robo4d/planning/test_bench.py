import json

import pytest

from robo4d.cli import main
from robo4d.planning.planner import STAGES


def test_the_benchmark_writes_its_figures(tmp_path):
    file = tmp_path / "planner.json"
    arguments = ["bench", "planner", "--repetitions", "2", "--trials", "5", "--trajectories", "3", "--json", str(file)]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--robot", "fr3", "--seed-offset", "3"])
    assert not exit_.value.code
    figures = json.loads(file.read_text())
    assert figures["seed_offset"] == 3
    assert figures["plans_over_a_limit"] == 0
    assert sum(figures["verdicts"].values()) == 3
    assert figures["cpu_ms_total"] >= max(figures[f"cpu_ms_{stage}"] for stage in STAGES)
    assert figures["wall_ms_total"] > 0
    assert figures["worst_frame_mm_robust"] > 0
