import pytest
from hypothesis import given
from hypothesis import strategies as st

from robo4d.history import History


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50, unique=True), st.integers(0, 10**10))
def test_the_nearest_in_time_is_found(stamps_ns, asked_ns):
    history = History[int](span_s=20)
    for stamp_ns in sorted(stamps_ns):
        history.add(stamp_ns, -stamp_ns)
    stamp_ns, value = history.nearest(asked_ns)
    assert value == -stamp_ns
    assert abs(stamp_ns - asked_ns) == min(abs(stamp - asked_ns) for stamp in stamps_ns)


@given(st.lists(st.floats(0.001, 0.02), min_size=50, max_size=300))
def test_thinning_keeps_the_newest_and_leaves_no_gap(steps_s):
    history, now_ns, times_ns = History[int](span_s=100, period_s=0.05), 0, []
    for step_s in steps_s:
        now_ns += round(1e9 * step_s)
        times_ns.append(now_ns)
        history.add(now_ns, now_ns)
        assert history.newest() == (now_ns, now_ns)
    for time_ns in times_ns:
        assert abs(history.nearest(time_ns)[0] - time_ns) <= 0.05e9
    kept = {history.nearest(time_ns)[0] for time_ns in range(0, now_ns, 10**6)}
    assert len(kept) <= 2 + sum(steps_s) / 0.03


def test_what_is_older_than_the_span_is_given_up():
    history = History[int](span_s=1)
    for second in range(1000):
        history.add(second * 10**9, second)
    assert history.nearest(0)[1] > 995


def test_a_jump_back_forgets_what_was_known():
    history = History[int](span_s=10)
    history.add(5 * 10**9, 5)
    history.add(10**9, 1)
    assert history.nearest(5 * 10**9) == (10**9, 1)


def test_an_empty_history_has_nothing_near():
    assert History[int](span_s=1).nearest(0) is None
    with pytest.raises(ValueError, match="span_s"):
        History[int](span_s=0)
