"""The life of a node's process: `def main(): run(SimNode)`."""

import sys
from collections.abc import Callable
from contextlib import suppress

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node


def run(make_node: Callable[[], Node], *, threads: int = 1) -> None:
    """Make the node and serve it until Ctrl-C, SIGTERM or a shutdown of its context.

    A config or parameter that the node refuses ends the process with status 1 and one line that says why.

    Args:
        make_node: Makes the node, with `rclpy` initialised. If the node has a method `close`, it is called at the end.
        threads: Callbacks that may run at once, if their groups allow it.
    """
    rclpy.init()
    try:
        try:
            node = make_node()
        except (ValueError, ParameterException) as error:
            rclpy.logging.get_logger("robo4d").fatal(str(error))
            sys.exit(1)
        executor = SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(threads)
        executor.add_node(node)
        try:
            with suppress(KeyboardInterrupt, ExternalShutdownException):
                executor.spin()
        finally:
            with suppress(KeyboardInterrupt):
                getattr(node, "close", lambda: None)()
                executor.shutdown(timeout_sec=1.0)
                node.destroy_node()
    finally:
        rclpy.try_shutdown()
