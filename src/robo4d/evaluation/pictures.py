"""A predicted clip beside the truth, for people: a strip of moments as PNG, and all of them as MP4."""

from collections.abc import Mapping
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray as Array
from PIL import Image

from robo4d.episodes.pictures import depth_picture, label_picture, table
from robo4d.sim.labels import GRIPPER_LABELS
from robo4d.video import PointmapVideo

_STRIP_COLUMNS = 5
"""Moments on the strip."""
_STRIP_TILE, _VIDEO_TILE = 150, 256
"""Height of a picture on the strip, and in the video [px]."""
_HANDS = tuple(labels[0] for labels in GRIPPER_LABELS.values())
"""Whose colours masks have."""
_VIEWS, _KINDS = "nm", ("colour", "depth", "grippers")


Masks = Mapping[str, Bool[Array, "v t h w"]]
"""Pixels of each arm's gripper."""


def write_pictures(
    predicted: PointmapVideo,
    true: PointmapVideo,
    file: Path,
    *,
    found: Masks,
    true_grippers: Masks,
    title: str,
    subtitle: str,
) -> None:
    """Write FILE.png and FILE.mp4: colour, depth and the grippers' masks of both views, true beside predicted.

    Args:
        predicted: By a generator.
        true: What came, at the same times.
        file: Path of both without their ending.
        found: Where the prediction shows the grippers.
        true_grippers: Where they really were.
        title: The heading.
        subtitle: More about it.
    """
    z = true.points[true.valid][:, 2]
    nearest, farthest = (float(v) for v in np.percentile(z, [0.5, 80])) if len(z) else (0.0, 1.0)
    depth_range = (0.9 * nearest, 1.1 * farthest)

    def pictures(view: int, t: int) -> list[list[UInt8[Array, "h w 3"]]]:
        """Colour, depth and masks, each true and predicted."""
        z = [np.where(v.valid[view, t], v.points[view, t, ..., 2], 0).astype(float) for v in (true, predicted)]
        depth = [depth_picture(one, nearest=depth_range[0], farthest=depth_range[1]) for one in z]
        masks = [_mask_picture(v.rgb[view, t], m, view, t) for v, m in ((true, true_grippers), (predicted, found))]
        return [[true.rgb[view, t], predicted.rgb[view, t]], depth, masks]

    columns = [int(t) for t in np.linspace(0, len(true.times_s) - 1, _STRIP_COLUMNS)]
    rows = {
        f"{what}\n{source}": [pictures(view, t)[i][j] for view in range(len(_VIEWS)) for t in columns]
        for i, what in enumerate(_KINDS)
        for j, source in enumerate(("true", "predicted"))
    }
    strip = table(
        list(rows.values()),
        title=title,
        subtitle=subtitle,
        column_titles=[f"view {view}, {true.times_s[t]:.1f} s" for view in _VIEWS for t in columns],
        row_titles=list(rows),
        tile_height=_STRIP_TILE,
        depth_range=depth_range,
        labels=_HANDS,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(strip).save(file.with_suffix(".png"))
    rate_hz = float(1 / np.median(np.diff(true.times_s))) if len(true.times_s) > 1 else 1.0
    with imageio.get_writer(
        file.with_suffix(".mp4"),
        fps=rate_hz,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        ffmpeg_log_level="error",
    ) as video:
        for t, time_s in enumerate(true.times_s):
            frame = table(
                [[picture for kind in pictures(view, t) for picture in kind] for view in range(len(_VIEWS))],
                title=title,
                subtitle=f"{time_s:.1f} s   {subtitle}",
                column_titles=[f"{kind}, {source}" for kind in _KINDS for source in ("true", "predicted")],
                row_titles=[f"view {name}" for name in _VIEWS],
                tile_height=_VIDEO_TILE,
                depth_range=depth_range,
                labels=_HANDS,
            )
            video.append_data(frame)  # pyright: ignore[reportAttributeAccessIssue]


def _mask_picture(rgb: UInt8[Array, "h w 3"], masks: Masks, view: int, t: int) -> UInt8[Array, "h w 3"]:
    """Each arm's gripper in its colour over the grey image."""
    labels = np.zeros(rgb.shape[:2], np.uint8)
    for arm, mask in masks.items():
        labels[mask[view, t]] = GRIPPER_LABELS[arm][0]
    return label_picture(labels, rgb)
