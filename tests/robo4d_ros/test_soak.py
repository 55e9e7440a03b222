from soak_executor import LEAK_MIB, soak


def test_plan_after_plan_is_executed_without_a_leak():
    sizes = list(soak(3))
    assert len(sizes) == 3
    assert sizes[-1] - sizes[0] < LEAK_MIB / 4
