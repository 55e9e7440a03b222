import dataclasses

import numpy as np
import pytest

from robo4d.geometry import Intrinsics, se3
from robo4d.health import Health, Level
from robo4d.observation import BadObservation, Problem, Stamped, rgbd_frame
from robo4d.sync import RgbdPairSync, SyncConfig

MS, S = 10**6, 10**9
INTRINSICS = Intrinsics.example()
SIZE = (INTRINSICS.height, INTRINSICS.width)
CONFIG = SyncConfig()


def stamped(content, stamp_ns=0, frame_id="camera_n_optical"):
    return Stamped(stamp_ns=stamp_ns, frame_id=frame_id, read=lambda: content)


RGB = stamped(np.full((*SIZE, 3), 128, np.uint8))
DEPTH = stamped(np.ones(SIZE, np.float32))
INFO = stamped(INTRINSICS)


class Cameras:
    """Two cameras whose messages arrive when they are exposed."""

    def __init__(self, **options):
        self.sync = RgbdPairSync(CONFIG, now_ns=0, **options)
        for view in ("n", "m"):
            self.sync.add_camera_info(view, stamped(INTRINSICS, 0, f"camera_{view}_optical"))

    def expose(self, view, stamp_ns, now_ns=None, depth=DEPTH, depth_stamp_ns=None):
        now_ns = stamp_ns if now_ns is None else now_ns
        frame_id = f"camera_{view}_optical"
        colour = dataclasses.replace(RGB, stamp_ns=stamp_ns, frame_id=frame_id)
        depth_stamp_ns = stamp_ns if depth_stamp_ns is None else depth_stamp_ns
        depth = dataclasses.replace(depth, stamp_ns=depth_stamp_ns, frame_id=frame_id)
        assert self.sync.add_colour(view, colour, now_ns=now_ns) is None
        return self.sync.add_depth(view, depth, now_ns=now_ns)

    def health(self, name, now_ns):
        return {health.name: health for health in self.sync.report(now_ns)}[name]


def problems(health):
    return {problem for problem in Problem if f"{problem.name}: " in health.message}


def test_every_frame_of_two_good_cameras_is_in_a_pair():
    cameras = Cameras()
    pairs = []
    for i in range(1, 31):
        assert cameras.expose("n", i * 33 * MS) is None
        pairs.append(cameras.expose("m", i * 33 * MS + 15 * MS))
    assert [(pair.n.stamp_ns, pair.m.stamp_ns) for pair in pairs] == [
        (i * 33 * MS, i * 33 * MS + 15 * MS) for i in range(1, 31)
    ]
    assert (pairs[0].n.camera, pairs[0].m.camera) == ("camera_n_optical", "camera_m_optical")
    assert cameras.sync.latest() is pairs[-1]
    for health in cameras.sync.report(S):
        assert health == Health(name=health.name, level=Level.OK, message="ok", values=health.values)
        assert health.values["rate_hz"] == pytest.approx(30)
        assert health.values["delivered_count"] == 30


def test_a_calibration_holds_until_the_next():
    cameras = Cameras()
    cameras.expose("n", S)
    other = dataclasses.replace(INTRINSICS, fx=9.0)
    cameras.sync.add_camera_info("m", stamped(other, 0, "camera_m_optical"))
    assert cameras.expose("m", S).m.intrinsics == other
    cameras.expose("n", 2 * S)
    assert cameras.expose("m", 2 * S).m.intrinsics == other


def test_frames_get_the_pose_of_their_camera_at_their_time():
    asked = []

    def lookup(camera, stamp_ns):
        asked.append((camera, stamp_ns))
        return se3.translation(1, 2, 3) if camera == "camera_n_optical" else None

    cameras = Cameras(T_world_camera=lookup)
    cameras.expose("n", S)
    pair = cameras.expose("m", S + MS)
    assert asked == [("camera_n_optical", S), ("camera_m_optical", S + MS)]
    np.testing.assert_array_equal(pair.n.T_world_camera, se3.translation(1, 2, 3))
    assert pair.m.T_world_camera is None


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan), np.diag([2.0, 1, 1, 1]), ValueError("quaternion is zero")])
def test_a_pose_that_is_none_stops_the_pair(bad):
    def lookup(camera, stamp_ns):
        if isinstance(bad, ValueError):
            raise bad
        return bad

    cameras = Cameras(T_world_camera=lookup)
    cameras.expose("n", S)
    assert cameras.expose("m", S) is None
    assert cameras.sync.latest() is None
    health = cameras.health("pair", S)
    assert problems(health) == {Problem.INVALID_POSE}
    assert health.level is Level.ERROR


def test_a_camera_that_stops_is_named_after_the_timeout_with_the_silent_stream():
    cameras = Cameras()
    cameras.expose("n", S)
    cameras.expose("m", S)
    cameras.sync.report(S)
    cameras.expose("m", 2 * S)
    assert cameras.health("camera n", 2 * S).level is Level.OK
    health = cameras.health("camera n", 2 * S + 1)
    assert problems(health) == {Problem.STREAM_STOPPED}
    assert "colour: nothing for 1.0 s, depth: nothing for 1.0 s" in health.message
    assert problems(cameras.health("pair", 2 * S + 1)) == {Problem.CAMERA_WITHOUT_FRAMES}
    assert cameras.health("camera m", 2 * S + 1).level is Level.OK


