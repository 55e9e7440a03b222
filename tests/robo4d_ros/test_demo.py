"""What `make demo` tells and writes; the loop that it shows is tested in test_loop.py."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import pytest
from robo4d_ros import demo

from robo4d import RgbdPair

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


def test_what_the_cameras_saw_becomes_a_sheet_and_a_video(tmp_path):
    pair = RgbdPair.example()
    pairs = [
        RgbdPair(n=replace(pair.n, stamp_ns=t * 10**8), m=replace(pair.m, stamp_ns=t * 10**8)) for t in range(1, 9)
    ]
    demo._write(pairs, demo.DemoConfig(out=tmp_path / "sheets" / "demo"), reached=True)
    sheet, frames = iio.imread(tmp_path / "sheets" / "demo.png"), iio.imread(tmp_path / "sheets" / "demo.mp4")
    assert sheet.std() > 0
    assert len(frames) == len(pairs)
