"""docs/ros.md and docs/ros_reference.md say what the nodes are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robo4d.execution.watchdog import Condition

DOCS = Path(__file__).parents[2] / "docs"
PAGE, REFERENCE = (DOCS / "ros.md").read_text(), (DOCS / "ros_reference.md").read_text()
SECTIONS = {section.split("\n", 1)[0]: section for section in REFERENCE.split("\n## ")[1:]}
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_reference_is_that_of_the_nodes():
    run = subprocess.run(
        [sys.executable, "-m", "robo4d_ros.reference"], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == REFERENCE, "scripts/with_ros python -m robo4d_ros.reference > docs/ros_reference.md"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_parameters_of_the_examples_exist(example):
    for node, values in example.items():
        for name, value in values["ros__parameters"].items():
            (default,) = re.findall(rf"^\| `{re.escape(name)}` \| `(.*?)` \|", SECTIONS[node], re.MULTILINE)
            assert isinstance(value, type(yaml.safe_load(default)))


def test_every_fault_has_a_row():
    codes = set(re.findall(r"`([a-z_]+)` \|$", PAGE, re.MULTILINE))
    assert {condition.name.lower() for condition in Condition} <= codes


def test_every_topic_that_people_see_exists():
    shown = PAGE.split("## What people see")[1].split("\n## ")[0]
    topics = {t.replace("<arm>", "left") for t in re.findall(r"\(`([a-z_<>/]+)`", shown)}
    assert len(topics) > 8
    for topic in topics:
        assert f"| out | {topic} |" in REFERENCE
