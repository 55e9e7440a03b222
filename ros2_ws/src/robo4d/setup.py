"""The ROS package `robo4d`, for colcon. pip installs the same module through the pyproject.toml of the repository."""

from pathlib import Path

from setuptools import find_packages, setup

NODES = ["executor", "expert", "generator", "planner", "recorder", "session", "sim", "tracker"]
"""Executables: each is `main` of robo4d_ros.<name>_node."""


def files(folder: str) -> list[str]:
    """The files of a folder that are installed as they are."""
    return sorted(str(path) for path in Path(folder).glob("*") if path.is_file())


setup(
    name="robo4d_ros",
    version="0.1.0",
    description="The ROS 2 nodes of Robo4D",
    license="Apache-2.0",
    packages=find_packages(include=["robo4d_ros", "robo4d_ros.*"]),
    package_data={"robo4d_ros": ["this_machine.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/robo4d"]),
        ("share/robo4d", ["package.xml"]),
        ("share/robo4d/launch", files("launch")),
        ("share/robo4d/rviz", files("rviz")),
    ],
    zip_safe=False,
    entry_points={"console_scripts": [f"{name} = robo4d_ros.{name}_node:main" for name in NODES]},
)