def test_a_bad_frame_among_good_ones_is_a_warning_and_is_counted():
    cameras = Cameras()
    for i in range(1, 4):
        cameras.expose("n", i * S, depth=stamped(np.zeros(SIZE, np.float32)) if i == 2 else DEPTH)
        assert (cameras.expose("m", i * S) is None) == (i == 2)
    health = cameras.health("camera n", 3 * S)
    assert (health.level, problems(health)) == (Level.WARN, {Problem.NO_VALID_DEPTH})
    assert health.values["no_valid_depth_count"] == 1
    assert health.values["colour_count"] == health.values["depth_count"] == 3
    assert health.values["delivered_count"] == 2
    assert cameras.health("camera n", 4 * S).level is Level.OK


def test_a_repeated_stamp_is_no_new_image():
    cameras = Cameras()
    for view in ("n", "m"):
        cameras.expose(view, S)
    for i in range(30):
        cameras.expose("n", S, now_ns=S + i * 100 * MS)
        cameras.expose("m", S + i * 33 * MS + 1, now_ns=S + i * 100 * MS)
    health = cameras.health("camera n", 4 * S)
    assert problems(health) == {Problem.STREAM_FROZEN}
    assert cameras.sync.latest().n.stamp_ns == S
    assert problems(cameras.health("camera n", 5 * S)) == {Problem.STREAM_STOPPED}


def test_when_the_clock_jumps_back_nothing_from_before_is_left():
    cameras = Cameras()
    for view in ("n", "m"):
        cameras.expose(view, 100 * S)
    cameras.expose("m", 101 * S)
    assert cameras.sync.latest() is not None
    cameras.expose("n", S, now_ns=101 * S)
    assert cameras.sync.latest() is None
    cameras.expose("m", S, now_ns=101 * S)
    cameras.expose("n", 2 * S, now_ns=101 * S)
    pair = cameras.expose("m", 2 * S, now_ns=101 * S)
    assert (pair.n.stamp_ns, pair.m.stamp_ns) == (2 * S, 2 * S)
    health = cameras.health("camera n", 102 * S)
    assert problems(health) == {Problem.CLOCK_JUMPED_BACK}
    assert "by 99.000 s" in health.message


def test_streams_that_run_but_never_meet_are_named_with_their_distance():
    cameras = Cameras()
    for i in range(30):
        cameras.expose("n", i * 100 * MS, depth_stamp_ns=i * 100 * MS + 50 * MS)
        cameras.expose("m", i * 100 * MS)
    health = cameras.health("camera n", 3 * S)
    assert problems(health) == {Problem.DEPTH_AND_COLOUR_APART}
    assert "50.0 ms apart" in health.message


def test_cameras_with_different_clocks_are_named():
    cameras = Cameras()
    for i in range(30):
        cameras.expose("n", i * 100 * MS)
        cameras.expose("m", i * 100 * MS + 5 * S, now_ns=i * 100 * MS)
    assert problems(cameras.health("pair", 3 * S)) == {Problem.CAMERAS_APART}
    assert cameras.health("camera n", 3 * S).level is Level.OK


def resized(image, height, width):
    shape = (height, width, *image.read().shape[2:])
    return stamped(np.ones(shape, image.read().dtype))


@pytest.mark.parametrize(
    ("problem", "parts"),
    [
        (Problem.DEPTH_NOT_REGISTERED, (RGB, dataclasses.replace(DEPTH, frame_id="camera_n_depth"), INFO)),
        (Problem.DEPTH_NOT_REGISTERED, (RGB, resized(DEPTH, 12, 16), INFO)),
        (Problem.CAMERA_INFO_MISSING, (RGB, DEPTH, None)),
        (Problem.CAMERA_INFO_OF_ANOTHER_IMAGE, (RGB, DEPTH, dataclasses.replace(INFO, frame_id="camera_m_optical"))),
        (Problem.CAMERA_INFO_OF_ANOTHER_IMAGE, (resized(RGB, 12, 16), resized(DEPTH, 12, 16), INFO)),
        (Problem.DEPTH_UNIT_DOUBTFUL, (RGB, stamped(np.full(SIZE, 800, np.float32)), INFO)),
        (Problem.DEPTH_UNIT_DOUBTFUL, (RGB, stamped(np.full(SIZE, 0.001, np.float32)), INFO)),
        (Problem.NO_VALID_DEPTH, (RGB, stamped(np.zeros(SIZE, np.float32)), INFO)),
    ],
)
def test_parts_that_do_not_make_a_frame_are_refused_by_name(problem, parts):
    with pytest.raises(BadObservation) as refusal:
        rgbd_frame(*parts, plausible_depth_m=CONFIG.plausible_depth_m)
    assert refusal.value.problem is problem
    assert problem.value in str(refusal.value)


def test_a_few_valid_pixels_are_enough_to_judge_depth():
    depth = np.zeros(SIZE, np.float32)
    depth[2, 3] = 0.7
    assert rgbd_frame(RGB, stamped(depth), INFO, plausible_depth_m=(0.05, 50.0)).depth is depth


@pytest.mark.parametrize(
    "bad", [{"camera_slop_s": -1.0}, {"timeout_s": 0.0}, {"queue_size": 0}, {"plausible_depth_m": (2.0, 1.0)}]
)
def test_tolerances_that_pair_nothing_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be|>="):
        SyncConfig(**bad)


def test_health_ships_an_example():
    assert Health.example().level is Level.OK
