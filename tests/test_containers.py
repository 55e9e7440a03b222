"""The containers cannot be built without an engine; what can be tested without one is."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n(?:#.*\n)*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line.strip()
]


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


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
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    assert {service["build"]["target"] for service in services.values()} == {"dev", "runtime"} <= targets
    devcontainer = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert devcontainer["build"]["target"] == "dev"
    assert (ROOT / ".devcontainer" / devcontainer["build"]["dockerfile"]).exists()
