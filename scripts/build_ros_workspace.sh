#!/usr/bin/env bash
# Builds ros2_ws: our messages, the nodes, and, where ROS is the wheels from PyPI, the messages that PyPI lacks.
# Does nothing where it is up to date. Python files are linked, not copied: editing one needs no new build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../ros2_ws"
venv=$(cd .. && pwd)/.venv
python=$venv/bin/python

say() { printf '\033[1m[ros2_ws]\033[0m %s\n' "$*" >&2; }
colcon() { "$python" -c "import sys; from colcon_core.command import main; sys.exit(main())" "$@"; }

packages=(src/robo4d_msgs src/robo4d)
if [[ -z ${ROS_DISTRO:-} ]]; then
    packages+=(pip_only/*_msgs)
    export AMENT_PREFIX_PATH=$venv
fi

stamp=$({
    find -L "${packages[@]}" -type f -not -path '*/robo4d_ros*/*' -not -name '*.pyc' -exec sha256sum {} + | sort
    echo "$venv ${ROS_DISTRO:-wheels}"
    "$python" --version
    cat "$venv/.stamp" 2>/dev/null || true
} | sha256sum)
if [[ $(cat install/.stamp 2>/dev/null) == "$stamp" ]]; then
    exit
fi

if [[ -z ${ROS_DISTRO:-} ]]; then
    # The message wheels name the include folders of the machine that built them, and CMake refuses paths that do not exist.
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
    sed -i -E "s#/opt/python/[^;\"]*/numpy/_core/include#$numpy#g; s#/opt/python/[^;\"]*/include/python3\.[0-9]+#$include#g" \
        "$venv"/share/*/cmake/export_*__rosidl_generator_pyExport.cmake
fi

say "building the ROS packages: $(basename -a "${packages[@]}" | paste -sd' ') (about two minutes the first time)"
started=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! colcon build --base-paths "${packages[@]}" --symlink-install \
    --cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$python" --no-warn-unused-cli >"$log" 2>&1; then
    cat "$log" >&2
    say "the build failed; its log is above. A clean start: rm -rf ros2_ws/{build,install,log} && scripts/build_ros_workspace.sh"
    exit 1
fi
echo "$stamp" >install/.stamp
say "built in $((SECONDS - started)) s"
