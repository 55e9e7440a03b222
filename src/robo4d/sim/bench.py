"""`robo4d bench sim`: how fast the cell simulates and draws, and how exactly its views agree."""

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
_STEPS = 200
"""Control ticks that the physics is timed over."""
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
    figures: dict[str, float] = {"physics_real_time_factor": _physics(cell)}
    cell.reset(seed=seed_offset)
    cameras = sample_cameras(rng, _VIEWS, width=128, height=128)
    for height, width in _SIZES:
        views = [at_size(camera, width=width, height=height) for camera in cameras]
        figures |= {f"views_per_s_{height}x{width}_{name}": rate for name, rate in _drawing(cell, views).items()}
    figures |= _cross_view(cell, rng) | _collecting(task, seed_offset)
    _print(figures)
    if json_file:
        json_file.write_text(json.dumps({"task": task, "seed_offset": seed_offset, **figures}, indent=2) + "\n")


def _physics(cell: Cell) -> float:
    """Simulated over real time, both arms holding still."""
    start = time.perf_counter()
    for _ in range(_STEPS):
        cell.step({})
    return _STEPS * CONTROL_PERIOD_S / (time.perf_counter() - start)


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


def _collecting(task: str, seed: int) -> dict[str, float]:
    """One episode with four views of 128 x 128, from the start of the simulation to the files."""
    config = CollectConfig(
        views=4,
        size=(128, 128),
        distribution="standard",
        rate_hz=10.0,
        perturb=False,
        keep_failures=True,
        states_only=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        record(Job(task=task, seed=seed, folder=Path(folder) / "episode"), lambda share: None, config=config)
        seconds = time.perf_counter() - start
    return {"collect_episodes_per_min": 60 / seconds}


def _print(figures: dict[str, float]) -> None:
    drawing = Table("views/s", "RGB-D", "with mujoco.Renderer", "RGB-D + labels", "with mujoco.Renderer")
    for height, width in _SIZES:
        names = ("rgbd", "rgbd_mujoco", "rgbd_labels", "rgbd_labels_mujoco")
        rates = (f"{figures[f'views_per_s_{height}x{width}_{name}']:.0f}" for name in names)
        drawing.add_row(f"{height} x {width}", *rates)
    console = Console()
    console.print(drawing)
    console.print(f"physics: {figures['physics_real_time_factor']:.1f} times real time")
    console.print(f"collecting, 4 views of 128 x 128: {figures['collect_episodes_per_min']:.1f} episodes/min a process")
    console.print(
        f"cross-view error over {figures['cross_view_pairs']} pairs: mean {figures['cross_view_mean_mm']:.3f} mm, "
        f"largest of a pair {figures['cross_view_max_mm']:.3f} mm"
    )
