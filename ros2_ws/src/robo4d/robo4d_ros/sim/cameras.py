"""The simulated RGB-D cameras: drawn in a thread of their own, so that physics never waits for an image."""

import copy
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robo4d_msgs.srv import InjectFault
from sensor_msgs.msg import CameraInfo, Image

from robo4d.geometry import Camera
from robo4d.history import History
from robo4d.sim.cell import Cell
from robo4d.sim.render import Renderer
from robo4d.sim.snapshot import Snapshot
from robo4d_ros import conversions, images
from robo4d_ros.process import Worker
from robo4d_ros.sim.faults import Faults
from robo4d_ros.sync import CameraTopics

_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
"""As camera drivers publish: subscribers choose between all images and new ones."""
_REMEMBERED_S = 20.0
"""How long the state that an image shows is kept [s]."""
F = InjectFault.Request


def optical_frame(camera: str) -> str:
    """The frame of a camera's images."""
    return f"{camera}_color_optical_frame"


class SimCameras:
    """Publishes colour, registered depth and calibration of each camera.

    Args:
        node: The node.
        cameras: By name.
        rate_hz: Images a second, as far as the machine can draw them.
        depth_encoding: Depth in metres (32FC1) or in millimetres (16UC1).
        faults: What is broken.
        look: Calls its argument with the cell and the time [ns] while the cell stands still.
    """

    def __init__(
        self,
        node: Node,
        cameras: dict[str, Camera],
        *,
        rate_hz: float,
        depth_encoding: Literal["32FC1", "16UC1"],
        faults: Faults,
        look: Callable[[Callable[[Cell, int], Any]], Any],
    ) -> None:
        self._cameras, self._period_s, self._depth_encoding = cameras, 1 / rate_hz, depth_encoding
        self._faults, self._look = faults, look
        self._publishers = {name: _publishers(node, CameraTopics.of(name)) for name in cameras}
        self._frozen: dict[str, list[Any]] = {}
        self.forget()
        self._renderer: Renderer | None = None
        self._model: Any = None
        self._stopped = threading.Event()
        self._worker = Worker(node, "cameras", self._run)

    def start(self) -> None:
        """Begin to publish."""
        self._worker.start()

    def place(self, cameras: dict[str, Camera]) -> None:
        """See from somewhere else, from the next image on. To be called while the cell stands still."""
        self._cameras = cameras

    def forget(self) -> None:
        """Another episode begins: nobody may go on from what was seen before. To be called as `place`."""
        self._seen: History[tuple[str, Snapshot]] = History(span_s=_REMEMBERED_S)

    def seen(self, stamp_ns: int) -> tuple[str, Snapshot] | None:
        """Task and state of the cell that the images of a stamp [ns] show, 0 for the newest; None where not known.

        To be called while the cell stands still.
        """
        found = self._seen.nearest(stamp_ns) if stamp_ns else self._seen.newest()
        return found[1] if found and stamp_ns in (0, found[0]) else None

    def close(self) -> None:
        """Stop publishing."""
        self._stopped.set()
        self._worker.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period_s, time.monotonic())
            self._publish_all()
        if self._renderer:
            self._renderer.close()

    def _see(self, cell: Cell, stamp_ns: int) -> tuple[dict[str, Camera], Any, Any, tuple[str, ...], int]:
        """What is needed for the next images. The cell stands still meanwhile, and so do the cameras."""
        self._seen.add(stamp_ns, (cell.task.name, cell.snapshot()))
        return self._cameras, cell.model, copy.copy(cell.data), cell.task.objects, stamp_ns

    def _publish_all(self) -> None:
        cameras, model, data, objects, stamp_ns = self._look(self._see)
        if model is not self._model:  # another task; OpenGL wants the renderer to be made in this thread
            if self._renderer:
                self._renderer.close()
            self._renderer, self._model = Renderer(model, objects=objects), model
        self._renderer.update(data)
        for name, camera in cameras.items():
            if self._faults.active(F.DROP_CAMERA, name):
                continue
            if not (self._faults.active(F.FREEZE_CAMERA, name) and name in self._frozen):
                rgb, depth = self._renderer.rgbd(camera)
                header = conversions.header(stamp_ns, optical_frame(name))
                self._frozen[name] = [
                    images.image_from_rgb(rgb, header),
                    images.image_from_depth(depth, header, encoding=self._depth_encoding),
                    images.camera_info_from_intrinsics(camera.intrinsics, header),
                ]
            for publisher, message in zip(self._publishers[name], self._frozen[name], strict=True):
                publisher.publish(message)


def _publishers(node: Node, topics: CameraTopics) -> list[Any]:
    return [
        node.create_publisher(Image, topics.colour, _QOS),
        node.create_publisher(Image, topics.depth, _QOS),
        node.create_publisher(CameraInfo, topics.camera_info, _QOS),
    ]
