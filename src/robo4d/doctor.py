"""`robo4d doctor`: what this machine has, and what to do about each thing missing."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robo4d import shipped

_TRY_LIMIT_S = 60.0
"""For each thing that is tried in a process of its own [s]."""
_SOCKET_BUFFER = 4 * 2**20
"""What our transport over a network asks of each socket [bytes]: four images of 640 x 480."""
_FREE_DISK_GB = 5.0
"""An environment takes 4 GB."""
_FOUNDATIONPOSE = {"NVIDIA": "foundation_pose_nvidia", "NVlabs": "estimater"}
"""The module of each library."""


class Level(Enum):
    """How a finding is to be taken."""

    OK = "[green]ok"
    WARNING = "[yellow]limited"
    """Something will not work, but the demo does."""
    MISSING = "[red]missing"
    """The demo cannot run."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    subject: str
    level: Level
    found: str
    remedy: str = ""
    """What to do about it."""


def doctor() -> int:
    """Look at everything that Robo4D uses on this machine. The exit status is 0 if the demo can run."""
    table = Table("", "", "found", "what to do", box=None, header_style="bold")
    console, missing = Console(), 0
    with console.status("looking"):
        for finding in examine():
            table.add_row(finding.subject, finding.level.value, escape(finding.found), escape(finding.remedy))
            missing += finding.level is Level.MISSING
    console.print(table)
    console.print("[bold]the demo can run: make demo" if not missing else f"[bold red]{missing} missing for the demo")
    return int(missing > 0)


def examine() -> Iterator[Finding]:
    """All findings, one after the other."""
    yield _python()
    yield _compiler()
    yield _ros()
    yield _messages()
    yield _transport()
    yield _sockets()
    yield _simulator()
    yield _tracker()
    for library, module in _FOUNDATIONPOSE.items():
        yield _foundationpose(library, module)
    yield _sam2()
    yield _torch()
    yield _weights()
    yield _disk()


def _python() -> Finding:
    level = Level.OK if sys.version_info >= (3, 10) else Level.MISSING
    remedy = "" if level is Level.OK else "install Python 3.10 or newer, then make setup PYTHON=python3.x"
    return Finding(subject="Python", level=level, found=f"{platform.python_version()} in {sys.prefix}", remedy=remedy)


def _compiler() -> Finding:
    lacking = [tool for tool in ("g++", "cmake", "make") if shutil.which(tool) is None]
    return Finding(
        subject="compiler",
        level=Level.WARNING if lacking else Level.OK,
        found=f"no {', '.join(lacking)}" if lacking else "g++, cmake, make",
        remedy=f"sudo apt-get install {' '.join(lacking)}: the messages are built with them" if lacking else "",
    )


def _ros() -> Finding:
    if importlib.util.find_spec("rclpy") is None:
        remedy = "make setup; or source /opt/ros/jazzy/setup.bash, then make setup"
        return Finding(subject="ROS 2", level=Level.MISSING, found="no rclpy", remedy=remedy)
    distro = os.environ.get("ROS_DISTRO")
    source = f"{distro}, installed" if distro else f"Jazzy from PyPI (rclpy {_version('ros-rclpy')})"
    rmw = _rmw()
    ran = _run_python("import rclpy; print(rclpy.get_rmw_implementation_identifier())")  # loads it
    if ran.returncode != 0:
        return Finding(
            subject="ROS 2",
            level=Level.MISSING,
            found=f"{source}, but {rmw} cannot be loaded: {_last_line(ran)}",
            remedy=f"unset RMW_IMPLEMENTATION, or sudo apt-get install ros-$ROS_DISTRO-{rmw.replace('_', '-')}",
        )
    if distro not in (None, "jazzy"):
        return Finding(subject="ROS 2", level=Level.WARNING, found=f"{source}, {rmw}", remedy="tested with Jazzy only")
    return Finding(subject="ROS 2", level=Level.OK, found=f"{source}, {rmw}")


def _messages() -> Finding:
    lacking = _lacking("robo4d_msgs", "tf2_msgs", "control_msgs", "vision_msgs")
    return Finding(
        subject="messages",
        level=Level.MISSING if lacking else Level.OK,
        found=f"no {', '.join(lacking)}" if lacking else "built and sourced",
        remedy="start through scripts/with_ros, or source scripts/env.sh; build with make setup" if lacking else "",
    )


