"""Writes a session as one HTML file that needs nothing else: pictures and drawings are inside, no network is used."""

import base64
import io
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray as Array
from PIL import Image

from robo4d.report.chart import chart
from robo4d.report.record import LookRecord, SessionRecord

_QUALITY = 88
"""Of the JPEG images: 20 kB for ten frames of 128 x 128."""


def write_page(record: SessionRecord, path: Path) -> None:
    """Write the page; an interrupted write leaves nothing behind."""
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in record.facts.items())
    looks = "\n".join(_look(number, look) for number, look in enumerate(record.looks, start=1))
    template = Template((files("robo4d.report") / "page.html").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(template.substitute(title=escape(record.title), facts=facts, looks=looks))
    partial.replace(path)


def _look(number: int, look: LookRecord) -> str:
    kind, verdict, reason = _verdict(look)
    times = " · ".join(f"{escape(name)} {seconds:.2f} s" for name, seconds in look.durations_s.items())
    arms = [arm for arm in look.tracks if look.plan is None or not look.plan.keyframes or arm in look.plan.keyframes]
    charts = "".join(
        f"<div><h3>{escape(arm)} arm <span>way of the gripper from its start</span></h3>"
        f"{chart(look.tracks[arm], look.plan)}</div>"
        for arm in arms
    )
    moments = escape(json.dumps([round(float(t), 3) for t in look.times_s]))
    return f"""<section data-times="{moments}">
<header><h2>Look {number}</h2><span class="verdict {kind}">{escape(verdict)}</span>
<span class="times">{times}</span></header>
{f'<p class="reason">{escape(reason)}</p>' if reason else ""}<div class="body"><div>
<div class="films"><span></span><span class="name">view n</span><span class="name">view m</span>
<span class="name row">predicted</span>{_films(look.predicted)}
<span class="name row">executed</span>{_films(look.executed)}</div>
<div class="controls"><button type="button">Play</button><input type="range" min="0" max="{len(look.times_s) - 1}"
value="0" aria-label="time in the video"><output></output></div>
</div><div class="charts">{charts}</div></div></section>"""


def _verdict(look: LookRecord) -> tuple[str, str, str]:
    """Style, headline and sentence."""
    if look.plan is None:
        return "still", "no motion", look.outcome
    if not look.plan.verdict.accepted:
        return "refused-plan", f"refused: {look.plan.verdict.code.name.lower()}", look.plan.verdict.reason
    grippers = "".join(f", {e.arm} {'opens' if e.open else 'closes'}" for e in look.plan.events)
    return "accepted", f"plan of {look.plan.duration_s:.1f} s{grippers}", look.outcome


def _films(images: UInt8[Array, "v t h w 3"]) -> str:
    return "".join(_film(view) for view in images)


def _film(frames: UInt8[Array, "t h w 3"]) -> str:
    """All frames of a view side by side in one image, of which the page shows one."""
    count, height, width, _ = frames.shape
    if count == 0:
        return '<div class="film none" style="aspect-ratio: 1">not executed</div>'
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(file, "JPEG", quality=_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<div class="film" data-frames="{count}" style="aspect-ratio: {width} / {height}; background-size: '
        f'{100 * count}% 100%; background-image: url(data:image/jpeg;base64,{data})"></div>'
    )
