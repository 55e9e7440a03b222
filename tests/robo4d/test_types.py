import dataclasses

import numpy as np
import pytest

from robo4d import Camera, Intrinsics, Pointmap, PointmapVideo, RgbdFrame, RgbdPair


@pytest.mark.parametrize("kind", [Camera, Intrinsics, Pointmap, PointmapVideo, RgbdFrame, RgbdPair])
def test_every_type_ships_an_example(kind):
    assert isinstance(kind.example(), kind)


def test_a_frame_refuses_intrinsics_of_another_size():
    frame = RgbdFrame.example()
    with pytest.raises(ValueError, match="register depth to colour"):
        dataclasses.replace(frame, intrinsics=frame.intrinsics.resized(width=4, height=3))


def test_a_pair_is_as_old_as_its_older_view():
    frame = RgbdFrame.example()
    pair = RgbdPair(n=dataclasses.replace(frame, stamp_ns=7), m=dataclasses.replace(frame, stamp_ns=5))
    assert pair.stamp_ns == 5


def test_a_video_refuses_times_that_stand_still():
    with pytest.raises(ValueError, match="times must increase"):
        dataclasses.replace(PointmapVideo.example(), times_s=np.array([0.5, 0.5], np.float32))


def test_shapes_are_checked_while_testing():
    with pytest.raises(Exception, match="Type-check"):
        Pointmap(points=np.zeros((2, 2, 4)), valid=np.zeros((2, 2), bool), frame="camera")
