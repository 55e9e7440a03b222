"""The launch file, where `launch` is installed; without it, test_bringup.py starts the same table of nodes."""

import importlib.util
import signal
import sys
from pathlib import Path

import pytest
from robo4d_ros.bringup.graph import arguments
from std_srvs.srv import Trigger

FILE = Path(__file__).parents[2] / "launch/bringup.launch.py"
PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

source = PythonLaunchDescriptionSource(sys.argv[1])
given = [tuple(text.split(":=", 1)) for text in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)]))
sys.exit(service.run())
"""
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="ros2 launch needs a ROS installation; PyPI has none"
)


def test_the_launch_file_declares_every_argument_of_the_table():
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    declared = get_launch_description_from_python_launch_file(str(FILE)).get_launch_arguments()
    assert [argument.name for argument in declared] == [name for name, *_ in arguments()]
    for argument, (_, _, doc, _) in zip(declared, arguments(), strict=True):
        assert argument.description.startswith(doc)


def test_the_launch_file_starts_the_simulation_and_stops_it(start, probe, tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text("/**/sim:\n  ros__parameters: {width: 16, height: 16, camera_rate_hz: 0.1}\n")
    given = ["sim:=true", "seed:=4", "namespace:=cell", f"params_file:={small}"]
    process = start([sys.executable, "-c", PROGRAM, FILE, *given])
    assert not probe.call(Trigger, "cell/sim/success").success
    assert probe.get_parameters("cell/sim", "seed", "width") == [4, 16]
    process.signal(signal.SIGINT)
    assert process.wait() == 0
