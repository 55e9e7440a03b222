"""`robo4d bench sim`: how fast the cell simulates and draws, and how exactly its views agree.

Beside each rate stands one of the same run to compare it with: MuJoCo alone, which is a peer when it draws and a limit
when it simulates, and what simulating and drawing would leave of collecting if nothing else took time.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import mujoco
import numpy as np
import tyro
from jaxtyping import Float32, Int32, UInt8
from numpy import ndarray as Array
from rich.console import Console
from rich.table import Table

from robo4d.episodes import DEPTH_UNIT, read_episode
from robo4d.episodes.collect import CollectConfig, Job, record
from robo4d.geometry import Camera
from robo4d.sim.cameras import at_size, sample_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.cross_view import cross_view_errors
from robo4d.sim.labels import Label
from robo4d.sim.playback import stage
from robo4d.sim.render import Renderer
from robo4d.sim.state import CONTROL_PERIOD_S
from robo4d.sim.tasks import load

_SIZES = ((128, 128), (256, 320), (480, 640))
"""Height and width [px]: the tiny preset's, the paper's, and a camera's."""
_VIEWS = 8
"""Views drawn of each size, in turn by both renderers."""
_COLLECTED_VIEWS = 4
"""Cameras of the episode that is collected, with images of the first of the sizes."""
_TIME_LIMIT_S = 60.0
"""An expert that needs longer has failed, and its time tells nothing [s]."""
_CROSS_VIEWS = 15
"""Views that are compared: 210 ordered pairs."""


