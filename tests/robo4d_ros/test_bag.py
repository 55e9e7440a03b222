"""Recordings of real nodes, read by other people's readers, also after the recorder was killed."""

import ctypes
import os
import select
import signal
import sys
from contextlib import contextmanager, suppress

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_msgs.msg import SessionState
from robo4d_ros.bag.mcap_file import McapFile, message_definition
from robo4d_ros.conversions import message_from_video
from robo4d_ros.execution.arm_listener import LATCHED
from ros_probe import DEADLINE_S
from rosbags.highlevel import AnyReader
from std_msgs.msg import String
from wire import assert_equal

from robo4d.video import PointmapVideo


def messages_of_mcap(path):
    """What the mcap library reads."""
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [(channel.topic, message) for _, channel, _, message in reader.iter_decoded_messages()]


def count_of_messages(path):
    """How many messages a file holds that is being written: none while a reader meets a batch half-way."""
    with suppress(Exception):  # whatever garbage makes a reader raise
        return len(messages_of_mcap(path))
    return 0


@contextmanager
def modifications(path):
    """A function that waits until the file is written to, and returns at once if it was since the last call."""
    libc, IN_MODIFY = ctypes.CDLL(None), 2  # sys/inotify.h
    descriptor = libc.inotify_init()
    assert libc.inotify_add_watch(descriptor, os.fsencode(path), IN_MODIFY) >= 0

    def wait():
        assert select.select([descriptor], [], [], DEADLINE_S)[0], f"{path} is not written to"
        os.read(descriptor, 65536)

    try:
        yield wait
    finally:
        os.close(descriptor)


def messages_of_rosbags(path):
    """What the rosbags library reads."""
    with AnyReader([path]) as reader:
        return [
            (connection.topic, reader.deserialize(data, connection.msgtype))
            for connection, _, data in reader.messages()
        ]


def text(number):
    return serialize_message(String(data=f"number {number}"))


def test_every_checkpoint_is_a_complete_file(tmp_path):
    path = tmp_path / "talk.mcap"
    file = McapFile(path)
    assert messages_of_mcap(path) == []
    for count in range(1, 4):
        file.write("/talk", "std_msgs/msg/String", text(count), stamp_ns=count)
        file.checkpoint()
        for read in (messages_of_mcap, messages_of_rosbags):
            assert [message.data for _, message in read(path)] == [f"number {i}" for i in range(1, count + 1)]
    file.close()
    assert len(messages_of_mcap(path)) == 3


def test_a_recording_is_never_overwritten(tmp_path):
    McapFile(tmp_path / "talk.mcap").close()
    with pytest.raises(FileExistsError):
        McapFile(tmp_path / "talk.mcap")


def test_messages_of_our_own_types_come_back(tmp_path):
    path, video = tmp_path / "video.mcap", PointmapVideo.example()
    file = McapFile(path)
    data = serialize_message(message_from_video(video))
    file.write("/predicted/video", "robo4d_msgs/msg/PointmapVideo", data, stamp_ns=5)
    file.close()
    for read in (messages_of_mcap, messages_of_rosbags):
        ((topic, message),) = read(path)
        assert topic == "/predicted/video"
        assert len(message.cameras) == 2
        assert bytes(message.rgb) == video.rgb.tobytes()


def test_a_definition_holds_all_parts_once():
    definition = message_definition("robo4d_msgs/msg/RgbdPair")
    assert definition.count("MSG: std_msgs/Header\n") == 1
    assert definition.count("MSG: robo4d_msgs/RgbdFrame\n") == 1
    with pytest.raises(ValueError, match="is missing"):
        message_definition("std_msgs/msg/Nothing")


def test_what_was_heard_is_readable_after_kill_9(tmp_path, start, probe):
    path = tmp_path / "session.mcap"
    states = probe.node.create_publisher(SessionState, "session/state", LATCHED)
    states.publish(SessionState(state="idle"))  # before there is a recorder
    given = ["-p", f"path:={path}", "-p", "checkpoint_s:=0.1"]
    process = start([sys.executable, "-m", "robo4d_ros.recorder_node", "--ros-args", *given])
    video = PointmapVideo.example()
    publisher = probe.publisher(VideoMessage, "predicted/video", LATCHED)
    publisher.publish(message_from_video(video))
    talk = probe.publisher(String, "talk", 10)
    for number in range(50):
        talk.publish(String(data=str(number)))
    with modifications(path) as next_modification:
        while count_of_messages(path) < 52:
            next_modification()
    process.signal(signal.SIGKILL)
    process.wait()
    for read in (messages_of_mcap, messages_of_rosbags):
        messages = read(path)
        assert [message.data for topic, message in messages if topic == "/talk"] == [str(i) for i in range(50)]
        assert [message.state for topic, message in messages if topic == "/session/state"] == ["idle"]
    (recorded,) = (message for topic, message in messages_of_mcap(path) if topic == "/predicted/video")
    assert_equal(recorded.header.frame_id, video.frame)


def test_a_path_that_cannot_be_written_ends_the_process_with_the_reason(tmp_path, start):
    (tmp_path / "there.mcap").touch()
    given = ["--ros-args", "-p", f"path:={tmp_path}/there.mcap"]
    process = start([sys.executable, "-m", "robo4d_ros.recorder_node", *given])
    assert process.wait(60) == 1
    assert any("File exists" in line for line in process.lines)
