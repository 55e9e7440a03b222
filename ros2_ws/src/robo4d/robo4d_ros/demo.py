"""`make demo`: the simulated cell under ROS 2, worked through its public topics, and recorded from its cameras."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import rclpy
import tyro
from jaxtyping import UInt8
from numpy import ndarray as Array
from PIL import Image
from rclpy.node import Node
from rclpy.task import Future
from rich.console import Console
from std_srvs.srv import Trigger

from robo4d.episodes.pictures import depth_picture, table
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d_ros.sync import RgbdPairSource, RgbdPairSourceConfig

_START_LIMIT_S = 120.0
"""For the first pair of images [s]; on a slow machine the cell takes some seconds to build."""
_LINGER_S = 1.5
"""Recorded after the goal is reached [s]."""
_SHEET_COLUMNS = 6
_SHEET_TILE, _VIDEO_TILE = 200, 288
"""Height of a picture on the contact sheet, and in the video [px]."""
_DEPTH_RANGE_M = (0.5, 1.9)
"""Of the depth colours; the cameras stand 1 to 1.4 m from the table."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What is shown."""

    task: str = "store_cereal_box_under_shelf"
    """One of the tasks of `robo4d.sim.tasks`."""
    seed: int = 0
    """Start of the episode."""
    limit_s: float = 150.0
    """Give up after this time [s]."""
    rate_hz: float = 5.0
    """Pictures of the video a second."""
    out: Path = field(default_factory=lambda: Path("out/demo"))
    """Where the video and the contact sheet go."""


class Spectator(Node):
    """Watches both cameras, and asks the cell whether the goal is reached."""

    def __init__(self, rate_hz: float) -> None:
        super().__init__("demo")
        self.pairs: list[RgbdPair] = []
        """One every 1 / rate_hz seconds."""
        self.reached = False
        """Whether the goal was reached when last asked."""
        self._period_ns = round(1e9 / rate_hz)
        self._source = RgbdPairSource(self, RgbdPairSourceConfig(), on_pair=self._watch)
        self._success = self.create_client(Trigger, "sim/success")
        self.create_timer(1.0, self._ask)

    def _watch(self, pair: RgbdPair) -> None:
        if not self.pairs or pair.stamp_ns - self.pairs[-1].stamp_ns >= 0.9 * self._period_ns:
            self.pairs.append(pair)

    def _ask(self) -> None:
        if self._success.service_is_ready():
            self._success.call_async(Trigger.Request()).add_done_callback(self._hear)

    def _hear(self, answer: Future) -> None:
        self.reached = answer.result().success


def main() -> None:
    """Run the demo; status 1 where the task was not done."""
    config = tyro.cli(DemoConfig, prog="make demo DEMO=...", description=__doc__)
    console = Console()
    rclpy.init()
    node = Spectator(config.rate_hz)
    try:
        with _bringup("sim:=true", "expert:=true", f"task:={config.task}", f"seed:={config.seed}") as stack:
            _watch(node, stack, config, console)
    except KeyboardInterrupt:
        console.print("stopped")
    except RuntimeError as error:
        console.print(f"[bold red]{error}")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if node.pairs:
        with console.status("writing the video"):
            _write(node.pairs, config, reached=node.reached)
        console.print(f"video and contact sheet: {config.out}.mp4 and .png")
    console.print(f"[bold]{config.task}: {'done' if node.reached else 'NOT done'}")
    sys.exit(0 if node.reached else 1)


def _watch(node: Spectator, stack: subprocess.Popen[bytes], config: DemoConfig, console: Console) -> None:
    """Spin until the goal is reached and a little longer.

    Raises:
        RuntimeError: the stack ended by itself, no image came, or the time is over.
    """
    start = time.monotonic()
    with console.status("starting the cell") as status:
        while not node.pairs:
            _spin(node, stack)
            if time.monotonic() - start > _START_LIMIT_S:
                raise RuntimeError(f"no pair of images within {_START_LIMIT_S:.0f} s; see `robo4d doctor`")
        console.print(f"first camera frame after {time.monotonic() - start:.1f} s")
        while not node.reached:
            _spin(node, stack)
            elapsed_s = time.monotonic() - start
            status.update(f"the expert is at work: {elapsed_s:.0f} s, {len(node.pairs)} pairs of images recorded")
            if elapsed_s > config.limit_s:
                raise RuntimeError(f"the goal was not reached within {config.limit_s:.0f} s")
        until = time.monotonic() + _LINGER_S
        while time.monotonic() < until:
            _spin(node, stack)


def _spin(node: Spectator, stack: subprocess.Popen[bytes]) -> None:
    rclpy.spin_once(node, timeout_sec=0.1)
    if stack.poll() is not None:
        raise RuntimeError(f"the nodes have ended with status {stack.returncode}; their messages are above")


@contextmanager
def _bringup(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """All nodes, in their own process group, so that Ctrl-C reaches them through us alone and once."""
    command = [sys.executable, "-m", "robo4d_ros.bringup", *arguments]
    stack = subprocess.Popen(command, start_new_session=True)
    try:
        yield stack
    finally:
        stack.send_signal(signal.SIGINT)
        stack.wait()


def _write(pairs: list[RgbdPair], config: DemoConfig, *, reached: bool) -> None:
    config.out.parent.mkdir(parents=True, exist_ok=True)
    times_s = [1e-9 * (pair.stamp_ns - pairs[0].stamp_ns) for pair in pairs]
    moments = [int(i) for i in np.linspace(0, len(pairs) - 1, _SHEET_COLUMNS)]
    columns = [[picture for frame in (pairs[i].n, pairs[i].m) for picture in _pictures(frame)] for i in moments]
    sheet = table(
        [list(row) for row in zip(*columns, strict=True)],
        title=config.task,
        subtitle=f"start {config.seed}, {'done' if reached else 'NOT done'} after {times_s[-1]:.0f} s",
        column_titles=[f"{times_s[i]:.1f} s" for i in moments],
        row_titles=[f"camera {view}\n{kind}" for view in "nm" for kind in ("colour", "depth")],
        tile_height=_SHEET_TILE,
        depth_range=_DEPTH_RANGE_M,
        with_labels=False,
    )
    Image.fromarray(sheet).save(config.out.with_suffix(".png"))
    with imageio.get_writer(
        config.out.with_suffix(".mp4"), fps=config.rate_hz, codec="libx264", pixelformat="yuv420p", macro_block_size=2
    ) as video:
        for time_s, pair in zip(times_s, pairs, strict=True):
            frame = table(
                [_pictures(pair.n), _pictures(pair.m)],
                title=config.task,
                subtitle=f"{time_s:5.1f} s",
                column_titles=["colour", "depth"],
                row_titles=["camera n", "camera m"],
                tile_height=_VIDEO_TILE,
                depth_range=_DEPTH_RANGE_M,
                with_labels=False,
            )
            video.append_data(frame)


def _pictures(frame: RgbdFrame) -> list[UInt8[Array, "h w 3"]]:
    nearest, farthest = _DEPTH_RANGE_M
    return [frame.rgb, depth_picture(frame.depth, nearest=nearest, farthest=farthest)]


if __name__ == "__main__":
    main()
