import os
import subprocess
import sys

from robo4d import doctor
from robo4d.doctor import Level


def test_what_is_missing_is_named_with_its_remedy_and_ends_with_status_1():
    program = "import sys; from robo4d.doctor import doctor; sys.exit(doctor())"
    broken = {"PYTHONPATH": "", "AMENT_PREFIX_PATH": "", "MUJOCO_GL": "nonsense", "COLUMNS": "250"}
    report = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **broken}, capture_output=True, text=True, check=False
    )
    assert report.returncode == 1
    assert "no robo4d_msgs" in report.stdout
    assert "make setup" in report.stdout
    assert "libegl1" in report.stdout
    assert "2 missing for the demo" in report.stdout


def test_transports_that_lose_images_are_found(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    finding = doctor._transport()
    assert finding.level is Level.WARNING
    assert "with_ros" in finding.remedy


def test_every_problem_has_a_remedy():
    for finding in doctor.examine():
        assert finding.level is Level.OK or finding.remedy, finding.subject


def test_a_foundationpose_that_cannot_be_imported_is_told_with_what_is_wrong(monkeypatch):
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", sys.executable)
    finding = doctor._foundationpose("NVIDIA", "foundation_pose_nvidia")
    assert finding.level is Level.WARNING
    assert "No module named 'foundation_pose_nvidia'" in finding.found
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", "/no/python")
    assert "/no/python" in doctor._foundationpose("NVIDIA", "foundation_pose_nvidia").found
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", sys.executable)
    assert doctor._foundationpose("NVIDIA", "json").level is Level.OK
