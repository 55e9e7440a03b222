"""All nodes: `ros2 launch robo4d bringup.launch.py sim:=true`; --show-args lists the arguments.

What is started, and with which parameters, is the table in robo4d_ros/bringup/graph.py.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from robo4d_ros import bringup
from robo4d_ros.bringup.graph import arguments

from launch import LaunchDescription

RESTART_DELAY_S = 2.0


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=doc, choices=choices or None)
        for name, default, doc, choices in arguments()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context):
    values = {name: LaunchConfiguration(name).perform(context) for name, *_ in arguments()}
    config = bringup.parse(values)
    variables = [SetEnvironmentVariable(*item) for item in bringup.environment(config).items()]
    return [*variables, *(process(spec) for spec in bringup.nodes(config))]


def process(spec):
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.executable,
        namespace=spec.namespace,
        parameters=[dict(spec.parameters), *([spec.params_file] if spec.params_file else [])],
        arguments=[*spec.arguments, "--ros-args", "--log-level", spec.log_level],
        output="screen",
        emulate_tty=True,
        respawn=spec.on_exit == "restart",
        respawn_delay=RESTART_DELAY_S,
        on_exit=Shutdown(reason=f"{spec.executable} ended") if spec.on_exit == "shutdown" else None,
    )
