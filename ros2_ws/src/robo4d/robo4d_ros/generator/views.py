"""The newest video for those who watch: played in a loop, and all of it at once."""

from collections.abc import Mapping

from rclpy.node import Node
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_msgs.msg import RgbdPair as PairMessage
from sensor_msgs.msg import Image, PointCloud2

from robo4d.rgbd import RgbdPair
from robo4d.track import GripperTrack
from robo4d.video import PointmapVideo
from robo4d_ros.conversions import header, message_from_pair, message_from_track, message_from_video
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.generator.clouds import frame_cloud, time_cloud
from robo4d_ros.images import image_from_rgb

_MOST_POINTS = 60_000
"""In the cloud of all frames."""
_VIEWS = ("n", "m")


class VideoViews:
    """Publishes a video with its observation once, and its frames again and again as long as somebody looks."""

    def __init__(self, node: Node, period_s: float, arms: tuple[str, ...]) -> None:
        """Show a frame of the newest video every so many seconds."""
        self._video: PointmapVideo | None = None
        self._frame = 0
        self._observation_out = node.create_publisher(PairMessage, "predicted/observation", LATCHED)
        self._video_out = node.create_publisher(VideoMessage, "predicted/video", LATCHED)
        self._all = node.create_publisher(PointCloud2, "predicted/points_all", LATCHED)
        self._points = node.create_publisher(PointCloud2, "predicted/points", 2)
        self._told = {arm: node.create_publisher(TrackMessage, f"predicted/{arm}/track", LATCHED) for arm in arms}
        self._images = [node.create_publisher(Image, f"predicted/view_{view}/image", 2) for view in _VIEWS]
        node.create_timer(period_s, self._show_next)

    def publish(self, video: PointmapVideo, pair: RgbdPair, told: Mapping[str, GripperTrack]) -> None:
        """A new video, and where the generator has drawn the grippers, as far as it tells; in any thread."""
        for arm, track in told.items():
            if arm in self._told:
                self._told[arm].publish(message_from_track(track))
        self._observation_out.publish(message_from_pair(pair))
        self._video_out.publish(message_from_video(video))
        self._video = video
        self._all.publish(time_cloud(video, most_points=_MOST_POINTS))

    def _show_next(self) -> None:
        video = self._video
        if video is None:
            return
        self._frame = (self._frame + 1) % len(video.times_s)
        if self._points.get_subscription_count():
            self._points.publish(frame_cloud(video, self._frame))
        for view, publisher in enumerate(self._images):
            if publisher.get_subscription_count():
                frame = f"predicted_view_{_VIEWS[view]}"
                publisher.publish(image_from_rgb(video.rgb[view, self._frame], header(video.stamp_ns, frame)))
