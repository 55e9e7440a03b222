"""Colour, depth and labels as pictures for people."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from PIL import Image, ImageDraw, ImageFont

from robo4d.sim.labels import Label

_MAGMA = np.array(
    [
        [252, 253, 191],
        [254, 194, 135],
        [251, 136, 97],
        [229, 80, 100],
        [183, 55, 121],
        [130, 38, 129],
        [81, 18, 124],
        [29, 17, 71],
        [0, 0, 4],
    ]
)
"""Matplotlib's perceptually uniform map (CC0) at nine places, here from near (bright) to far (dark)."""
_LABEL_COLOURS = {
    Label.LEFT_HAND: (31, 119, 180),
    Label.LEFT_LEFT_FINGER: (23, 190, 207),
    Label.LEFT_RIGHT_FINGER: (120, 230, 240),
    Label.RIGHT_HAND: (214, 39, 40),
    Label.RIGHT_LEFT_FINGER: (255, 127, 14),
    Label.RIGHT_RIGHT_FINGER: (255, 187, 120),
    Label.OBJECT: (80, 200, 70),
    Label.LEFT_ARM: (110, 130, 170),
    Label.RIGHT_ARM: (175, 130, 125),
}
_LABEL_STRENGTH = 0.75
"""Share of the label's colour in a pixel, the rest being its brightness."""
_BACKGROUND, _TEXT, _FAINT = (18, 20, 24), (235, 237, 240), (150, 155, 165)
_GAP, _MARGIN, _LINE = 4, 14, 20
"""Space between tiles, around all, and for a line of text [px]."""
_ROW_TITLE_WIDTH = 62


def depth_picture(depth: Float[Array, "h w"], *, nearest: float, farthest: float) -> UInt8[Array, "h w 3"]:
    """Depth [m] in colours, near is bright; grey where there is none."""
    picture = _shade((depth - nearest) / (farthest - nearest))
    picture[depth <= 0] = (70, 70, 70)
    return picture


def label_picture(labels: UInt8[Array, "h w"], rgb: UInt8[Array, "h w 3"]) -> UInt8[Array, "h w 3"]:
    """Labels in colours over the grey image."""
    grey = rgb.mean(axis=-1, keepdims=True) * np.ones(3)
    colours = np.zeros((len(Label), 3))
    for label, colour in _LABEL_COLOURS.items():
        colours[label] = colour
    labelled = _LABEL_STRENGTH * colours[labels] + (1 - _LABEL_STRENGTH) * grey
    return np.where(labels[..., None] > 0, labelled, 0.55 * grey).astype(np.uint8)


def table(
    rows: list[list[UInt8[Array, "h w 3"]]],
    *,
    title: str,
    subtitle: str,
    column_titles: list[str],
    row_titles: list[str],
    tile_height: int,
    depth_range: tuple[float, float],
    labels: Collection[Label],
) -> UInt8[Array, "H W 3"]:
    """Pictures in rows and columns, with a heading, titles and a legend. Width and height are even, as videos need.

    Args:
        rows: The pictures, all of one size.
        title: The heading.
        subtitle: More about it, under the heading.
        column_titles: Above each column.
        row_titles: Left of each row.
        tile_height: Height of a picture on the page [px].
        depth_range: What the ends of the depth colours mean [m], for the legend.
        labels: Whose colours the legend explains, too.
    """
    height, width = rows[0][0].shape[:2]
    tile = (round(width * tile_height / height), tile_height)
    left, top = _MARGIN + _ROW_TITLE_WIDTH, _MARGIN + 3 * _LINE + 6
    page_width = left + len(rows[0]) * (tile[0] + _GAP) + _MARGIN
    page_height = top + len(rows) * (tile_height + _GAP) + 3 * _LINE + _MARGIN
    page = Image.new("RGB", (page_width + page_width % 2, page_height + page_height % 2), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), title, _TEXT, font=ImageFont.load_default(18))
    draw.text((_MARGIN, _MARGIN + _LINE + 5), subtitle, _FAINT, font=ImageFont.load_default(13))
    for column, text in enumerate(column_titles):
        x = left + column * (tile[0] + _GAP) + tile[0] / 2
        draw.text((x, top - 4), text, _TEXT, font=ImageFont.load_default(13), anchor="ms")
    for row, (pictures, text) in enumerate(zip(rows, row_titles, strict=True)):
        y = top + row * (tile_height + _GAP)
        draw.multiline_text((_MARGIN, y + tile_height / 2), text, _TEXT, font=ImageFont.load_default(13), anchor="lm")
        for column, picture in enumerate(pictures):
            page.paste(
                Image.fromarray(picture).resize(tile, Image.Resampling.LANCZOS), (left + column * (tile[0] + _GAP), y)
            )
    _draw_legend(page, (left, page_height - _MARGIN - 2 * _LINE), depth_range, labels)
    return np.asarray(page)


def _draw_legend(
    page: Image.Image, corner: tuple[int, int], depth_range: tuple[float, float], labels: Collection[Label]
) -> None:
    """The depth scale and the colours of the labels, in two lines at most."""
    draw, font, (x, y) = ImageDraw.Draw(page), ImageFont.load_default(12), corner
    nearest, farthest = (f"{value:.2f} m" for value in depth_range)
    draw.text((x, y + 7), nearest, _FAINT, font=font, anchor="lm")
    x += draw.textlength(nearest, font) + 6
    page.paste(Image.fromarray(np.tile(_shade(np.linspace(0, 1, 90)), (12, 1, 1))), (round(x), y + 1))
    x += 96
    draw.text((x, y + 7), farthest, _FAINT, font=font, anchor="lm")
    x += draw.textlength(farthest, font) + 26
    for label, colour in _LABEL_COLOURS.items():
        if label not in labels:
            continue
        text = label.name.lower().replace("_", " ")
        width = 18 + draw.textlength(text, font) + 14
        if x + width > page.width:
            x, y = corner[0], y + _LINE
        draw.rectangle((x, y + 1, x + 12, y + 13), colour)
        draw.text((x + 18, y + 7), text, _FAINT, font=font, anchor="lm")
        x += width


def _shade(share: Float[Array, "*b"]) -> UInt8[Array, "*b 3"]:
    places = np.linspace(0, 1, len(_MAGMA))
    return np.stack([np.interp(share, places, channel) for channel in _MAGMA.T], axis=-1).astype(np.uint8)
