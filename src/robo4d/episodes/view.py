"""`robo4d view`: an episode as a contact sheet, a video, and a recording for the rerun viewer."""

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray as Array
from PIL import Image
from rich.console import Console

from robo4d.episodes.dataset import progress_bar
from robo4d.episodes.format import Episode, Images, metres
from robo4d.episodes.pictures import depth_picture, label_picture, table
from robo4d.episodes.storage import open_dataset, read_attributes, read_episode
from robo4d.sim.labels import Label

_SHEET_COLUMNS = 6
"""Moments on the contact sheet."""
_SHEET_TILE, _VIDEO_TILE = 200, 288
"""Height of a picture on the contact sheet, and in the video [px]."""


def view(episode: Path, /, *, out: Path | None = None, views: tuple[int, int] = (0, 1), rerun: bool = True) -> None:
    """Show an episode: NAME.png, NAME.mp4 and NAME.rrd (open it with `rerun NAME.rrd`).

    Args:
        episode: Folder of the episode.
        out: Where the files go; the working directory when left out.
        views: The two views to show.
        rerun: Write the recording for the rerun viewer, too.
    """
    if "robo4d_dataset" in read_attributes(episode):
        names = ", ".join(folder.name for folder in open_dataset(episode)[:5])
        raise ValueError(f"{episode} is a data set: choose one of its episodes, such as {names}")
    shown, name = read_episode(episode), episode.resolve().name
    images = shown.images
    if images is None:
        raise ValueError(f"{episode} holds states only: draw its images with `robo4d render`")
    if max(views) >= len(shown.cameras) or min(views) < 0:
        raise ValueError(f"{episode} has views 0 to {len(shown.cameras) - 1}, asked for {views}")
    folder = out or Path()
    folder.mkdir(parents=True, exist_ok=True)
    drawing = _Drawing(shown, images, views)
    Image.fromarray(drawing.contact_sheet(name)).save(folder / f"{name}.png")
    with (
        imageio.get_writer(
            folder / f"{name}.mp4", fps=shown.info.rate_hz, codec="libx264", pixelformat="yuv420p", macro_block_size=2
        ) as video,
        progress_bar("frames", len(shown)) as show,
    ):
        for time in range(len(shown)):
            video.append_data(drawing.video_frame(name, time))  # pyright: ignore[reportAttributeAccessIssue]
            show(time + 1)
    if rerun:
        from robo4d.episodes.recording import write_recording  # rerun is an extra of its own

        write_recording(shown, views, folder / f"{name}.rrd")
    Console().print(f"{folder / name}.png, .mp4{', .rrd' if rerun else ''}")


class _Drawing:
    """Pictures of two views of an episode, with one depth scale for all."""

    def __init__(self, episode: Episode, images: Images, views: tuple[int, int]) -> None:
        self._episode, self._images, self._views = episode, images, views
        depths = np.concatenate([metres(images.depth[view, 0]).ravel() for view in views])
        nearest, farthest = np.percentile(depths[depths > 0], [0.5, 80]) if depths.any() else (0.0, 1.0)
        self._depth_range = (0.9 * float(nearest), 1.1 * float(farthest))

    def contact_sheet(self, name: str) -> UInt8[Array, "H W 3"]:
        """Some moments from first to last, side by side."""
        moments = [int(time) for time in np.linspace(0, len(self._episode) - 1, _SHEET_COLUMNS)]
        columns = [[picture for view in self._views for picture in self._pictures(view, time)] for time in moments]
        return table(
            [list(row) for row in zip(*columns, strict=True)],
            title=name,
            subtitle=self._describe(),
            column_titles=[f"{self._time_s(time):.1f} s" for time in moments],
            row_titles=[f"view {view}\n{kind}" for view in self._views for kind in ("colour", "depth", "labels")],
            tile_height=_SHEET_TILE,
            depth_range=self._depth_range,
            labels=tuple(Label),
        )

    def video_frame(self, name: str, time: int) -> UInt8[Array, "H W 3"]:
        """Both views at one moment."""
        motion = self._episode.motion
        openings = ", ".join(
            f"{arm} gripper {1e3 * width:4.0f} mm"
            for arm, width in zip(self._episode.info.arms, motion.gripper_width[time], strict=True)
        )
        return table(
            [list(self._pictures(view, time)) for view in self._views],
            title=name,
            subtitle=f"{self._time_s(time):5.1f} s    {openings}",
            column_titles=["colour", "depth", "labels"],
            row_titles=[f"view {view}" for view in self._views],
            tile_height=_VIDEO_TILE,
            depth_range=self._depth_range,
            labels=tuple(Label),
        )

    def _pictures(self, view: int, time: int) -> tuple[UInt8[Array, "h w 3"], ...]:
        rgb, depth = self._images.rgb[view, time], metres(self._images.depth[view, time])
        nearest, farthest = self._depth_range
        return (
            rgb,
            depth_picture(depth, nearest=nearest, farthest=farthest),
            label_picture(self._images.labels[view, time], rgb),
        )

    def _describe(self) -> str:
        info = self._episode.info
        facts = [
            f"{self._time_s(len(self._episode) - 1):.1f} s at {info.rate_hz:g} Hz",
            f"{len(self._episode.cameras)} views of {info.size[1]} x {info.size[0]} px",
            f"start {info.seed} ({info.distribution}{', perturbed' if info.perturbed else ''})",
            "solved" if info.success else "NOT solved",
        ]
        return "   ".join(facts)

    def _time_s(self, time: int) -> float:
        stamps_ns = self._episode.motion.stamps_ns
        return float(stamps_ns[time] - stamps_ns[0]) * 1e-9