def _transport() -> Finding:
    profile, builtin = (os.environ.get(n) for n in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"))
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    if not _rmw().startswith("rmw_fastrtps"):
        return Finding(
            subject="transport",
            level=Level.WARNING,
            found=f"{_rmw()}'s own, discovery range {reach}; our settings are for rmw_fastrtps only",
            remedy="unset RMW_IMPLEMENTATION, or see with `robo4d bench transport` how many images arrive",
        )
    if profile and not Path(profile).is_file():
        remedy = "unset FASTRTPS_DEFAULT_PROFILES_FILE, then source scripts/env.sh"
        found = f"no file {profile}: Fast DDS's own, which loses half of the images"
        return Finding(subject="transport", level=Level.WARNING, found=found, remedy=remedy)
    if profile and reach == "SUBNET":
        return Finding(subject="transport", level=Level.OK, found=f"{Path(profile).name}: shared memory and loopback")
    if builtin and reach == "SUBNET":
        return Finding(subject="transport", level=Level.OK, found=f"{builtin}, heard on the network")
    return Finding(
        subject="transport",
        level=Level.WARNING,
        found=f"Fast DDS's own, discovery range {reach}",
        remedy="it loses half of the images: source scripts/env.sh, or start through scripts/with_ros",
    )


def _sockets() -> Finding:
    names = ("net.core.rmem_max", "net.core.wmem_max")
    values = [int(Path("/proc/sys", *name.split(".")).read_text()) for name in names if _is_linux()]
    if all(value >= _SOCKET_BUFFER for value in values):
        return Finding(subject="sockets", level=Level.OK, found=f"buffers of {_SOCKET_BUFFER >> 20} MB and more")
    return Finding(
        subject="sockets",
        level=Level.WARNING,
        found=f"buffers of {min(values) >> 10} kB at most",
        remedy=f"only for cameras over a network: sudo sysctl -w {' '.join(f'{n}={_SOCKET_BUFFER}' for n in names)}",
    )


def _simulator() -> Finding:
    """Draw one image, in a process of its own: a broken OpenGL may end it."""
    program = (
        "from robo4d.sim.playback import Stage; import mujoco, os; "
        "mujoco.GLContext(64, 64).make_current(); print(mujoco.__version__, os.environ['MUJOCO_GL'])"
    )
    ran = _run_python(program)
    if ran.returncode == 0:
        version, backend = ran.stdout.split()[-2:]
        return Finding(subject="simulator", level=Level.OK, found=f"MuJoCo {version}, OpenGL through {backend}")
    return Finding(
        subject="simulator",
        level=Level.MISSING,
        found=_last_line(ran) or "no OpenGL",
        remedy="sudo apt-get install libegl1 libgl1 libgl1-mesa-dri; without EGL: MUJOCO_GL=osmesa and libosmesa6",
    )


def _tracker() -> Finding:
    parts = ("embreex", "open3d", "small_gicp")
    if lacking := _lacking(*parts):
        return Finding(subject="tracker", level=Level.MISSING, found=f"no {', '.join(lacking)}", remedy="make setup")
    found = f"embedded, with {', '.join(f'{name} {_version(name)}' for name in parts)}"
    return Finding(subject="tracker", level=Level.OK, found=found)


def _foundationpose(library: str, module: str) -> Finding:
    subject, variable = f"FoundationPose, {library}", f"FOUNDATIONPOSE_{library.upper()}"
    python = os.environ.get(variable)
    if not python:
        remedy = f"optional, on a GPU: install it, then export {variable}=/path/to/its/python (docs/ros.md)"
        return Finding(subject=subject, level=Level.OK, found="not set up", remedy=remedy)
    ran = _run_python(f"import {module}", python)
    if ran.returncode == 0:
        return Finding(subject=subject, level=Level.OK, found=f"{module} in {python}")
    return Finding(
        subject=subject,
        level=Level.WARNING,
        found=f"{variable}: {_last_line(ran) or 'cannot be started'}",
        remedy="see the head of models/robo4d_models/tracking/servers/*.py, or use the embedded tracker",
    )


def _sam2() -> Finding:
    if importlib.util.find_spec("transformers") is None:
        remedy = "optional: make setup installs it with the extra `models`"
        return Finding(subject="SAM 2", level=Level.OK, found="no transformers", remedy=remedy)
    found = f"by transformers {_version('transformers')}"
    classes = "Sam2VideoInferenceSession, Sam2VideoModel"
    ran = _run_python(f"from transformers.models.sam2_video.modeling_sam2_video import {classes}")
    if ran.returncode == 0:
        return Finding(subject="SAM 2", level=Level.OK, found=found)
    return Finding(
        subject="SAM 2",
        level=Level.WARNING,
        found=f"{found}, whose classes cannot be imported: {_last_line(ran)}",
        remedy="make setup brings a transformers that has them; the tracker does without",
    )


def _torch() -> Finding:
    ran = _run_python(
        "import torch; c = torch.cuda; print(torch.__version__, end=';'); "
        "print(c.get_device_name() if c.is_available() else '')"
    )
    if ran.returncode != 0:
        return Finding(subject="torch", level=Level.WARNING, found="not installed", remedy="make setup TORCH=...")
    version, gpu = ran.stdout.strip().split(";")
    if gpu:
        return Finding(subject="torch", level=Level.OK, found=f"{version} on {gpu}")
    remedy = "the preset `svd` wants a GPU: make setup TORCH='torch==... --index-url ...'; `tiny` does without"
    return Finding(subject="torch", level=Level.WARNING, found=f"{version}, no GPU", remedy=remedy)


def _weights() -> Finding:
    sums = shipped.TINY / "SHA256SUMS"
    hashes = [line.split() for line in sums.read_text().splitlines()] if sums.is_file() else []
    wrong = [name for sha256, name in hashes if _sha256(shipped.TINY / name) != sha256]
    if hashes and not wrong:
        return Finding(subject="weights", level=Level.OK, found=f"tiny, {len(hashes)} files as in SHA256SUMS")
    return Finding(
        subject="weights",
        level=Level.WARNING,
        found=f"tiny: {', '.join(wrong) or 'SHA256SUMS'} missing or damaged",
        remedy="get them anew: git checkout models/checkpoints/tiny",
    )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.home()).free / 1e9
    level = Level.OK if free_gb > _FREE_DISK_GB else Level.WARNING
    remedy = "" if level is Level.OK else f"episodes and environments need more than {_FREE_DISK_GB:.0f} GB"
    return Finding(subject="disk", level=level, found=f"{free_gb:.0f} GB free", remedy=remedy)


def _run_python(program: str, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=_TRY_LIMIT_S, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess([], 1, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([], 1, "", f"no answer within {_TRY_LIMIT_S:.0f} s")


def _last_line(ran: "subprocess.CompletedProcess[str]") -> str:
    """What a program said last on its standard error: of a traceback, the error."""
    return (ran.stderr.strip().splitlines() or [""])[-1]


def _lacking(*modules: str) -> list[str]:
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _rmw() -> str:
    return os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def _is_linux() -> bool:
    return sys.platform == "linux"
