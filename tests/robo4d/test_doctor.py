import os
import subprocess
import sys

from robo4d import doctor
from robo4d.doctor import Level


def run_doctor(**environment: str) -> "subprocess.CompletedProcess[str]":
    program = "import sys; from robo4d.doctor import doctor; sys.exit(doctor())"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "COLUMNS": "250", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_without_the_messages_cannot_run_the_demo_and_learns_why():
    report = run_doctor(PYTHONPATH="", AMENT_PREFIX_PATH="")
    assert report.returncode == 1
    assert "no robo4d_msgs" in report.stdout
    assert "make setup" in report.stdout


def test_transports_that_lose_images_are_found(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    finding = doctor._transport()
    assert finding.level is Level.WARNING
    assert "with_ros" in finding.remedy


def test_a_broken_opengl_is_found_without_ending_the_report():
    report = run_doctor(MUJOCO_GL="osmesa", PYOPENGL_PLATFORM="osmesa", LD_LIBRARY_PATH="/nowhere")
    assert "simulator" in report.stdout
    assert "disk" in report.stdout


def test_every_problem_has_a_remedy():
    for finding in doctor.examine():
        assert finding.level is Level.OK or finding.remedy, finding.subject
