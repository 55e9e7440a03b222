"""A pose tracker's library in a process of its own: it may print, change global state, hang or die there."""

import itertools
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any

import numpy as np

from robo4d_models.tracking.servers import wire

_CHUNK = 1 << 20


class EngineFailed(RuntimeError):
    """The library reported an error, gave no answer in time, or its process died. The next `create` starts it anew."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the process is started."""

    python: Path
    """Interpreter of the environment that has the library."""
    server: Path
    """Program to run: one of `robo4d_models.tracking.servers`."""
    start_timeout_s: float = 600.0
    """For starting and for each new object [s]; TensorRT builds its engines then, the first time."""
    timeout_s: float = 10.0
    """For each image [s]."""

    def __post_init__(self) -> None:
        """Refuse what cannot be started."""
        for name in ("python", "server"):
            if not (path := Path(getattr(self, name))).exists():
                raise ValueError(f"{name}: there is no {path}; see the head of robo4d_models/tracking/servers/*.py")
        if min(self.timeout_s, self.start_timeout_s) <= 0:
            raise ValueError(f"timeouts must be positive [s], got {self}")


class Engine:
    """Asks the process, and starts it when it does not run.

    Args:
        config: How it is started.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self.generation = 0
        """How often the process was started: what was created in an earlier one is gone."""

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def create(self, *, cad: Path, width: int, height: int) -> int:
        """A new object to track, by its CAD, in images of this size [px]; returns its number."""
        tracker = next(self._numbers)
        values = {"op": "create", "tracker": tracker, "cad": str(cad), "width": width, "height": height}
        if not self.running:
            self._start()
        self._ask(values, {}, self._config.start_timeout_s)
        return tracker

    def ask(self, op: str, tracker: int, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of the answer to a request for one object.

        Raises:
            EngineFailed: see there.
        """
        return self._ask({"op": op, "tracker": tracker}, arrays, self._config.timeout_s)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()
            self._process = None

    def _start(self) -> None:
        self.close()
        command = [str(self._config.python), str(self._config.server)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.generation += 1

    def _ask(
        self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray], timeout_s: float
    ) -> dict[str, np.ndarray]:
        if self._process is None:
            raise EngineFailed(f"{self._config.server.name} is not running any more; register again")
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        deadline = time.monotonic() + timeout_s
        try:
            self._write(requests, wire.pack(values, arrays))
            reply, answers = wire.unpack(lambda count: self._read(replies, count, deadline))
        except (EOFError, BrokenPipeError) as error:
            status = self._process.wait()
            self.close()
            name = self._config.server.name
            raise EngineFailed(
                f"{name} died with exit status {status}: see its messages above; it starts anew at the "
                "next registration"
            ) from error
        except (TimeoutError, ValueError) as error:
            self.close()
            raise EngineFailed(f"{self._config.server.name} was ended: {error}") from error
        if "error" in reply:
            raise EngineFailed(f"{self._config.server.name} reports {reply['error']}")
        return answers

    @staticmethod
    def _write(pipe: IO[bytes], data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[pipe.write(view[:_CHUNK]) :]

    @staticmethod
    def _read(pipe: IO[bytes], count: int, deadline: float) -> bytes:
        data = bytearray()
        with DefaultSelector() as selector:
            selector.register(pipe, EVENT_READ)
            while len(data) < count:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError("no answer in time; raise the timeout if the machine is slow")
                if not (part := pipe.read(min(count - len(data), _CHUNK))):
                    raise EOFError
                data += part
        return bytes(data)
