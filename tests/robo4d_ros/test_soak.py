import signal
import time

from soak_executor import soak

GOALS_ARE_FORGOTTEN_S = 2.5
WARM, PLANS = 2, 6
PER_PLAN = 40
"""A plan is some thousand objects."""


def objects(process):
    """How many Python objects the executor holds when no goal is left."""
    time.sleep(GOALS_ARE_FORGOTTEN_S)
    process.lines.clear()
    process.signal(signal.SIGUSR1)
    return int(process.wait_for_line("holds").split()[-2])


def test_plan_after_plan_is_executed_and_nothing_of_it_is_kept():
    counts = [objects(process) for plans, process in enumerate(soak(PLANS, counted=True), 1) if plans in (WARM, PLANS)]
    assert counts[1] - counts[0] < PER_PLAN * (PLANS - WARM)
