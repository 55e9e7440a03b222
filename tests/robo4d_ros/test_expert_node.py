"""The scripted expert through the topics of a real robot: in another process it does what it does in the cell."""

import sys

import pytest
from robo4d_ros import conversions
from ros_probe import Process
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

TASK = "store_cereal_box_under_shelf"
DEADLINE_S = 180.0
"""The episode takes 30 s of simulated time."""


@pytest.fixture
def node(start):
    """Start a node of ours with parameters."""

    def node(name: str, **parameters: object) -> Process:
        given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        return start([sys.executable, "-m", f"robo4d_ros.{name}_node", "--ros-args", *given])

    return node


def test_the_expert_does_its_task_over_topics_and_actions(node, probe):
    node("sim", task=TASK, seed=3, width=16, height=16, camera_rate_hz=0.1, real_time_factor=3.0)
    expert = node("expert", task=TASK)
    expert.wait_for_line("is done", DEADLINE_S)
    assert probe.call(Trigger, "sim/success").success
    bodies = probe.listen(TFMessage, "sim/bodies").wait()
    assert conversions.ns_from_time(bodies.transforms[0].header.stamp) < 120e9
