import dataclasses

import numpy as np
from robo4d_ros.markers import track_markers
from visualization_msgs.msg import Marker

from robo4d.geometry import se3
from robo4d.track import GripperTrack

TRACK = GripperTrack.example()


def _texts(track):
    """What is written, by frame."""
    _, *texts = track_markers(track).markers
    assert len({(text.ns, text.id) for text in texts}) == len(texts)
    return {text.id: text for text in texts if text.action == Marker.ADD}


def test_a_pose_that_is_not_followed_says_why_where_it_begins():
    reasons = ("", "hidden", "hidden", "a jump", "")
    track = dataclasses.replace(TRACK, reasons=reasons, inlier=np.array([not reason for reason in reasons]))
    texts = _texts(track)
    assert {t: text.text for t, text in texts.items()} == {1: "hidden", 3: "a jump"}
    for t, text in texts.items():
        place = np.array([text.pose.position.x, text.pose.position.y, text.pose.position.z])
        assert 0.1 < np.linalg.norm(place - TRACK.Ts_world_tcp[t, :3, 3]) < 0.15
        assert text.scale.z > 0
        assert (text.color.r, text.color.a) > (0.5, 0.5)


def test_a_gripper_that_is_lost_says_so_where_it_was_seen_last():
    Ts = TRACK.Ts_world_tcp.copy()
    Ts[2:] = np.nan
    track = dataclasses.replace(TRACK, Ts_world_tcp=Ts, reasons=("", "", "lost", "lost", "lost"))
    (text,) = _texts(track).values()
    assert text.id == 2
    assert text.pose.position.x == se3.apply(Ts[1], np.zeros(3))[0]
    nowhere = dataclasses.replace(track, Ts_world_tcp=np.full_like(Ts, np.nan))
    assert _texts(nowhere) == {}


def test_the_texts_of_the_video_before_are_deleted():
    _, *texts = track_markers(dataclasses.replace(TRACK, reasons=("",) * 5)).markers
    assert [text.id for text in texts] == [0, 1, 2, 3, 4]
    assert {text.action for text in texts} == {Marker.DELETE}