def bench_sim(
    *,
    task: str = "store_cereal_box_under_shelf",
    seed_offset: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure the simulated cell on this machine, in one process.

    Args:
        task: The task in the cell.
        seed_offset: Selects other starts and cameras.
        json_file: Write the figures to this file, too.
    """
    cell, rng = stage(load(task).name).cell, np.random.default_rng(seed_offset)
    cell.reset(seed=seed_offset)
    figures = physics(cell)
    cell.reset(seed=seed_offset)
    cameras = sample_cameras(rng, _VIEWS, width=128, height=128)
    for height, width in _SIZES:
        views = [at_size(camera, width=width, height=height) for camera in cameras]
        figures |= {f"views_per_s_{height}x{width}_{name}": rate for name, rate in _drawing(cell, views).items()}
    figures |= _cross_view(cell, rng)
    height, width = _SIZES[0]
    figures |= _collecting(
        task,
        seed_offset,
        real_time_factor=figures["physics_real_time_factor"],
        views_per_s=figures[f"views_per_s_{height}x{width}_rgbd_labels"],
    )
    _print(figures)
    if json_file:
        json_file.write_text(json.dumps({"task": task, "seed_offset": seed_offset, **figures}, indent=2) + "\n")


def physics(cell: Cell) -> dict[str, float]:
    """Simulated over real time while the expert does the task of a cell that was just reset.

    Beside it MuJoCo alone, which advances the same states under the same controls: without inverse kinematics of the
    arms, and without the measurements that the cell makes of each state.

    Raises:
        ValueError: the expert needs more than a minute.
    """
    expert, state, plain = cell.task.expert(), cell.state(), mujoco.MjData(cell.model)
    substeps = round(CONTROL_PERIOD_S / cell.model.opt.timestep)
    spent_s, spent_plain_s, ticks = 0.0, 0.0, 0
    while not expert.done(state):
        if state.time_s > _TIME_LIMIT_S:
            raise ValueError(f"the expert has not done its task in {_TIME_LIMIT_S:g} s: choose another --seed-offset")
        commands, before = expert.command(state), cell.snapshot().physics
        start = time.perf_counter()
        state = cell.step(commands)
        spent_s += time.perf_counter() - start
        mujoco.mj_setState(cell.model, plain, before, mujoco.mjtState.mjSTATE_INTEGRATION)
        plain.ctrl[:] = cell.data.ctrl
        start = time.perf_counter()
        mujoco.mj_step(cell.model, plain, substeps)
        spent_plain_s += time.perf_counter() - start
        ticks += 1
    return {
        "physics_real_time_factor": ticks * CONTROL_PERIOD_S / spent_s,
        "physics_real_time_factor_mujoco": ticks * CONTROL_PERIOD_S / spent_plain_s,
    }


def _drawing(cell: Cell, cameras: list[Camera]) -> dict[str, float]:
    """Views per second: ours, and MuJoCo's own renderer beside it, which needs a pass for each kind of image."""
    height, width = cameras[0].intrinsics.height, cameras[0].intrinsics.width
    with Renderer(cell.model, objects=cell.task.objects) as ours, _Plain(cell, height, width) as plain:
        ours.update(cell.data)
        ways: dict[str, Callable[[Camera], object]] = {
            "rgbd": ours.rgbd,
            "rgbd_labels": lambda camera: (ours.rgbd(camera), ours.labels(camera)),
            "rgbd_mujoco": lambda camera: (plain.rgb(camera), plain.depth(camera)),
            "rgbd_labels_mujoco": lambda camera: (plain.rgb(camera), plain.depth(camera), plain.segmentation(camera)),
        }
        spent = dict.fromkeys(ways, 0.0)
        for way in ways.values():
            way(cameras[0])  # the first image of a context is slow
        for camera in cameras:  # in turn, so that other load on the machine meets all alike
            for name, way in ways.items():
                start = time.perf_counter()
                way(camera)
                spent[name] += time.perf_counter() - start
    return {name: len(cameras) / seconds for name, seconds in spent.items()}


class _Plain:
    """MuJoCo's own renderer, with shadows off as ours has."""

    def __init__(self, cell: Cell, height: int, width: int) -> None:
        self._cell = cell
        cell.model.vis.global_.offwidth, cell.model.vis.global_.offheight = width, height
        self._renderer = mujoco.Renderer(cell.model, height, width)

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.close()

    def rgb(self, camera: Camera) -> UInt8[Array, "h w 3"]:
        return self._draw(camera)

    def depth(self, camera: Camera) -> Float32[Array, "h w"]:
        self._renderer.enable_depth_rendering()
        image = self._draw(camera)
        self._renderer.disable_depth_rendering()
        return image

    def segmentation(self, camera: Camera) -> Int32[Array, "h w 2"]:
        self._renderer.enable_segmentation_rendering()
        image = self._draw(camera)
        self._renderer.disable_segmentation_rendering()
        return image

    def _draw(self, camera: Camera) -> Array:
        eye, forward = camera.T_world_camera[:3, 3], camera.T_world_camera[:3, 2]
        free = mujoco.MjvCamera()
        free.distance, free.lookat = 1.2, eye + 1.2 * forward
        free.azimuth = np.rad2deg(np.arctan2(forward[1], forward[0]))
        free.elevation = np.rad2deg(np.arcsin(forward[2]))
        k = camera.intrinsics
        self._cell.model.vis.global_.fovy = np.rad2deg(2 * np.arctan(k.height / 2 / k.fy))
        self._renderer.update_scene(self._cell.data, free)
        self._renderer.scene.flags[int(mujoco.mjtRndFlag.mjRND_SHADOW)] = 0
        return self._renderer.render()


def _cross_view(cell: Cell, rng: np.random.Generator) -> dict[str, float]:
    """How far apart the same points are in two views [mm]."""
    cameras = sample_cameras(rng, _CROSS_VIEWS, width=320, height=256)
    with Renderer(cell.model, objects=cell.task.objects) as renderer:
        renderer.update(cell.data)
        depths = [renderer.rgbd(camera)[1].astype(float) for camera in cameras]
        furniture = [
            (renderer.labels(camera) == Label.BACKGROUND) & (depth > 0)
            for camera, depth in zip(cameras, depths, strict=True)
        ]
    errors_mm = 1e3 * cross_view_errors(cell.model, cell.data, cameras, depths, furniture, rng=rng)
    return {
        "cross_view_pairs": len(errors_mm),
        "cross_view_mean_mm": float(errors_mm.mean()),
        "cross_view_max_mm": float(errors_mm.max()),
    }


def _collecting(task: str, seed: int, *, real_time_factor: float, views_per_s: float) -> dict[str, float]:
    """One episode, from the start of the simulation to the files; beside it what these two rates allow."""
    config = CollectConfig(
        views=_COLLECTED_VIEWS,
        size=_SIZES[0],
        distribution="standard",
        rate_hz=10.0,
        perturb=False,
        keep_failures=True,
        states_only=False,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "episode"
        start = time.perf_counter()
        record(Job(task=task, seed=seed, folder=folder), lambda share: None, config=config)
        seconds = time.perf_counter() - start
        frames = len(read_episode(folder))
    least_s = frames / config.rate_hz / real_time_factor + config.views * frames / views_per_s
    return {"collect_episodes_per_min": 60 / seconds, "collect_episodes_per_min_limit": 60 / least_s}


def _print(figures: dict[str, float]) -> None:
    drawing = Table("views/s", "RGB-D", "with mujoco.Renderer", "RGB-D + labels", "with mujoco.Renderer")
    for height, width in _SIZES:
        names = ("rgbd", "rgbd_mujoco", "rgbd_labels", "rgbd_labels_mujoco")
        rates = (f"{figures[f'views_per_s_{height}x{width}_{name}']:.0f}" for name in names)
        drawing.add_row(f"{height} x {width}", *rates)
    console = Console()
    console.print(drawing)
    console.print(
        f"physics, expert at work: {figures['physics_real_time_factor']:.1f} times real time "
        f"(mj_step alone, the limit: {figures['physics_real_time_factor_mujoco']:.1f})",
        soft_wrap=True,
    )
    height, width = _SIZES[0]
    console.print(
        f"collecting, {_COLLECTED_VIEWS} views of {height} x {width}: {figures['collect_episodes_per_min']:.1f} "
        "episodes/min a process (physics and drawing alone, the limit: "
        f"{figures['collect_episodes_per_min_limit']:.1f})",
        soft_wrap=True,
    )
    console.print(
        f"cross-view error over {figures['cross_view_pairs']} pairs: mean {figures['cross_view_mean_mm']:.3f} mm, "
        f"largest of a pair {figures['cross_view_max_mm']:.3f} mm (a unit of stored depth: {1e3 * DEPTH_UNIT:g} mm)",
        soft_wrap=True,
    )
