"""What `make demo` tells; the loop that it shows is tested in test_loop.py."""

import subprocess
import time
from pathlib import Path

import pytest
from robo4d_ros import demo

ROOT = Path(__file__).parents[2]


def test_make_tells_the_demo_when_it_was_called():
    before_s = time.time()
    shown = subprocess.run(
        ["make", "--no-print-directory", "--old-file=setup", "demo", """ROS=sh -c 'echo "$$ROBO4D_MAKE_STARTED_S"'"""],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert before_s - 0.01 <= float(shown.strip()) <= time.time()


def test_the_time_since_make_is_told_where_it_is_known(monkeypatch):
    monkeypatch.delenv("ROBO4D_MAKE_STARTED_S", raising=False)
    assert demo._since_make() == ""
    monkeypatch.setenv("ROBO4D_MAKE_STARTED_S", f"{time.time() - 42:.9f}")
    assert float(demo._since_make().split()[0].lstrip("(")) == pytest.approx(42, abs=1)
