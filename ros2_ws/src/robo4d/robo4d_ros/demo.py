"""`make demo`: the whole loop under ROS 2 in the simulated cell, recorded from its cameras and topics.

The robot looks, imagines, plans and acts until the goal is reached. It is told nothing about the goal; whether it is
reached, this program asks the cell.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import imageio.v2 as imageio
import numpy as np
import rclpy
import tyro
import yaml
from jaxtyping import UInt8
from numpy import ndarray as Array
from PIL import Image
from rich.console import Console
from robo4d_msgs.msg import SessionState
from std_srvs.srv import Trigger

from robo4d.episodes.pictures import depth_picture, table
from robo4d.report import write_page
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d_ros.rollout import session_record, start_session
from robo4d_ros.spectator import Spectator
from robo4d_ros.stack import Stack, running

_START_LIMIT_S = 120.0
"""For the first pair of images [s]; on a slow machine the cell takes some seconds to build."""
_LINGER_S = 1.5
"""Recorded after the goal is reached [s]."""
_SHEET_COLUMNS = 6
_SHEET_TILE, _VIDEO_TILE = 200, 288
"""Height of a picture on the contact sheet, and in the video [px]."""
_DEPTH_RANGE_M = (0.5, 1.9)
"""Of the depth colours; the cameras stand 1 to 1.4 m from the table."""
_PARAMETERS = {
    "/**/sim": {"ros__parameters": {"width": 208, "height": 208, "camera_rate_hz": 4.0, "state_rate_hz": 25.0}},
    "/**/executor": {"ros__parameters": {"executor.period_s": 0.04}},
}
"""Two cores must do for all of it."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What is shown."""

    generator: str = "tiny"
    """What imagines the future: tiny, oracle or a folder of weights; or expert, to see the scripted demonstration."""
    readout: Literal["tracker", "plan_head", "fused"] = "tracker"
    """Who tells where the grippers go in a video: the tracker, the generator that drew it, or both."""
    task: str = "put_spatula_on_table"
    """One of the tasks of `robo4d.sim.tasks`."""
    seed: int = 0
    """Start of the episode."""
    limit_s: float = 600.0
    """Give up after this time [s]."""
    rate_hz: float = 4.0
    """Pictures of the video a second."""
    out: Path = field(default_factory=lambda: Path("out/demo"))
    """Where video, contact sheet, report page and bag go; with these endings."""


def main() -> None:
    """Run the demo; status 1 where the task was not done."""
    config = tyro.cli(DemoConfig, prog="make demo DEMO=...", description=__doc__)
    console = Console()
    rclpy.init()
    node = Spectator(pairs_hz=config.rate_hz)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="robo4d_", suffix=".yaml") as file:
            yaml.safe_dump(_PARAMETERS, file)
            file.flush()
            with running(node, *_arguments(config), f"params_file:={file.name}") as stack:
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
        if any(look.plan for look in node.looks):
            write_page(session_record(node, config.task, config.generator), config.out.with_suffix(".html"))
        written = sorted(str(path) for path in config.out.parent.glob(f"{config.out.name}.*"))
        console.print(f"written: {', '.join(written)}")
    console.print(f"[bold]{config.task}: {'done' if node.reached else 'NOT done'}")
    sys.exit(0 if node.reached else 1)


def _arguments(config: DemoConfig) -> list[str]:
    """Of bringup."""
    given = ["sim:=true", f"task:={config.task}", f"seed:={config.seed}"]
    if config.generator == "expert":
        return [*given, "expert:=true"]
    bag = config.out.with_suffix(".mcap")
    bag.unlink(missing_ok=True)  # of the last demo
    works = [f"generator:={config.generator}", f"readout:={config.readout}"]
    return [*given, *works, "auto_approve:=true", f"bag:={bag}"]


def _watch(node: Spectator, stack: Stack, config: DemoConfig, console: Console) -> None:
    """Serve the spectator until the goal is reached and a little longer.

    Raises:
        RuntimeError: the stack ended by itself, no image came, the session ended early, or the time is over.
    """
    begun_s = time.monotonic()
    with console.status("starting the cell") as status:
        stack.wait(lambda: node.newest_ns, _START_LIMIT_S, "the first pair of images")
        console.print(f"first camera frame after {time.monotonic() - begun_s:.1f} s{_since_make()}")
        works = config.generator != "expert"
        if works:
            status.update("starting generator, tracker, planner and executor")
            start_session(stack, node)
            console.print(f"the session began after {time.monotonic() - begun_s:.1f} s")
        while not node.reached:
            stack.spin()
            elapsed_s, session = time.monotonic() - begun_s, node.session
            doing = f"look {len(node.looks)}, {session.state}: {session.reason}" if works else "the expert is at work"
            status.update(f"{elapsed_s:.0f} s, {doing}")
            if works and session.state in (SessionState.IDLE, SessionState.HOLD, SessionState.FAULT):
                raise RuntimeError(f"the session has ended before the goal: {session.reason}")
            if elapsed_s > config.limit_s:
                raise RuntimeError(f"the goal was not reached within {config.limit_s:.0f} s")
        if works:
            stack.call(Trigger, "session/stop")
        until = time.monotonic() + _LINGER_S
        while time.monotonic() < until:
            stack.spin()


def _since_make() -> str:
    """What set-up, imports and start have taken, where the Makefile tells when it was started."""
    started_s = os.environ.get("ROBO4D_MAKE_STARTED_S")
    return f" ({time.time() - float(started_s):.1f} s after make was called)" if started_s else ""


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
        labels=(),
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
                labels=(),
            )
            video.append_data(frame)


def _pictures(frame: RgbdFrame) -> list[UInt8[Array, "h w 3"]]:
    nearest, farthest = _DEPTH_RANGE_M
    return [frame.rgb, depth_picture(frame.depth, nearest=nearest, farthest=farthest)]


if __name__ == "__main__":
    main()
