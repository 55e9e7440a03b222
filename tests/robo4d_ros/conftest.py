"""Real nodes, isolated from those of other test runs."""

import importlib.util
import os
from pathlib import Path

import pytest

# A domain of the run's own (0 to 101 leave the system's ephemeral ports alone); the child processes inherit it.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)

MISSING = next((name for name in ("rclpy", "robo4d_msgs") if importlib.util.find_spec(name) is None), None)


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.ros)
            # Nodes watch the clock: on a machine that stands still for seconds, it is right that they complain. Once:
            # the summary lists what was run again, and a test that is there often has a race.
            if item.get_closest_marker("flaky") is None:
                item.add_marker(pytest.mark.flaky(reruns=1))


if MISSING:

    class NoRos(pytest.Module):
        def collect(self):
            pytest.skip(
                f"{MISSING} is not found; run `make test`, or `scripts/with_ros python -m pytest tests/robo4d_ros`",
                allow_module_level=True,
            )

    def pytest_pycollect_makemodule(module_path, parent):
        return NoRos.from_parent(parent, path=module_path)

else:
    from robo4d_ros.transport import THIS_MACHINE
    from ros_probe import Probe, Process

    os.environ.update(THIS_MACHINE)

    @pytest.fixture
    def probe():
        """A node that spins in the background."""
        probe = Probe()
        yield probe
        probe.close()

    @pytest.fixture
    def start():
        """Start processes that do not outlive the test: start(command, VARIABLE=value)."""
        processes = []

        def start(command, **environment):
            processes.append(Process([str(part) for part in command], **environment))
            return processes[-1]

        yield start
        for process in processes:
            process.close()
