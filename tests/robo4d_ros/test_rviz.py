"""The RViz configuration: RViz is not on PyPI, so it is held against what RViz knows and what our nodes publish."""

import sys
from pathlib import Path

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from robo4d_ros.generator.clouds import frame_cloud
from ros_probe import Probe, Process
from sensor_msgs.msg import JointState

from robo4d.video import PointmapVideo

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "ros2_ws/src/robo4d/rviz/robo4d.rviz").read_text())
COMMON = {"Class", "Enabled", "Name", "Value"}
MARKERS = {"Namespaces", "Topic"}
KNOWN = {  # rviz 14: the properties that each class of display reads, and the type that it subscribes to
    "rviz_common/Group": (COMMON | {"Displays"}, None),
    "rviz_default_plugins/Grid": (
        COMMON
        | {"Alpha", "Cell Size", "Color", "Line Style", "Normal Cell Count", "Offset"}
        | {"Plane", "Plane Cell Count", "Reference Frame"},
        None,
    ),
    "rviz_default_plugins/RobotModel": (
        COMMON
        | {"Alpha", "Collision Enabled", "Description Source", "Description Topic", "TF Prefix"}
        | {"Update Interval", "Visual Enabled"},
        "std_msgs/msg/String",
    ),
    "rviz_default_plugins/TF": (
        COMMON | {"Frame Timeout", "Marker Scale", "Show Arrows", "Show Axes", "Show Names", "Update Interval"},
        None,
    ),
    "rviz_default_plugins/MarkerArray": (COMMON | MARKERS, "visualization_msgs/msg/MarkerArray"),
    "rviz_default_plugins/PointCloud2": (
        COMMON
        | {"Alpha", "Color Transformer", "Decay Time", "Position Transformer", "Selectable", "Size (m)", "Style"}
        | {"Topic"},
        "sensor_msgs/msg/PointCloud2",
    ),
    "rviz_default_plugins/Image": (COMMON | {"Normalize Range", "Topic"}, "sensor_msgs/msg/Image"),
    "rviz_default_plugins/Path": (
        COMMON | {"Alpha", "Buffer Length", "Color", "Line Style", "Line Width", "Offset", "Pose Style", "Topic"},
        "nav_msgs/msg/Path",
    ),
}
QOS = {"Depth", "Durability Policy", "History Policy", "Reliability Policy", "Value"}
POLICIES = {
    "Volatile": DurabilityPolicy.VOLATILE,
    "Transient Local": DurabilityPolicy.TRANSIENT_LOCAL,
    "Reliable": ReliabilityPolicy.RELIABLE,
    "Best Effort": ReliabilityPolicy.BEST_EFFORT,
}
NODES = {"sim": ["width:=32", "height:=24"], "generator": ["generator:=oracle"], "tracker": [], "planner": []}


def displays(items):
    for item in items:
        yield item
        yield from displays(item.get("Displays", []))


DISPLAYS = list(displays(CONFIG["Visualization Manager"]["Displays"]))
SUBSCRIBED = {
    topic["Value"]: (KNOWN[item["Class"]][1], topic)
    for item in DISPLAYS
    if (topic := item.get("Topic", item.get("Description Topic")))
}


def test_every_display_is_one_that_rviz_knows_with_properties_that_it_reads():
    for item in DISPLAYS:
        assert set(item) <= KNOWN[item["Class"]][0], item["Name"]
    for _, topic in SUBSCRIBED.values():
        assert set(topic) - {"Filter size"} == QOS


def test_what_people_are_to_see_is_there():
    assert set(SUBSCRIBED) >= {"/predicted/points", "/predicted/points_all", "/left/markers", "/left/path_raw"}
    assert set(SUBSCRIBED) >= {"/left/path", "/cell/markers", "/plan/markers", "/robot_description", "/plan/ghost"}
    assert set(SUBSCRIBED) >= {"/predicted/view_n/image", "/camera_n/color/image_raw", "/camera_m/color/image_raw"}
    assert CONFIG["Visualization Manager"]["Global Options"]["Fixed Frame"] == "world"


def test_point_clouds_have_the_channels_that_the_display_colours_by():
    fields = [field.name for field in frame_cloud(PointmapVideo.example(), 0).fields]
    assert fields == ["x", "y", "z", "rgb"]


@pytest.fixture(scope="module")
def graph():
    """All nodes that publish for viewers, and one that asks about them."""
    processes = [
        Process([sys.executable, "-m", f"robo4d_ros.{name}_node", "--ros-args", *(x for p in given for x in ("-p", p))])
        for name, given in NODES.items()
    ]
    probe = Probe("watcher")
    yield probe
    probe.close()
    for process in processes:
        process.close()


@pytest.mark.parametrize("topic", SUBSCRIBED)
def test_every_topic_is_published_with_this_type_and_to_these_subscribers(graph, topic):
    kind, settings = SUBSCRIBED[topic]
    states = graph.listen(JointState, "left/joint_states")  # a clock: discovery tells nobody when it is done
    states.wait(lambda _: graph.node.count_publishers(topic))
    durability, reliability = (POLICIES[settings[f"{name} Policy"]] for name in ("Durability", "Reliability"))
    for publisher in graph.node.get_publishers_info_by_topic(topic):
        assert publisher.topic_type == kind
        # What is published once must be kept for those who come later, and what is not kept cannot be asked for.
        assert publisher.qos_profile.durability == durability
        assert reliability in (publisher.qos_profile.reliability, ReliabilityPolicy.BEST_EFFORT)
    graph.forget()
