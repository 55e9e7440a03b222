"""The ROS workspace as colcon sees it, and as it lies on the disk after the build."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/build_ros_workspace.sh"


def colcon_list(*arguments):
    """The packages that a plain colcon finds in the workspace: {name: build type}."""
    code = "import sys; from colcon_core.command import main; sys.exit(main())"
    lines = subprocess.run(
        [sys.executable, "-c", code, "--log-base", os.devnull, "list", *arguments],
        cwd=ROOT / "ros2_ws",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {line.split("\t")[0]: line.split("\t")[-1] for line in lines}


def test_plain_colcon_finds_our_two_packages_as_ros_packages():
    assert colcon_list() == {"robo4d": "(ros.ament_python)", "robo4d_msgs": "(ros.ament_cmake)"}


def test_the_standard_interfaces_that_pypi_lacks_are_found_on_request_only():
    assert colcon_list("--base-paths", *(str(path) for path in (ROOT / "ros2_ws/pip_only").glob("*_msgs"))) == {
        name: "(ros.ament_cmake)" for name in ("control_msgs", "tf2_msgs", "vision_msgs")
    }


def test_the_launch_folder_of_the_package_is_the_one_of_the_repository():
    assert (ROOT / "ros2_ws/src/robo4d/launch").readlink() == Path("../../../launch")


def test_the_executables_are_the_node_modules():
    tree = ast.parse((ROOT / "ros2_ws/src/robo4d/setup.py").read_text())
    executables = next(
        ast.literal_eval(line.value)
        for line in tree.body
        if isinstance(line, ast.Assign) and line.targets[0].id == "NODES"
    )
    modules = (ROOT / "ros2_ws/src/robo4d/robo4d_ros").glob("*_node.py")
    assert {module.stem.removesuffix("_node") for module in modules} == set(executables)


def test_core_and_models_may_import_nothing_that_the_nodes_have_from_ros():
    text = (ROOT / "pyproject.toml").read_text()
    forbidden = {
        name for part in re.findall(r"forbidden_modules = (\[[^]]*])", text) for name in ast.literal_eval(part)
    }
    package = (ROOT / "ros2_ws/src/robo4d/package.xml").read_text()
    depended_on = set(re.findall(r"<(?:exec_)?depend>(\w+)<", package)) - {"rviz2"}  # which is no module
    assert depended_on
    assert depended_on - forbidden == set()


def test_a_build_without_links_holds_every_file_of_the_package(tmp_path):
    package = tmp_path / "robo4d"
    shutil.copytree(ROOT / "ros2_ws/src/robo4d", package, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path / "built"], cwd=package, check=True
    )
    files = {str(path.relative_to(package)) for path in package.glob("robo4d_ros/**/*") if path.is_file()}
    assert "robo4d_ros/this_machine.xml" in files
    assert [name for name in sorted(files) if not (tmp_path / "built" / name).exists()] == []


def test_every_folder_that_is_installed_holds_files():
    package = ROOT / "ros2_ws/src/robo4d"
    folders = re.findall(r'files\("(\w+)"\)', (package / "setup.py").read_text())
    assert folders
    assert [name for name in folders if not any(path.is_file() for path in (package / name).glob("*"))] == []


def test_an_unchanged_workspace_is_not_built_again():
    started = time.monotonic()
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert time.monotonic() - started < 2
