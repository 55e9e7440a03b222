"""Which tests share a worker: the tests of one file, and all tests that start nodes.

Nodes live by the clock, so that two sets of them at once would only keep each other waiting.
"""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

NODES = "tests/robo4d_ros/"


class OneSetOfNodes(LoadScopeScheduling):
    def _split_scope(self, nodeid):
        return NODES if nodeid.startswith(NODES) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config, log):
    return OneSetOfNodes(config, log)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parents[1] / NODES):
            item.add_marker(pytest.mark.ros)
