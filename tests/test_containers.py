"""The containers cannot be built without an engine; what can be tested without one is."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from robo4d_ros import bringup

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n(?:#.*\n)*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line.strip()
]


COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
DEVCONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


def started_by(command: list[str]) -> set[str]:
    """The nodes that `ros2 launch robo4d bringup.launch.py ARGUMENT...` starts."""
    assert command[:4] == ["ros2", "launch", "robo4d", "bringup.launch.py"]
    return {spec.executable for spec in bringup.nodes(bringup.parse(dict(a.split(":=") for a in command[4:])))}


@pytest.mark.parametrize("script", arguments_of("RUN"))
def test_every_run_instruction_is_valid_bash(script):
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_every_file_that_is_copied_exists():
    for arguments in arguments_of("COPY"):
        *sources, _ = [word for word in arguments.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source


def test_every_script_and_module_that_is_run_exists():
    text = " ".join(arguments for _, arguments in INSTRUCTIONS)
    scripts = re.findall(r"\bscripts/\w+(?:\.sh)?", text)
    modules = re.findall(r"python -m (robo4d\S*)", text)
    assert scripts
    assert modules
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"
    for module in modules:
        assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").exists(), module


def test_everything_is_pinned():
    assert all("@sha256:" in image or image.split()[0] == "base" for image in arguments_of("FROM"))
    assert all("--snapshot" in run for run in arguments_of("RUN") if "apt-get update" in run)
    assert "--require-hashes" in DOCKERFILE


def test_the_last_user_of_each_target_is_not_root():
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        users = re.findall(r"^USER (\S+)", stage, flags=re.MULTILINE)
        assert not users or users[-1] == "$UID"


def test_compose_and_devcontainer_build_targets_that_exist():
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", DOCKERFILE, flags=re.MULTILINE))
    services = COMPOSE["services"].values()
    assert {service["build"]["target"] for service in services} == {"dev", "runtime"} <= targets
    assert DEVCONTAINER["build"]["target"] == "dev"
    assert (ROOT / ".devcontainer" / DEVCONTAINER["build"]["dockerfile"]).exists()
    assert re.search(rf"useradd .*\b{DEVCONTAINER['remoteUser']}\b", DOCKERFILE)


def test_what_the_image_and_compose_start_is_the_loop_on_a_real_cell():
    loop = {"executor", "generator", "tracker", "planner", "session"}
    assert started_by(json.loads(arguments_of("CMD")[-1])) == loop
    command = COMPOSE["services"]["bringup"]["command"]
    default = re.sub(r"\$\{BRINGUP:-(.*)\}", r"\1", command)
    assert started_by(shlex.split(default)) == loop
    assert started_by(shlex.split(command.replace("${BRINGUP:-generator:=tiny}", "sim:=true expert:=true"))) == {
        "sim",
        "expert",
    }


def test_everything_that_runs_in_the_image_finds_ros_and_the_health_check_is_a_command():
    (entry,), (check,) = arguments_of("ENTRYPOINT"), arguments_of("HEALTHCHECK")
    sourced = ["/ros_entrypoint.sh", "scripts/with_ros"]  # the first is the base image's, and sources /opt/ros
    command = json.loads(check.split("CMD")[1])
    assert json.loads(entry) == command[:2] == sourced
    subprocess.run([*command[1:], "--help"], cwd=ROOT, check=True, capture_output=True)


def test_the_development_container_is_set_up_by_what_sets_up_a_machine():
    bash, option, script = DEVCONTAINER["postCreateCommand"]
    ros = "source /opt/ros/jazzy/setup.bash"  # is not on every machine
    assert script.startswith(ros)
    dry = script.replace(ros, "true").replace("make ", "make --dry-run ")
    shown = subprocess.run([bash, option, dry], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "scripts/setup.sh" in shown
