"""All nodes in processes of their own, and a node of this process that talks to them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.node import Node

_POLL_S = 0.1
"""How often conditions are looked at while messages are waited for [s]."""
_ANSWER_S = 30.0
"""Longest wait for a service [s]; on a busy machine a cell takes seconds to build."""


class StackEnded(RuntimeError):
    """All nodes have ended by themselves: nothing more can be asked of them."""


class Stack:
    """The nodes that bringup has started, as seen by a node of ours, which is served while something is waited for."""

    def __init__(self, node: Node, process: subprocess.Popen[bytes]) -> None:
        self._node, self._process = node, process

    def spin(self) -> None:
        """Serve our node for a moment.

        Raises:
            StackEnded: as it says.
        """
        rclpy.spin_once(self._node, timeout_sec=_POLL_S)
        if self._process.poll() is not None:
            raise StackEnded(f"the nodes have ended with status {self._process.returncode}; their messages are above")

    def wait(self, condition: Callable[[], Any], limit_s: float, what: str) -> None:
        """Serve our node until something holds.

        Raises:
            RuntimeError: it does not within the limit, or the stack has ended.
        """
        deadline = time.monotonic() + limit_s
        while not condition():
            self.spin()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} took more than {limit_s:.0f} s; see `robo4d doctor` and the messages above")

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        """The response of a service.

        Raises:
            RuntimeError: there is none, or the stack has ended.
        """
        client = self._node.create_client(kind, name)
        self.wait(client.service_is_ready, _ANSWER_S, f"the service {name}")
        future = client.call_async(kind.Request() if request is None else request)
        self.wait(future.done, _ANSWER_S, f"the answer of {name}")
        self._node.destroy_client(client)
        return future.result()


@contextmanager
def running(node: Node, *arguments: str) -> Iterator[Stack]:
    """Bringup with these arguments, in its own process group, so that Ctrl-C reaches it through us alone and once."""
    command = [sys.executable, "-m", "robo4d_ros.bringup", *arguments]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield Stack(node, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
