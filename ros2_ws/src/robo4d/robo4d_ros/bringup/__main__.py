"""`python -m robo4d_ros.bringup [name:=value ...]`: all nodes, where `ros2 launch` is not installed."""

import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from robo4d_ros.bringup.graph import NodeSpec, arguments, environment, nodes, parse
from robo4d_ros.bringup.supervisor import Command, Supervisor


def main(given: list[str]) -> int:
    """Start the nodes that the arguments ask for, and stay until they end."""
    if {"-h", "--help", "--show-args", "-s"} & set(given):
        _print_help()
        return 0
    try:
        if wrong := [text for text in given if ":=" not in text]:
            raise ValueError(f"arguments are given as name:=value, got {' '.join(wrong)}; --help lists them")
        config = parse(dict(text.split(":=", 1) for text in given))
        specs = nodes(config)
        with tempfile.TemporaryDirectory(prefix="robo4d_") as folder:
            commands = [
                Command(name=spec.executable, arguments=command_line(spec, Path(folder)), on_exit=spec.on_exit)
                for spec in specs
            ]
            return Supervisor(commands, environment(config)).run()
    except ValueError as error:
        print(f"bringup: {error}", file=sys.stderr)  # noqa: T201
        return 2


def command_line(spec: NodeSpec, folder: Path) -> list[str]:
    """The command that starts a node as `ros2 launch` would; its parameters are written to the folder."""
    file = folder / f"{spec.executable}.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(spec.parameters)}}))
    command = [*program(spec), *spec.arguments, "--ros-args", "-r", f"__node:={spec.executable}"]
    if spec.namespace:
        command += ["-r", f"__ns:=/{spec.namespace.strip('/')}"]
    for parameters in (str(file), spec.params_file):
        command += ["--params-file", parameters] if parameters else []
    return [*command, "--log-level", spec.log_level]


def program(spec: NodeSpec) -> list[str]:
    """What runs a node: our interpreter, or the executable of another package."""
    if spec.package == "robo4d":
        return [sys.executable, "-m", "robo4d_ros", spec.executable]
    path = shutil.which(spec.executable)
    if path is None:
        raise ValueError(
            f"{spec.executable} is not installed: apt install ros-$ROS_DISTRO-{spec.package}, or leave it out"
        )
    return [path]


def _print_help() -> None:
    console = Console()
    console.print("usage: python -m robo4d_ros.bringup [name:=value ...]\n", markup=False, highlight=False)
    table = Table("argument", "default", "what it does", box=None, header_style="bold")
    for name, default, doc, choices in arguments():
        table.add_row(name, default or "''", f"{doc} ({', '.join(choices)})" if choices else doc)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
