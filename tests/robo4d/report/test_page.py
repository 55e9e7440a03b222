import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from robo4d.plan import Plan, Verdict
from robo4d.report import LookRecord, SessionRecord, write_page


class _Balance(HTMLParser):
    """Counts what is opened and closed, and collects what would be fetched."""

    VOID = ("meta", "input", "br", "img", "link")

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(record, tmp_path):
    path = tmp_path / "report" / "page.html"
    write_page(record, path)
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
    return path.read_text()


def test_the_page_is_whole_and_fetches_nothing(tmp_path):
    text = page(SessionRecord.example(), tmp_path)
    parser = _Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert set(re.findall(r"url\((\w+)", text)) == {"data"}
    assert "http" not in text
    assert "$" not in text


def test_each_look_tells_its_plan_its_times_and_its_outcome(tmp_path):
    text = page(SessionRecord.example(), tmp_path)
    assert text.count("<section") == 2
    assert "plan of 1.0 s, left closes" in text
    assert "stopped by the operator" in text
    assert "no motion" in text
    assert "generator 1.50 s · tracker 0.80 s · planner 0.07 s" in text


def test_a_refused_plan_shows_why_and_the_poses_it_was_refused_for(tmp_path):
    look = LookRecord.example()
    refused = Plan.refused(0, Verdict.example(), look.plan.keyframes)
    nothing = np.zeros((2, 0, 4, 4, 3), np.uint8)
    look = dataclasses.replace(look, plan=refused, executed=nothing, outcome="")
    text = page(SessionRecord(title="x", facts={}, looks=(look,)), tmp_path)
    assert "refused: workspace" in text
    assert Verdict.example().reason in text
    assert text.count("not executed") == 2
    assert 'class="dot x"' in text


def test_lost_poses_and_unseen_fingers_leave_gaps_but_no_nan(tmp_path):
    look = LookRecord.example()
    track = look.tracks["left"]
    Ts, opening = track.Ts_world_tcp.copy(), track.opening_m.copy()
    Ts[2], opening[2] = np.nan, np.nan
    confidence, inlier = track.confidence.copy(), track.inlier.copy()
    confidence[2], inlier[3] = 0, False
    track = dataclasses.replace(track, Ts_world_tcp=Ts, opening_m=opening, confidence=confidence, inlier=inlier)
    text = page(
        SessionRecord(title="x", facts={}, looks=(dataclasses.replace(look, tracks={"left": track}, plan=None),)),
        tmp_path,
    )
    assert "nan" not in text.lower()
    assert text.count('<path class="refused"') == 3  # one doubted pose, on three axes
    assert text.count('class="dot') == 3 * 3
    assert "not seen" in text


def test_text_is_escaped(tmp_path):
    text = page(SessionRecord(title="<b>", facts={"a&b": "<script>"}, looks=()), tmp_path)
    assert "&lt;b&gt;" in text
    assert "a&amp;b" in text
    assert text.count("<script>") == 1


def test_more_pictures_than_moments_are_refused():
    look = LookRecord.example()
    with pytest.raises(ValueError, match="a video of 4 frames"):
        dataclasses.replace(look, executed=np.repeat(look.executed, 5, axis=1))


def test_a_plan_that_ends_where_the_arm_was_lost_is_drawn_as_far_as_it_goes(tmp_path):
    look = LookRecord.example()
    (arm, frames), end = next(iter(look.plan.keyframes.items())), 3
    short = dataclasses.replace(frames, **{f.name: getattr(frames, f.name)[:end] for f in dataclasses.fields(frames)})
    plan = dataclasses.replace(look.plan, keyframes={arm: short})
    text = page(SessionRecord(title="x", facts={}, looks=(dataclasses.replace(look, plan=plan),)), tmp_path)
    assert len(re.search(r'class="line x" points="([^"]+)"', text)[1].split()) == end
    assert text.count('class="refused"') == 3 * (len(look.times_s) + 1 - end)


def test_a_plan_without_keyframes_as_it_comes_over_ros_is_drawn_where_it_passes_them(tmp_path):
    look = LookRecord.example()
    plan = dataclasses.replace(look.plan, keyframes={})
    text = page(SessionRecord(title="x", facts={}, looks=(dataclasses.replace(look, plan=plan),)), tmp_path)
    seen = np.sum(next(iter(look.tracks.values())).times_s <= plan.video_times_s[-1])
    assert len(re.search(r'class="line x" points="([^"]+)"', text)[1].split()) == seen
