"""`python -m robo4d_ros NODE [--ros-args ...]`: one node, which says nothing when it is stopped while it loads."""

import importlib
import signal
import sys


def main() -> None:
    """Run the node that the first argument names."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    module = importlib.import_module(f"robo4d_ros.{sys.argv.pop(1)}_node")  # takes seconds
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module.main()


if __name__ == "__main__":
    main()
