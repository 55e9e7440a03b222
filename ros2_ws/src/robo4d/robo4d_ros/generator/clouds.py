"""Point clouds of a predicted video, as sensor_msgs/PointCloud2."""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray as Array
from sensor_msgs.msg import PointCloud2, PointField

from robo4d.video import PointmapVideo
from robo4d_ros.conversions import header, packed

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
_FIELDS = [
    PointField(name=name, offset=_POINT.fields[name][1], datatype=PointField.FLOAT32, count=1) for name in _POINT.names
]
"""As the point cloud library and RViz have it: the colour is 0xRRGGBB in the bits of a float."""


def frame_cloud(video: PointmapVideo, frame: int) -> PointCloud2:
    """Both views of one frame in their own colours."""
    valid = video.valid[:, frame]
    return _cloud(video, video.points[:, frame][valid], video.rgb[:, frame][valid])


def time_cloud(video: PointmapVideo, *, most_points: int) -> PointCloud2:
    """Both views of all frames, coloured by time from blue to red, thinned to a number of points."""
    count = len(video.times_s)
    share = np.linspace(0, 1, count)
    colours = 255 * np.stack([share, 1 - np.abs(2 * share - 1), 1 - share], axis=-1)
    rgb = np.broadcast_to(colours[None, :, None, None].astype(np.uint8), video.rgb.shape)
    points, colours = video.points[video.valid], rgb[video.valid]
    step = max(1, -(-len(points) // most_points))
    return _cloud(video, points[::step], colours[::step])


def _cloud(video: PointmapVideo, points: Float32[Array, "n 3"], rgb: UInt8[Array, "n 3"]) -> PointCloud2:
    data = np.zeros(len(points), _POINT)
    data["x"], data["y"], data["z"] = points.T
    red, green, blue = rgb.T.astype(np.uint32)
    data["rgb"] = red << 16 | green << 8 | blue
    return PointCloud2(
        header=header(video.stamp_ns, video.frame),
        height=1,
        width=len(points),
        fields=_FIELDS,
        point_step=_POINT.itemsize,
        row_step=data.nbytes,
        data=packed("B", data),
        is_dense=True,
    )
