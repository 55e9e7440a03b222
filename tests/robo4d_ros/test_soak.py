from soak_executor import LEAK_MIB, soak


def test_plan_after_plan_is_executed_without_a_leak():
    sizes = list(soak(6))
    assert len(sizes) == 6
    assert sizes[-1] - sizes[2] < LEAK_MIB / 4
