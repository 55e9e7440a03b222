"""An MCAP file of ROS 2 messages that readers find complete while it is being written, and after `kill -9`.

MCAP keeps its index at the end. After every batch of messages the index is written, too, and the next batch overwrites
it. Each batch goes to the file in one system call, so that only a kill within that call leaves it without an index; the
messages before are then still read by whoever reads the file from its start (`mcap recover`).
"""

import os
import re
import struct
from pathlib import Path

from ament_index_python import get_package_share_path
from mcap.writer import CompressionType, Writer

_PRIMITIVES = (
    {"bool", "byte", "char", "float32", "float64", "string", "wstring"}
    | {f"int{bits}" for bits in (8, 16, 32, 64)}
    | {f"uint{bits}" for bits in (8, 16, 32, 64)}
)
_DATA_END_BYTES = 13
"""Length of the record that ends the data: opcode, length, checksum."""
_FOOTER = struct.Struct("<QQI8s")
"""The end of the file: where summary and summary offsets begin, checksum, magic."""


class McapFile:
    """Takes serialized messages; `checkpoint` makes them safe."""

    def __init__(self, path: Path) -> None:
        """Begin a new file; one that is there already is never overwritten.

        Raises:
            FileExistsError: it is there already.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._tail = _Tail()
        self._writer = Writer(self._tail, compression=CompressionType.ZSTD, use_summary_offsets=False)
        self._writer.start(profile="ros2", library="robo4d")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._sequence = 0
        self.checkpoint()

    def write(self, topic: str, type_name: str, data: bytes, *, stamp_ns: int) -> None:
        """Keep a message.

        Args:
            topic: Its full name.
            type_name: Such as "sensor_msgs/msg/Image".
            data: The message as rclpy serializes it (CDR).
            stamp_ns: When it arrived [ns].
        """
        if topic not in self._channels:
            if type_name not in self._schemas:
                definition = message_definition(type_name).encode()
                self._schemas[type_name] = self._writer.register_schema(type_name, "ros2msg", definition)
            self._channels[topic] = self._writer.register_channel(
                topic, "cdr", self._schemas[type_name], metadata={"offered_qos_profiles": ""}
            )
        self._sequence += 1
        self._writer.add_message(self._channels[topic], stamp_ns, data, publish_time=stamp_ns, sequence=self._sequence)

    def checkpoint(self) -> None:
        """Write all that was kept, and the index."""
        self._writer.finish()
        pending, offset = self._tail.content, self._tail.offset
        written = 0
        while written < len(pending):
            written += os.pwrite(self._descriptor, memoryview(pending)[written:], offset + written)
        summary_start, *_ = _FOOTER.unpack_from(pending, len(pending) - _FOOTER.size)
        self._tail.go_on_at(summary_start - _DATA_END_BYTES)

    def close(self) -> None:
        """Write all that was kept, and end."""
        self.checkpoint()
        os.close(self._descriptor)


class _Tail:
    """What is to be written at the end of the file, as the stream that a writer expects."""

    def __init__(self) -> None:
        self.offset = 0
        self.content = bytearray()

    def go_on_at(self, offset: int) -> None:
        self.offset, self.content = offset, bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)

    def tell(self) -> int:
        return self.offset + len(self.content)

    def flush(self) -> None:
        """Nothing to do before the checkpoint."""


def message_definition(type_name: str) -> str:
    """The installed definition of a message with those of all its parts, as MCAP wants them ("ros2msg").

    Raises:
        ValueError: it is not installed.
    """
    parts = {type_name: _definition(type_name)}
    waiting = [type_name]
    while waiting:
        package = waiting[0].split("/")[0]
        for part in _parts(parts[waiting.pop(0)], package):
            if part not in parts:
                parts[part] = _definition(part)
                waiting.append(part)
    main, *others = parts.items()
    separator = "=" * 80
    return "\n".join([main[1], *(f"{separator}\nMSG: {_short(name)}\n{text}" for name, text in others)])


def _definition(type_name: str) -> str:
    package, *_, name = type_name.split("/")
    path = get_package_share_path(package) / "msg" / f"{name}.msg"
    if not path.exists():
        raise ValueError(f"{type_name} cannot be recorded: {path} is missing")
    return path.read_text()


def _parts(definition: str, package: str) -> list[str]:
    """The types of the fields that are messages themselves."""
    found: list[str] = []
    for line in definition.splitlines():
        field = line.split("#")[0].split()
        if len(field) < 2 or "=" in field[1]:
            continue
        name = re.sub(r"(\[.*\]|<=\d+)$", "", field[0])
        name = re.sub(r"<=\d+$", "", name)
        if name not in _PRIMITIVES:
            owner, _, short = name.rpartition("/")
            found.append(f"{owner.removesuffix('/msg') or package}/msg/{short}")
    return found


def _short(type_name: str) -> str:
    package, *_, name = type_name.split("/")
    return f"{package}/{name}"
