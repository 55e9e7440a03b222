"""The motion of one arm over the time of the video, as an SVG drawing that takes its colours from the page."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.plan import Plan
from robo4d.track import GripperTrack

_LEFT, _RIGHT, _TOP = 46, 10, 8
_PLOT_WIDTH, _PLOT_HEIGHT = 424, 150
_ROW_HEIGHT, _ROW_GAP = 16, 10
_WIDTH = _LEFT + _PLOT_WIDTH + _RIGHT
_CONFIDENCE_Y = _TOP + _PLOT_HEIGHT + 28
_FINGERS_Y = _CONFIDENCE_Y + _ROW_HEIGHT + _ROW_GAP
_HEIGHT = _FINGERS_Y + _ROW_HEIGHT + 6
_AXES = "xyz"
_TICKS = (1, 2, 5, 10, 20, 50)
"""Distances between grid lines [cm]."""
_MOST_LINES = 6
Scale = Callable[[float], float]
"""From a value to its place in the drawing."""


def chart(track: GripperTrack, plan: Plan | None) -> str:
    """Way of the TCP from its start along the world's axes [cm], confidence of each pose, and the gripper.

    Dots are poses as tracked, crosses those that were not followed, lines the smoothed way that the plan takes.
    """
    times_s, duration_s = track.times_s, float(track.times_s[-1])
    raw_cm, planned, followed = _ways(track, plan)
    known = np.concatenate([np.zeros((1, 3)), raw_cm[followed], *([] if planned is None else [planned[1]])])
    low, high = float(np.nanmin(known)) - 1, float(np.nanmax(known)) + 1

    def x(time_s: float) -> float:
        return _LEFT + _PLOT_WIDTH * time_s / duration_s

    def y(way_cm: float) -> float:
        return _TOP + _PLOT_HEIGHT * float(np.clip((high - way_cm) / (high - low), 0, 1))

    parts = [*_grid(low, high, duration_s, x, y)]
    for axis, name in enumerate(_AXES):
        if planned is not None:
            points = " ".join(f"{x(t):.1f},{y(w):.1f}" for t, w in zip(planned[0], planned[1][:, axis], strict=True))
            parts.append(f'<polyline class="line {name}" points="{points}"/>')
        for t, way, confidence, is_followed in zip(times_s, raw_cm[:, axis], track.confidence, followed, strict=True):
            if np.isfinite(way):
                parts.append(_mark(x(t), y(way), name, confidence, bool(is_followed)))
    parts += _rows(track, plan, x)
    parts.append(f'<line class="now" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_FINGERS_Y + _ROW_HEIGHT}"/>')
    drawing = "".join(parts)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" style="--plot: {_PLOT_WIDTH}px" role="img" '
        f'aria-label="motion of the {track.arm} arm">{drawing}</svg>'
    )


def _ways(
    track: GripperTrack, plan: Plan | None
) -> tuple[Float[Array, "t 3"], tuple[Float[Array, " k"], Float[Array, "k 3"]] | None, Bool[Array, " t"]]:
    """From the start, in cm: as tracked, as planned if it was, with its times [s]; and which tracked poses count.

    A plan may end before the track does. One that came over ROS has no keyframes, but passes them.
    """
    tracked, followed = track.Ts_world_tcp[:, :3, 3].copy(), track.usable
    keyframes, motion = (plan.keyframes.get(track.arm), plan.arms.get(track.arm)) if plan else (None, None)
    if keyframes is not None:
        times_s, planned = keyframes.times_s, keyframes.Ts_world_tcp[:, :3, 3]
        end = len(times_s)
        anchored = keyframes.Ts_world_raw[:, :3, 3]  # NaN where lost; the unanchored pose shows what was refused
        tracked[:end] = np.where(np.isfinite(anchored), anchored, tracked[:end])
        followed[:end] &= ~keyframes.outlier
    elif plan and motion:
        times_s = track.times_s[track.times_s <= plan.video_times_s[-1] + 1e-6]
        passed = np.searchsorted(plan.video_times_s[:-1], times_s)
        end, planned = len(times_s), motion.Ts_world_tcp[passed, :3, 3]
    else:
        return 100 * (tracked - tracked[0]), None, followed
    followed[end:] = False
    return 100 * (tracked - planned[0]), (times_s, 100 * (planned - planned[0])), followed


def _grid(low: float, high: float, duration_s: float, x: Scale, y: Scale) -> Iterable[str]:
    step = next((s for s in _TICKS if (high - low) / s <= _MOST_LINES), _TICKS[-1])
    for value in np.arange(np.ceil(low / step) * step, high, step):
        at = y(float(value))
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        unit = " cm" if value == 0 else ""
        yield f'<text class="tick" x="{_LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{value:.0f}{unit}</text>'
    for second in range(int(duration_s) + 1):
        unit = " s" if second == 0 else ""
        at = _TOP + _PLOT_HEIGHT + 14
        yield f'<text class="tick" x="{x(second):.1f}" y="{at}" text-anchor="middle">{second}{unit}</text>'


def _mark(x: float, y: float, name: str, confidence: float, followed: bool) -> str:
    if followed:
        return f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="3" opacity="{0.25 + 0.75 * confidence:.2f}"/>'
    return f'<path class="refused" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'


def _rows(track: GripperTrack, plan: Plan | None, x: Scale) -> Iterable[str]:
    """Confidence as bars, and the gripper as a band: tracked, with the commands of the plan."""
    half = _PLOT_WIDTH / (len(track.times_s) - 1) / 2
    yield _label("trust", _CONFIDENCE_Y)
    yield _label("gripper", _FINGERS_Y)
    for t, confidence, usable, is_open, opening_m in zip(
        track.times_s, track.confidence, track.usable, track.open, track.opening_m, strict=True
    ):
        left, right = max(x(t) - half, _LEFT), min(x(t) + half, _LEFT + _PLOT_WIDTH)
        height = max(_ROW_HEIGHT * confidence, 1)
        kind = "trusted" if usable else "doubted"
        yield (
            f'<rect class="{kind}" x="{left + 1:.1f}" y="{_CONFIDENCE_Y + _ROW_HEIGHT - height:.1f}" '
            f'width="{right - left - 2:.1f}" height="{height:.1f}"><title>{confidence:.2f}</title></rect>'
        )
        state = "open" if is_open else "closed"
        width = f"{1e3 * opening_m:.0f} mm" if np.isfinite(opening_m) else "not seen"
        yield (
            f'<rect class="{state}" x="{left:.1f}" y="{_FINGERS_Y}" width="{right - left:.1f}" '
            f'height="{_ROW_HEIGHT}"><title>{state}, {width}</title></rect>'
        )
    for time_s, opens in _commands(track.arm, plan):
        at, word = x(time_s), "open" if opens else "close"
        yield f'<line class="event" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_FINGERS_Y + _ROW_HEIGHT}"/>'
        yield f'<text class="event" x="{at + 4:.1f}" y="{_TOP + 10}">{word}</text>'


def _commands(arm: str, plan: Plan | None) -> Sequence[tuple[float, bool]]:
    """Video time [s] of each command to the arm's gripper, and whether it opens."""
    if plan is None:
        return ()
    return [(float(np.interp(e.time_s, plan.times_s, plan.video_times_s)), e.open) for e in plan.events if e.arm == arm]


def _label(text: str, y: float) -> str:
    return f'<text class="tick" x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{text}</text>'
