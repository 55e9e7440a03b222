# shellcheck shell=bash
# What every process needs to find ROS, the messages and the other nodes. Source it (bash) before Python starts:
#     source scripts/env.sh
# `scripts/with_ros COMMAND...` runs one command in it. What the caller has set already is kept.
_robo4d=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case :$PATH: in
    *:"$_robo4d/.venv/bin":*) ;;
    *) PATH=$_robo4d/.venv/bin:$PATH ;;
esac
if [ -z "${ROS_DISTRO:-}" ]; then # no ROS installation is sourced: ROS is the wheels in .venv
    case :${AMENT_PREFIX_PATH:-}: in
        *:"$_robo4d/.venv":*) ;;
        *) export AMENT_PREFIX_PATH=$_robo4d/.venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} ;;
    esac
elif compgen -G "$_robo4d/.venv/lib/python3*/site-packages/ros_wheels_bootstrapper*" >/dev/null; then
    echo "env.sh: ROS $ROS_DISTRO is sourced, but .venv holds the ROS wheels, and the two do not mix." \
        "Use a shell without ROS, or remake the environment: rm -rf .venv && make setup" >&2
fi
if [ -f "$_robo4d/ros2_ws/install/local_setup.bash" ]; then
    # shellcheck disable=SC1091
    source "$_robo4d/ros2_ws/install/local_setup.bash"
else
    echo "env.sh: the ROS workspace is not built; run: make setup" >&2
fi

# Nodes on this machine alone: every socket is bound to loopback, and images of 2 cameras x 640 x 480 at 30 Hz arrive
# complete, against half of them with Fast DDS's own settings (`robo4d bench transport`). SUBNET, because LOCALHOST would
# replace these transports by its own, which listen on all interfaces. For nodes on several machines, export before:
#     FASTRTPS_DEFAULT_PROFILES_FILE= FASTDDS_BUILTIN_TRANSPORTS='LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true'
case ${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp} in
    rmw_fastrtps_*)
        export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE-$_robo4d/ros2_ws/src/robo4d/robo4d_ros/this_machine.xml}
        export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE-SUBNET}
        ;;
    *) export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE-LOCALHOST} ;;
esac
unset _robo4d
