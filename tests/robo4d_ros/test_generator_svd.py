"""The generator as a process with a folder of weights of the svd preset, small and made here, and two cameras."""

import sys

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from robo4d_msgs.action import Generate
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_ros import conversions, images
from robo4d_ros.execution.arm_listener import LATCHED
from ros_probe import Process
from sensor_msgs.msg import CameraInfo, Image
from small_svd import showing_everywhere, small_model, wall
from std_msgs.msg import Header

POINT = (0.25, -0.5, 1.25)
STEPS = 5
START_S = 120.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    showing_everywhere(small_model(), POINT).save(folder)
    return folder


@pytest.fixture
def generator(weights, probe):
    given = {"generator": weights, "svd.sampler.steps": STEPS, "max_age_s": 10.0, "max_wait_s": 30.0}
    arguments = [part for name, value in given.items() for part in ("-p", f"{name}:={value}")]
    process = Process([sys.executable, "-m", "robo4d_ros.generator_node", "--ros-args", *arguments])
    process.wait_for_line("ready to generate", START_S)
    publishers = {
        view: [
            probe.publisher(kind, f"camera_{view}/{name}", 5)
            for kind, name in (
                (CameraInfo, "color/camera_info"),
                (Image, "color/image_raw"),
                (Image, "aligned_depth_to_color/image_raw"),
            )
        ]
        for view in "nm"
    }

    def expose():
        stamp = probe.node.get_clock().now().to_msg()
        for seed, (view, (camera_info, colour, depth)) in enumerate(publishers.items()):
            frame, header = wall(seed=seed), Header(frame_id=f"optical_{view}", stamp=stamp)
            camera_info.publish(images.camera_info_from_intrinsics(frame.intrinsics, header))
            colour.publish(images.image_from_rgb(frame.rgb, header))
            depth.publish(images.image_from_depth(frame.depth, header))

    timer = probe.node.create_timer(0.2, expose)
    yield process
    probe.do(timer.cancel)
    process.close()


def test_a_folder_of_weights_makes_videos_without_any_pose_and_can_be_cancelled_between_steps(generator, probe):
    videos = probe.listen(VideoMessage, "predicted/video", LATCHED)
    goal = probe.send_goal(Generate, "generate", Generate.Goal(seed=3))
    answer = goal.result()
    assert answer.result.message == ""
    assert [(f.step, f.steps) for f in goal.feedback] == [(step, STEPS) for step in range(STEPS + 1)]
    video = conversions.video_from_message(videos.wait(lambda m: m.header.stamp == answer.result.observation))
    assert video.rgb.shape == (2, 2, 16, 32, 3)
    assert video.frame == "optical_n"
    np.testing.assert_allclose(video.times_s, [0.5, 1.0])
    np.testing.assert_allclose(video.points, np.broadcast_to(POINT, video.points.shape), atol=1e-5)

    goal = probe.send_goal(Generate, "generate", Generate.Goal(seed=4))
    goal.cancel()
    answer = goal.result()
    assert (answer.status, answer.result.message) == (GoalStatus.STATUS_CANCELED, "cancelled")
