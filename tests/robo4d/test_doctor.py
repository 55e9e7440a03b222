import hashlib
import os
import subprocess
import sys

import pytest

from robo4d import doctor
from robo4d.doctor import Level


def test_what_is_missing_is_named_with_its_remedy_and_ends_with_status_1():
    # Without its look at SAM 2, which takes seconds.
    program = "import sys; from robo4d import doctor as d; d._sam2 = d._disk; sys.exit(d.doctor())"
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
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    finding = doctor._transport()
    assert finding.level is Level.WARNING
    assert "with_ros" in finding.remedy


@pytest.mark.parametrize(
    ("variables", "found", "remedy"),
    [
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/no/profile.xml"}, "no file /no/profile.xml", "scripts/env.sh"),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "for rmw_fastrtps only", "unset RMW_IMPLEMENTATION"),
    ],
)
def test_a_transport_that_is_set_but_not_used_is_found(monkeypatch, variables, found, remedy):
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    finding = doctor._transport()
    assert finding.level is Level.WARNING
    assert found in finding.found
    assert remedy in finding.remedy


def test_an_rmw_that_cannot_be_loaded_is_found(monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_of_nobody_cpp")
    finding = doctor._ros()
    assert finding.level is Level.MISSING
    assert "rmw_of_nobody_cpp cannot be loaded" in finding.found
    assert "rmw-of-nobody-cpp" in finding.remedy


@pytest.mark.parametrize(
    ("look", "module"),
    [("_messages", "vision_msgs"), ("_tracker", "open3d"), ("_tracker", "small_gicp"), ("_tracker", "embreex")],
)
def test_each_module_that_is_lacking_is_named(monkeypatch, look, module):
    found = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == module else found(name))
    finding = getattr(doctor, look)()
    assert finding.level is Level.MISSING
    assert module in finding.found


def test_weights_are_held_against_their_hashes(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shipped, "TINY", tmp_path)
    assert "SHA256SUMS missing" in doctor._weights().found
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'plan').hexdigest()}  plan.safetensors\n")
    assert "plan.safetensors missing or damaged" in doctor._weights().found
    (tmp_path / "plan.safetensors").write_bytes(b"plan")
    assert doctor._weights().level is Level.OK
    (tmp_path / "plan.safetensors").write_bytes(b"plam")
    assert doctor._weights().level is Level.WARNING


def test_every_problem_has_a_remedy(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: it is [/broken]\n")
    monkeypatch.setattr(doctor, "_run_python", lambda *_: failed)
    findings = {finding.subject: finding for finding in doctor.examine()}
    for finding in findings.values():
        assert finding.level is Level.OK or finding.remedy, finding.subject
    for subject in ("ROS 2", "simulator", "SAM 2"):
        assert findings[subject].level is not Level.OK
        assert "ImportError: it is [/broken]" in findings[subject].found
    assert doctor.doctor() == 1


def test_a_foundationpose_that_cannot_be_imported_is_told_with_what_is_wrong(monkeypatch):
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", sys.executable)
    finding = doctor._foundationpose("NVIDIA", "foundation_pose_nvidia")
    assert finding.level is Level.WARNING
    assert "No module named 'foundation_pose_nvidia'" in finding.found
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", "/no/python")
    assert "/no/python" in doctor._foundationpose("NVIDIA", "foundation_pose_nvidia").found
    monkeypatch.setenv("FOUNDATIONPOSE_NVIDIA", sys.executable)
    assert doctor._foundationpose("NVIDIA", "json").level is Level.OK
