"""The types that we built are, on the wire, the types that they claim to be.

Three sources of type hashes are held against each other: what rosidl wrote when it built our definitions, what rosbags
computes from the same files, and, for the standard types, what upstream's files gave (UPSTREAM).
"""

import json
import re
from pathlib import Path

import pytest
from ament_index_python import get_package_share_path
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

UPSTREAM = {
    # github.com/ros2/geometry2, branch jazzy (tf2_msgs 0.36.4)
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52",
    "tf2_msgs/msg/TF2Error": "db2485e7d6a0ec75",
    # github.com/ros-controls/control_msgs, branch jazzy (5.8.0)
    "control_msgs/msg/GripperCommand": "57eb8f326c9889ca",
    "control_msgs/msg/JointTolerance": "c254f9cece0f3b73",
    "control_msgs/msg/JointComponentTolerance": "739ea7566931944d",
    "control_msgs/action/GripperCommand_Goal": "607d9f41eb241e19",
    "control_msgs/action/GripperCommand_Result": "bf512d5aa6a0e4fe",
    "control_msgs/action/GripperCommand_Feedback": "8f7c520077bab528",
    "control_msgs/action/FollowJointTrajectory_Goal": "8a9060704b269608",
    "control_msgs/action/FollowJointTrajectory_Result": "8002e99ed2c14c6f",
    "control_msgs/action/FollowJointTrajectory_Feedback": "3fd0aaecf7172512",
    "control_msgs/action/ParallelGripperCommand_Goal": "412807b6b6acf2bf",
    "control_msgs/action/ParallelGripperCommand_Result": "51acbcd62aa44097",
    "control_msgs/action/ParallelGripperCommand_Feedback": "ed6f7c4e5aea7f96",
    # github.com/ros-perception/vision_msgs, branch ros2 (4.1.1)
    "vision_msgs/msg/ObjectHypothesis": "51da43cec11c0195",
    "vision_msgs/msg/ObjectHypothesisWithPose": "41c12344c0396c48",
    "vision_msgs/msg/BoundingBox3D": "bbb73a65c163d7f9",
    "vision_msgs/msg/Detection3D": "ddd703be132ab0b6",
    "vision_msgs/msg/Detection3DArray": "793f5eab9595ac1c",
}
"""Start of the type hashes (RIHS01) that rosbags computes from the upstream definitions: noted once, from the versions
above, and so independent of our files."""

WORKSPACE = Path(__file__).parents[2] / "ros2_ws"
PACKAGES = [WORKSPACE / "src/robo4d_msgs", *sorted((WORKSPACE / "pip_only").glob("*_msgs"))]
SECTIONS = {
    ".msg": ("",),
    ".srv": ("_Request", "_Response"),
    ".action": ("_Goal", "_Result", "_Feedback"),
}


def built_hashes(package: str) -> dict[str, str]:
    """The type hashes that rosidl wrote when it built the package."""
    descriptions = [json.loads(path.read_text()) for path in get_package_share_path(package).glob("*/*.json")]
    return {entry["type_name"]: entry["hash_string"] for each in descriptions for entry in each["type_hashes"]}


def hashes_of_definitions(package: Path) -> dict[str, str]:
    """The type hashes that rosbags computes from the files of a package; those that they name are Jazzy's, or ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    messages = {path.stem for path in package.glob("msg/*.msg")}
    types = {}
    for path in (path for suffix in SECTIONS for path in package.glob(f"*/*{suffix}")):
        # In an action or a service, rosbags takes a name without a package for one of the same folder.
        text = re.sub(rf"(?m)^({'|'.join(messages)})\b", rf"{package.name}/msg/\1", path.read_text())
        suffixes = SECTIONS[path.suffix]
        for suffix, section in zip(suffixes, re.split(r"(?m)^---$", text), strict=True):
            name = f"{package.name}/{path.parent.name}/{path.stem}{suffix}"
            # It also files what is neither message nor action under msg/.
            (types[name],) = get_types_from_msg(section, name).values()
    store.register(types)
    return {name: store.hash_rihs01(name) for name in types}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_type_is_built_as_its_definition_says(package):
    defined, built = hashes_of_definitions(package), built_hashes(package.name)
    assert defined
    assert {name: built[name] for name in defined} == defined


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda package: package.name)
def test_every_standard_type_is_defined_as_upstream_defines_it(package):
    defined = hashes_of_definitions(package)
    noted = {name: start for name, start in UPSTREAM.items() if name.startswith(f"{package.name}/")}
    assert {name: hash_.removeprefix("RIHS01_")[:16] for name, hash_ in defined.items()} == noted


@pytest.mark.parametrize("name", ["tf2_msgs/msg/TFMessage", "tf2_msgs/msg/TF2Error"])
def test_the_hashes_noted_here_are_those_of_jazzy(name):
    assert get_typestore(Stores.ROS2_JAZZY).hash_rihs01(name).startswith(f"RIHS01_{UPSTREAM[name]}")


def test_constants_are_those_of_jazzy():
    from control_msgs.action import FollowJointTrajectory
    from control_msgs.msg import JointComponentTolerance
    from tf2_msgs.msg import TF2Error

    result = FollowJointTrajectory.Result
    assert [
        result.SUCCESSFUL,
        result.INVALID_GOAL,
        result.INVALID_JOINTS,
        result.OLD_HEADER_TIMESTAMP,
        result.PATH_TOLERANCE_VIOLATED,
        result.GOAL_TOLERANCE_VIOLATED,
    ] == [0, -1, -2, -3, -4, -5]
    axes = JointComponentTolerance
    assert [axes.X_AXIS, axes.Y_AXIS, axes.Z_AXIS, axes.TRANSLATION, axes.ROTATION] == [1, 2, 3, 4, 5]
    assert [TF2Error.NO_ERROR, TF2Error.LOOKUP_ERROR, TF2Error.TRANSFORM_ERROR] == [0, 1, 6]


def test_gripper_actions_carry_the_fields_of_franka_msgs():
    from robo4d_msgs.action import Grasp, Move
    from robo4d_msgs.msg import GraspEpsilon

    assert GraspEpsilon.get_fields_and_field_types() == {"inner": "double", "outer": "double"}
    assert (GraspEpsilon().inner, GraspEpsilon().outer) == (0.005, 0.005)
    assert list(Move.Goal.get_fields_and_field_types()) == ["width", "speed"]
    assert list(Grasp.Goal.get_fields_and_field_types()) == ["width", "epsilon", "speed", "force"]
    for action in (Move, Grasp):
        assert list(action.Result.get_fields_and_field_types()) == ["success", "error"]
        assert list(action.Feedback.get_fields_and_field_types()) == ["current_width"]
