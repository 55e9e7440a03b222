"""How well images travel between processes: `robo4d bench transport`.

Two processes, as on a robot: one publishes two cameras (640 x 480 rgb8 and 32FC1, 30 Hz: 129 MB/s), the other
receives them as `RgbdPairSource` does. Measured once with our setting of Fast DDS and once with its defaults.

FASTDDS_BUILTIN_TRANSPORTS has no effect with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, for which rmw_fastrtps makes
transports of its own (rmw_fastrtps_shared_cpp/src/participant.cpp); hence the profile file for one machine.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rclpy
import tyro
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robo4d_ros import images
from robo4d_ros.sync import IMAGE_QOS

THIS_MACHINE = {
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(Path(__file__).with_name("this_machine.xml")),
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
}
"""Environment of nodes on one machine: no socket listens on a network, and images pass through shared memory."""
NETWORK = {
    "FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
}
"""Environment of nodes on several machines: images travel over TCP."""
DEFAULT = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
"""What Fast DDS does by itself."""
RATE_HZ = 30.0
WIDTH, HEIGHT = 640, 480
WARM_UP_S = 1.0
"""Published first and not counted, until all connections stand [s]."""
MATCH_TIMEOUT_S = 30.0
TOPICS = ("camera_n/colour", "camera_n/depth", "camera_m/colour", "camera_m/depth")


@dataclass(frozen=True, kw_only=True)
class TransportResult:
    """What one setting achieves."""

    setting: str
    sent: int
    received: int
    received_share: float
    sent_per_s: float
    """Images a second, of all topics: the most that can arrive."""
    received_per_s: float
    latency_p50_ms: float
    """From just before publishing to the callback."""
    latency_p95_ms: float
    latency_max_ms: float
    publisher_cpu_percent: float
    """Of one core."""
    subscriber_cpu_percent: float


def bench(*, seconds: float = 10.0, network: bool = False, json: Path | None = None) -> None:
    """Measure loss, latency and CPU of image transport between two processes.

    Beside the images that arrive stand those that were sent, and below our setting what Fast DDS does by itself.

    Args:
        seconds: Time to measure each setting for [s].
        network: Also measure our setting for several machines, which listens on the network while it runs.
        json: Write the results to this file, too, one object a setting.
    """
    if seconds <= 0:
        raise ValueError(f"--seconds must be positive, got {seconds}")
    settings = {"robo4d": THIS_MACHINE, "Fast DDS default": DEFAULT} | ({"robo4d, network": NETWORK} if network else {})
    results = [measure(name, setting, seconds=seconds) for name, setting in settings.items()]
    table = Table("transport", "received", "images/s", "p50 / p95 / max", "CPU publisher", "CPU subscriber", box=None)
    for r in results:
        latency = f"{r.latency_p50_ms:.1f} / {r.latency_p95_ms:.1f} / {r.latency_max_ms:.1f} ms"
        cpu = f"{r.publisher_cpu_percent:.0f} %", f"{r.subscriber_cpu_percent:.0f} %"
        rate = f"{r.received_per_s:.0f} of {r.sent_per_s:.0f}"
        table.add_row(r.setting, f"{100 * r.received_share:.1f} % of {r.sent}", rate, latency, *cpu)
    Console().print(table)
    if json is not None:
        json.write_text(dumps([asdict(result) for result in results], indent=1) + "\n")


def measure(name: str, setting: dict[str, str], *, seconds: float) -> TransportResult:
    """Run both processes for a time [s] with the environment variables of one setting.

    Raises:
        ValueError: A process failed; its messages are on stderr.
    """
    ours = {*THIS_MACHINE, *NETWORK}
    environment = {key: value for key, value in os.environ.items() if key not in ours} | setting
    environment["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    command = [sys.executable, "-m", "robo4d_ros.transport"]
    with subprocess.Popen(
        [*command, "--role", "subscribe"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as subscriber:
        publish = [*command, "--role", "publish", "--seconds", str(seconds)]
        publisher = subprocess.run(publish, env=environment, stdout=subprocess.PIPE, check=False)
        output, _ = subscriber.communicate()  # closes its standard input, which ends it
    if publisher.returncode or subscriber.returncode:
        raise ValueError(f"a process of the benchmark failed with {name}; run it as `scripts/with_ros robo4d ...`")
    sent, received = loads(publisher.stdout), loads(output)
    latency_ms = received["latency_ms"] or [float("nan")]
    p50, p95 = np.percentile(latency_ms, [50, 95])
    share = received["count"] / sent["count"]
    return TransportResult(
        setting=name,
        sent=sent["count"],
        received=received["count"],
        received_share=share,
        sent_per_s=sent["per_s"],
        received_per_s=share * sent["per_s"],
        latency_p50_ms=float(p50),
        latency_p95_ms=float(p95),
        latency_max_ms=max(latency_ms),
        publisher_cpu_percent=sent["cpu_percent"],
        subscriber_cpu_percent=received["cpu_percent"],
    )


def _publish(node: Node, seconds: float) -> dict[str, Any]:
    """Publish both cameras, first to warm up, then counted."""
    publishers = [node.create_publisher(Image, topic, IMAGE_QOS) for topic in TOPICS]
    deadline = time.monotonic() + MATCH_TIMEOUT_S
    while not all(publisher.get_subscription_count() for publisher in publishers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the subscriber was not discovered in {MATCH_TIMEOUT_S:g} s")
        time.sleep(0.05)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    depth = rng.uniform(0.5, 1.5, (HEIGHT, WIDTH)).astype(np.float32)

    def publish_for(duration_s: float, frame_id: str) -> int:
        start, count = time.monotonic(), 0
        for tick in range(round(duration_s * RATE_HZ)):
            time.sleep(max(0.0, start + tick / RATE_HZ - time.monotonic()))
            for publisher in publishers:
                image = images.image_from_rgb if publisher.topic_name.endswith("colour") else images.image_from_depth
                message = image(rgb if publisher.topic_name.endswith("colour") else depth, Header(frame_id=frame_id))
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.monotonic_ns(), 10**9)
                publisher.publish(message)
                count += 1
        time.sleep(max(0.0, start + duration_s - time.monotonic()))  # the last image has its share of the time, too
        return count

    publish_for(WARM_UP_S, "warm-up")
    wall, cpu = time.monotonic(), time.process_time()
    count = publish_for(seconds, "camera")
    wall_s, cpu_s = time.monotonic() - wall, time.process_time() - cpu
    return {"count": count, "per_s": count / wall_s, "cpu_percent": 100 * cpu_s / wall_s}


def _subscribe(node: Node) -> dict[str, Any]:
    """Receive until standard input ends."""
    latency_ms: list[float] = []
    clocks: list[tuple[float, float]] = []

    def receive(message: Image, read: Callable[[Image], np.ndarray]) -> None:
        now_ns, stamp = time.monotonic_ns(), message.header.stamp
        read(message)
        if message.header.frame_id != "warm-up":
            latency_ms.append(1e-6 * (now_ns - stamp.sec * 10**9 - stamp.nanosec))
            clocks[1:] = [(time.monotonic(), time.process_time())]
        elif not clocks:
            clocks.append((time.monotonic(), time.process_time()))

    for topic in TOPICS:
        read = images.rgb_from_image if topic.endswith("colour") else images.depth_from_image
        node.create_subscription(Image, topic, lambda message, read=read: receive(message, read), IMAGE_QOS)
    threading.Thread(target=lambda: (sys.stdin.read(), rclpy.try_shutdown()), daemon=True).start()
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)
    (wall_0, cpu_0), (wall_1, cpu_1) = (clocks[0], clocks[-1]) if clocks else ((0, 0), (0, 0))
    cpu_percent = 100 * (cpu_1 - cpu_0) / max(1e-9, wall_1 - wall_0)
    return {"count": len(latency_ms), "cpu_percent": cpu_percent, "latency_ms": latency_ms}


def main(*, role: Literal["publish", "subscribe"], seconds: float = 10.0) -> None:
    """Run one of the two processes; its result goes to standard output as JSON."""
    rclpy.init()
    node = Node(f"transport_{role}")
    result = _publish(node, seconds) if role == "publish" else _subscribe(node)
    sys.stdout.write(dumps(result))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    tyro.cli(main)
