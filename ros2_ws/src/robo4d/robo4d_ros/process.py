"""The life of a node's process: `def main(): run(SimNode)`."""

import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_worker_failed = threading.Event()


def run(make_node: Callable[[], Node], *, threads: int = 1) -> None:
    """Make the node and serve it until Ctrl-C, SIGTERM or a shutdown of its context.

    The process ends with status 1 when the node refuses a parameter, which is told in one line, or when one of its
    workers fails.

    Args:
        make_node: Makes the node, with `rclpy` initialised. If the node has a method `close`, it is called at the end.
        threads: Callbacks that may run at once, if their groups allow it.
    """
    for number in _STOP_SIGNALS:  # until the node is there, and when one asks twice
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        # Its own handlers end the context while callbacks use it, each of which then fails in its own way.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        _serve(make_node, threads)
    rclpy.try_shutdown()
    if _worker_failed.is_set():
        sys.exit(1)


def _serve(make_node: Callable[[], Node], threads: int) -> None:
    try:
        node = make_node()
    except (ValueError, ParameterException) as error:
        rclpy.logging.get_logger("robo4d").fatal(str(error))
        sys.exit(1)
    executor = SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(threads)
    executor.add_node(node)
    try:
        with _stop_on_signal(executor) as stop:
            while node.context.ok() and not stop.is_set():
                executor.spin_once()
    finally:
        getattr(node, "close", lambda: None)()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()


@contextmanager
def _stop_on_signal(executor: Executor) -> Iterator[threading.Event]:
    """Set by the first signal, after which the callback that runs is finished, and no other one begun.

    Python's handlers only run between two steps of Python, of which there are none while an executor waits. So a
    thread hears of the signal from the part of the interpreter that does not wait.
    """
    stop = threading.Event()
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    def wake() -> None:
        while told.recv(1):
            executor.create_task(lambda: None)

    for number in _STOP_SIGNALS:
        signal.signal(number, handle)
    thread = threading.Thread(target=wake, name="signals", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(-1)
        tell.close()
        thread.join()


class Worker:
    """A thread that belongs to a node: when it fails, the node's process ends, and says why."""

    def __init__(self, node: Node, name: str, work: Callable[[], None]) -> None:
        """Prepare to do the work once."""
        self._node, self._work = node, work
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the work."""
        self._thread.join()

    def _guarded(self) -> None:
        try:
            self._work()
        except Exception:
            context = self._node.context
            if context.ok():  # else it published while the process was shutting down, as it may
                self._node.get_logger().fatal(f"{self._thread.name} failed:\n{traceback.format_exc()}")
                _worker_failed.set()
                context.try_shutdown()


class Jobs:
    """A thread that does one job after another, so that callbacks never wait for long work."""

    def __init__(self, node: Node, name: str) -> None:
        """Wait for the first job."""
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker = Worker(node, name, self._run)
        self._worker.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Do it after those that wait already."""
        self._queue.put(job)

    def close(self) -> None:
        """Finish those that wait, and end."""
        self._queue.put(None)
        self._worker.join()

    def _run(self) -> None:
        while job := self._queue.get():
            job()
