"""The set-up, run beside a Python that pretends: nothing is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/setup.sh"
AS_VERSION = "import sys; sys.version_info = tuple(map(int, sys.argv[1].split('.'))); exec(sys.argv[2])"
PYTHON = f"""#!/usr/bin/env bash
case "$*" in
    --version) echo "Python $VERSION" ;;
    "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m "*) echo "$*" >>calls ;;
    *urlopen*) exit "$UNREACHABLE" ;;
    *"import rclpy"*) [[ -n "$ROS_DISTRO" ]] ;;
    *) exec "{sys.executable}" -c "{AS_VERSION}" "$VERSION" "$2" ;;
esac
"""
CPU_WHEELS = "--extra-index-url https://download.pytorch.org/whl/cpu"


@pytest.fixture
def set_up(tmp_path):
    """Run the script in an empty repository: set_up(VARIABLE=value...) gives status, messages, and calls of pip."""
    for folder in ("scripts", "requirements", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    for name in ("requirements/base.lock", "requirements/ros.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    programs = {"bin/python": PYTHON, "bin/uname": "#!/bin/sh\necho $MACHINE\n", "scripts/build_ros_workspace.sh": ""}
    for name, text in programs.items():
        (tmp_path / name).write_text(text or "#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    def run(**variables):
        pretended = {"VERSION": "3.12.3", "MACHINE": "x86_64", "UNREACHABLE": "0", "ROS_DISTRO": "", "TORCH": ""}
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | pretended | {"PYTHON": str(tmp_path / "bin/python"), "PATH": path} | variables
        done = subprocess.run(
            ["bash", tmp_path / "scripts/setup.sh"], env=environment, capture_output=True, text=True, check=False
        )
        calls = tmp_path / "calls"
        return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []

    return run


@pytest.mark.parametrize(
    ("pretended", "message"),
    [
        ({"VERSION": "3.9.2"}, "Python 3.9.2 is too old: Python 3.10 or newer is needed"),
        ({"VERSION": "3.15.0"}, "Python 3.15.0 is too new: PyPI has ROS for Python 3.10 to 3.14"),
        ({"MACHINE": "aarch64"}, "x86_64 only, this is aarch64: install ROS 2 Jazzy"),
    ],
)
def test_what_the_wheels_are_not_for_is_refused_with_what_to_do(set_up, pretended, message):
    status, said, calls = set_up(**pretended)
    assert status == 1
    assert message in said
    assert calls == []


@pytest.mark.parametrize("pretended", [{"VERSION": "3.15.0"}, {"MACHINE": "aarch64"}])
def test_beside_a_ros_installation_the_ros_wheels_do_not_matter(set_up, pretended):
    status, _, calls = set_up(ROS_DISTRO="jazzy", **pretended)
    assert status == 0
    assert not any("ros.lock" in call for call in calls)


def test_torch_is_the_build_for_the_cpu_unless_an_index_is_given(set_up):
    status, _, calls = set_up()
    assert status == 0
    assert calls[0] == f"-m pip install -q torch==2.13.0 {CPU_WHEELS}"
    chosen = "torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130"
    assert f"-m pip install -q {chosen}" in set_up(TORCH=chosen)[2]


def test_where_the_wheels_for_the_cpu_are_not_reached_torch_comes_from_pips_own_index(set_up):
    status, said, calls = set_up(UNREACHABLE="1")
    assert status == 0
    assert calls[0] == "-m pip install -q torch==2.13.0"
    assert "is not reached" in said


def test_an_environment_that_is_up_to_date_is_left_alone_and_asks_nobody(set_up):
    first = set_up()[2]
    status, said, calls = set_up(UNREACHABLE="1")
    assert (status, said) == (0, "")
    assert [call for call in calls[len(first) :] if "pip" in call] == []
