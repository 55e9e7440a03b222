"""Processes that are started, watched and stopped together, where `ros2 launch` is not installed."""

import ctypes
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from robo4d_ros.bringup.graph import OnExit

_STOP_STEPS = ((signal.SIGINT, 6.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
"""How a process is asked to end, and how long it may take [s]; a second Ctrl-C goes to the next step at once."""
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
"""Pause before a restart; it doubles each time, and begins anew after a run of the longest pause."""
_POLL_S = 0.2
"""Python runs signal handlers when the main thread wakes up [s], which a signal alone does not always bring about."""
_HANDLED = (signal.SIGINT, signal.SIGTERM)
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A process to supervise."""

    name: str
    """Shown before each line of its output."""
    arguments: Sequence[str]
    on_exit: OnExit


@dataclass(frozen=True)
class _Ended:
    child: "_Child"


@dataclass(frozen=True)
class _StopRequested:
    pass


class Supervisor:
    """Runs commands until one that must not end has ended, or the user has had enough."""

    def __init__(
        self, commands: Sequence[Command], environment: Mapping[str, str], output: IO[str] | None = None
    ) -> None:
        """Prepare.

        Args:
            commands: What to run.
            environment: Variables that are added to ours.
            output: Where the lines go, with the name of their process before them; standard output when left out.
        """
        self._events: queue.SimpleQueue[_Ended | _StopRequested] = queue.SimpleQueue()
        self._log = _Log([command.name for command in commands], output or sys.stdout)
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._children = [_Child(command, self._environment, self._events, self._log) for command in commands]

    def run(self) -> int:
        """Run to the end.

        Returns:
            0 when stopped by the user, else the exit status of the process that ended it all.
        """
        previous = {s: signal.signal(s, lambda *_: self._events.put(_StopRequested())) for s in _HANDLED}
        try:
            for child in self._children:
                child.start()
            status = self._watch()
            self._stop()
            return status
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for child in self._children:
                child.kill()

    def _watch(self) -> int:
        """Handle the ends of processes until there is a reason to stop."""
        while any(child.running or child.restart_at is not None for child in self._children):
            for child in self._children:
                if child.restart_at is not None and child.restart_at <= time.monotonic():
                    child.start()
            try:
                event = self._events.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(event, _StopRequested):
                self._log.say("stopping")
                return 0
            child, status = event.child, event.child.status
            child.running = False
            self._log.say(f"{child.command.name} ended with status {status}")
            if child.command.on_exit == "shutdown":
                return status
            if child.command.on_exit == "restart":
                self._log.say(f"{child.command.name} starts again in {child.schedule_restart():g} s")
        return 0

    def _stop(self) -> None:
        """Ask, then insist."""
        for number, patience_s in _STOP_STEPS:
            deadline = time.monotonic() + patience_s
            for child in self._children:
                child.signal(number)
            while any(child.running for child in self._children) and time.monotonic() < deadline:
                with suppress(queue.Empty):
                    event = self._events.get(timeout=_POLL_S)
                    if isinstance(event, _StopRequested):
                        break
                    event.child.running = False
            left = [child.command.name for child in self._children if child.running]
            if not left:
                return
            self._log.say(f"still running after {number.name}: {', '.join(left)}")


class _Child:
    """One command, and the process that runs it now."""

    def __init__(
        self,
        command: Command,
        environment: Mapping[str, str],
        events: "queue.SimpleQueue[_Ended | _StopRequested]",
        log: "_Log",
    ) -> None:
        self.command = command
        self._environment, self._events, self._log = environment, events, log
        self._process: subprocess.Popen[str] | None = None
        self._started, self._backoff_s = 0.0, _FIRST_BACKOFF_S
        self.running = False
        """Until the supervisor has taken note of the end: no end is missed, however early it comes."""
        self.restart_at: float | None = None

    @property
    def status(self) -> int:
        """Of the last process that ended."""
        return self._process.returncode if self._process and self._process.returncode is not None else 0

    def start(self) -> None:
        self.restart_at, self.running, self._started = None, True, time.monotonic()
        try:
            self._process = subprocess.Popen(
                self.command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=self._environment,
                start_new_session=True,  # the terminal's Ctrl-C comes to us alone, who stop all in order
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise ValueError(f"cannot start {self.command.name}: {error}") from error
        threading.Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def schedule_restart(self) -> float:
        """Choose the time of the next start; the pause until then [s]."""
        if time.monotonic() - self._started > _LONGEST_BACKOFF_S:
            self._backoff_s = _FIRST_BACKOFF_S
        pause_s, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, _LONGEST_BACKOFF_S)
        self.restart_at = time.monotonic() + pause_s
        return pause_s

    def signal(self, number: int) -> None:
        """To the process and to what it has started."""
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End whatever is left."""
        self.signal(signal.SIGKILL)

    def _follow(self, process: "subprocess.Popen[str]") -> None:
        """Pass the output on, then report the end."""
        assert process.stdout is not None
        for line in process.stdout:
            self._log.line(self.command.name, line.rstrip("\n"))
        process.wait()
        self._events.put(_Ended(self))


class _Log:
    """Lines of several processes on one output, each with its name, in colour on a terminal."""

    def __init__(self, names: Sequence[str], output: IO[str]) -> None:
        self._output, self._lock = output, threading.Lock()
        self._width = max(map(len, names), default=0)
        self._colours = dict(zip(names, itertools.cycle(_COLOURS), strict=False)) if output.isatty() else {}

    def line(self, name: str, text: str) -> None:
        prefix = f"[{name}]".ljust(self._width + 2)
        if name in self._colours:
            prefix = f"\033[{self._colours[name]}m{prefix}\033[0m"
        with self._lock:
            print(prefix, text, file=self._output, flush=True)

    def say(self, text: str) -> None:
        self.line("bringup", text)


def _die_with_parent() -> None:
    """Have the kernel end this process with us, even when we are killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
