#!/usr/bin/env bash
# Makes .venv and the ROS workspace; does nothing where they are up to date. Called by every make target.
#   PYTHON  the interpreter to build on (>= 3.10)      TORCH  pip's arguments for torch; without an index: its CPU build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3} TORCH=${TORCH:-torch==2.13.0}
cpu_wheels=https://download.pytorch.org/whl/cpu

say() { printf '\033[1m[setup]\033[0m %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- What the system must have: a compiler and cmake for the ROS messages, GL for the cameras, X11, OpenMP and USB for open3d.
has_library() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q "$1"; }
missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
has_library libEGL.so.1 || missing+=(libegl1)
has_library libGL.so.1 || missing+=(libgl1)
compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || compgen -G '/usr/lib/*/libgallium*' >/dev/null || missing+=(libgl1-mesa-dri)
has_library libgomp.so.1 || missing+=(libgomp1)
has_library libX11.so.6 || missing+=(libx11-6)
has_library libusb-1.0.so.0 || missing+=(libusb-1.0-0)
if ! command -v "$PYTHON" >/dev/null; then
    missing+=(python3 python3-venv python3-dev)
elif [[ $("$PYTHON" -c 'import sys; print(sys.prefix)') == /usr ]]; then # Debian's own Python comes in parts
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    "$PYTHON" -c 'import os, sysconfig; sys = sysconfig.get_path("include"); os.stat(sys + "/Python.h")' 2>/dev/null || missing+=(python3-dev)
fi
if ((${#missing[@]})); then
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if ! command -v apt-get >/dev/null; then
        die "these are missing, install them with your system's package manager (names as in Debian): ${missing[*]}"
    elif [[ $EUID == 0 ]]; then
        say "installing ${missing[*]}"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive "${install[@]}" -qq >/dev/null
    elif sudo -n true 2>/dev/null; then
        say "installing ${missing[*]}"
        sudo -n apt-get update -qq && sudo -n env DEBIAN_FRONTEND=noninteractive "${install[@]}" -qq >/dev/null
    else
        die "some system packages are missing; paste this line and start again:
    sudo apt-get update && sudo ${install[*]}"
    fi
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$("$PYTHON" --version) is too old: Python 3.10 or newer is needed; choose one with PYTHON=python3.x"

# --- The Python environment. Beside a ROS installation it sees ROS's packages and takes no ROS wheel.
locks=(-r requirements/base.lock)
venv_options=()
if [[ -n ${ROS_DISTRO:-} ]] && "$PYTHON" -c 'import rclpy' 2>/dev/null; then
    venv_options=(--system-site-packages)
else
    # PyPI has ROS for the machines and Pythons that are named here.
    [[ $(uname -m) == x86_64 ]] ||
        die "PyPI has ROS for x86_64 only, this is $(uname -m): install ROS 2 Jazzy (https://docs.ros.org/en/jazzy/Installation.html),
    then: rm -rf .venv && source /opt/ros/jazzy/setup.bash && make setup"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info >= (3, 15))' ||
        die "$("$PYTHON" --version) is too new: PyPI has ROS for Python 3.10 to 3.14; choose one with PYTHON=python3.x"
    locks+=(-r requirements/ros.lock)
fi
stamp=$(cat requirements/*.lock pyproject.toml <(echo "$TORCH" "${locks[@]}") <("$PYTHON" --version) | sha256sum)
if [[ $(cat .venv/.stamp 2>/dev/null) != "$stamp" ]]; then
    say "making .venv with $("$PYTHON" --version) (some 2 GB of downloads the first time)"
    "$PYTHON" -m venv "${venv_options[@]}" .venv
    touch .venv/COLCON_IGNORE
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    if [[ $TORCH != *index-url* ]]; then
        # PyPI's own build brings gigabytes of CUDA. Where both are found, pip takes the CPU's: 2.13.0+cpu > 2.13.0.
        if timeout 20 "$PYTHON" -c "import urllib.request as u; u.urlopen('$cpu_wheels/torch/', timeout=10)" 2>/dev/null; then
            TORCH+=" --extra-index-url $cpu_wheels"
        else
            say "$cpu_wheels is not reached: torch comes from pip's own index, where it may be the build for CUDA"
        fi
    fi
    # shellcheck disable=SC2086  # TORCH holds several arguments
    .venv/bin/python -m pip install -q $TORCH
    .venv/bin/python -m pip install -q --no-deps --require-hashes "${locks[@]}"
    .venv/bin/python -m pip install -q --no-deps --no-build-isolation -e .
    .venv/bin/python -m pip check >/dev/null || say "pip finds conflicts: $(.venv/bin/python -m pip check | head -n 3)"
    echo "$stamp" >.venv/.stamp
fi

# --- The ROS messages and nodes, and the robot's meshes.
scripts/build_ros_workspace.sh
.venv/bin/python -m robo4d.sim.panda
