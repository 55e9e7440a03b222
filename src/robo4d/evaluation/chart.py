"""Errors over the steps of a video as a small line chart (the paper's figure A.6)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray as Array
from PIL import Image, ImageDraw, ImageFont

_SIZE = (640, 400)
_LEFT, _TOP, _RIGHT, _BOTTOM = 66, 84, 20, 52
"""Space around the plot [px]."""
_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (90, 90, 90))
"""Matplotlib's `tab10`, for one line after the other."""
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_SHARPER = 2
"""Drawn so much larger, then reduced: PIL's lines have hard edges."""


def step_chart(
    lines: Mapping[str, Sequence[float]], times_s: Sequence[float], *, title: str, unit: str
) -> UInt8[Array, "H W 3"]:
    """Draw lines over time, from 0 up. Values that are not finite are left out.

    Args:
        lines: The values of each line, one for each time, by its name.
        times_s: Of the steps [s].
        title: The heading.
        unit: Of the values.
    """
    width, height = _SIZE
    page = Image.new("RGB", (_SHARPER * width, _SHARPER * height), "white")
    draw = ImageDraw.Draw(page)
    finite = [value for line in lines.values() for value in line if np.isfinite(value)]
    step = _round_step(max(finite, default=1.0))
    top, last_s = step * max(1, int(np.ceil(max(finite, default=1.0) / step))), times_s[-1]

    def place(time_s: float, value: float) -> tuple[float, float]:
        x = _LEFT + (width - _LEFT - _RIGHT) * time_s / last_s
        return _SHARPER * x, _SHARPER * (height - _BOTTOM - (height - _TOP - _BOTTOM) * value / top)

    def text(x: float, y: float, words: str, anchor: str, colour: tuple[int, int, int] = _INK, size: int = 12) -> None:
        draw.text((x, y), words, colour, font=ImageFont.load_default(_SHARPER * size), anchor=anchor)

    for value in np.arange(0, top + step / 2, step):
        draw.line([place(0, value), place(last_s, value)], _GRID, _SHARPER)
        x, y = place(0, value)
        text(x - 8 * _SHARPER, y, f"{value:g}", "rm")
    for time_s in times_s:
        x, y = place(time_s, 0)
        text(x, y + 8 * _SHARPER, f"{time_s:g}", "mt")
    text(_SHARPER * (width + _LEFT) / 2, _SHARPER * (height - 22), "time after the observation [s]", "mt")
    text(12 * _SHARPER, _SHARPER * (_TOP - 24), f"[{unit}]", "lt")
    text(12 * _SHARPER, 12 * _SHARPER, title, "lt", size=15)
    legend_x, legend_y = float(_SHARPER * _LEFT), _SHARPER * (_TOP - 42)
    for colour, (name, line) in zip(_COLOURS, lines.items(), strict=False):
        known = [place(t, v) for t, v in zip(times_s, line, strict=True) if np.isfinite(v)]
        if not known:
            continue
        draw.line(known, colour, 2 * _SHARPER, joint="curve")
        for px, py in known:
            draw.ellipse((px - 3 * _SHARPER, py - 3 * _SHARPER, px + 3 * _SHARPER, py + 3 * _SHARPER), colour)
        length = draw.textlength(name, ImageFont.load_default(_SHARPER * 12)) + 16 * _SHARPER
        if legend_x + length > _SHARPER * width:
            legend_x, legend_y = float(_SHARPER * _LEFT), legend_y + 18 * _SHARPER
        text(legend_x, legend_y, name, "lt", colour)
        legend_x += length
    return np.asarray(page.resize(_SIZE, Image.Resampling.LANCZOS))


def _round_step(greatest: float) -> float:
    """Between the grid's lines: 1, 2 or 5 times a power of ten, and about five lines."""
    rough = greatest / 5
    power = 10.0 ** np.floor(np.log10(rough)) if rough > 0 else 1.0
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))
