import importlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robo4d.pairing import ApproximateTime

SLOP_NS = 20_000_000
QUEUE = 10


@pytest.fixture(params=["own", "message_filters"])
def make(request):
    if request.param == "own":
        return ApproximateTime
    pytest.importorskip("message_filters", reason="comes with a ROS installation (ros-jazzy-message-filters)")
    return importlib.import_module("robo4d_ros.sync").MessageFiltersPairing


both = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The fixture gives a class, so that examples share nothing."""


def increasing(min_gap, max_gap):
    gaps = st.lists(st.integers(min_gap, max_gap), max_size=30)
    return gaps.map(lambda gaps: [sum(gaps[: i + 1]) for i in range(len(gaps))])


def run(pairing, streams, turns):
    """Feed two lists of stamps, each in its order, as the turns interleave them; items are the stamps."""
    queues, pairs = [list(stream) for stream in streams], []
    for turn in [*turns, *[0] * len(streams[0]), *[1] * len(streams[1])]:
        if queues[turn]:
            stamp = queues[turn].pop(0)
            pairs += pairing.add(turn, stamp, stamp)
    return pairs


turns = st.lists(st.integers(0, 1), max_size=60)


@both
@given(increasing(1, 2 * SLOP_NS), increasing(1, 2 * SLOP_NS), turns)
def test_pairs_are_within_the_slop_in_order_and_use_each_message_once(make, first, second, turns):
    pairs = run(make(SLOP_NS, QUEUE), (first, second), turns)
    assert all(abs(a - b) <= SLOP_NS for a, b in pairs)
    for stream in zip(*pairs, strict=True):
        assert all(a < b for a, b in itertools.pairwise(stream))
    assert all(a in first and b in second for a, b in pairs)


@both
@given(
    st.integers(1, 100),
    st.integers(-SLOP_NS, SLOP_NS),
    st.integers(2 * SLOP_NS + 1, 10 * SLOP_NS),
    st.lists(st.booleans(), max_size=100),
)
def test_no_pair_of_perfect_streams_is_lost(make, count, offset, period, order):
    pairing, pairs = make(SLOP_NS, QUEUE), []
    for i in range(count):
        expected = (i * period + SLOP_NS, i * period + SLOP_NS + offset)
        swapped = i < len(order) and order[i]
        for stream in (1, 0) if swapped else (0, 1):
            pairs += pairing.add(stream, expected[stream], expected[stream])
    assert pairs == [(i * period + SLOP_NS, i * period + SLOP_NS + offset) for i in range(count)]


@both
@given(increasing(2 * SLOP_NS + 1, 5 * SLOP_NS), increasing(2 * SLOP_NS + 1, 5 * SLOP_NS), turns)
def test_slow_streams_are_paired_completely_whatever_is_missing(make, first, second, turns):
    pairs = run(make(SLOP_NS, 100), (first, second), turns)
    assert pairs == [(a, b) for a in first for b in second if abs(a - b) <= SLOP_NS]


@given(st.sets(st.integers(1, 30)), turns)
def test_a_lost_message_never_shifts_its_followers_to_a_neighbour(lost, turns):
    period = 16_666_667  # neighbours of a 60 Hz stream are nearer than the slop
    first = [i * period for i in range(31)]
    second = [stamp for i, stamp in enumerate(first) if i not in lost]
    pairs = run(ApproximateTime(SLOP_NS, 100), (first, second), turns)
    assert pairs == [(stamp, stamp) for stamp in second]


def test_the_nearer_of_two_partners_is_taken():
    pairing = ApproximateTime(SLOP_NS, QUEUE)
    period = 33_000_000
    pairs = run(pairing, ([0, period, 2 * period], [18_000_000 + i * period for i in range(3)]), [0, 1, 0, 1, 0, 1])
    assert pairs[1:] == [(2 * period, 18_000_000 + period)]


def test_only_so_many_messages_wait(make):
    pairing = make(SLOP_NS, QUEUE)
    stamps = [i * 10 * SLOP_NS for i in range(100)]
    assert run(pairing, (stamps, []), []) == []
    assert run(pairing, ([], [stamps[-QUEUE - 1], stamps[-QUEUE]]), []) == [(stamps[-QUEUE],) * 2]


def test_after_a_reset_nothing_waits_and_time_may_start_again(make):
    pairing = make(SLOP_NS, QUEUE)
    assert run(pairing, ([5 * SLOP_NS], []), []) == []
    pairing.reset()
    assert run(pairing, ([], [5 * SLOP_NS]), []) == []
    pairing.reset()
    assert run(pairing, ([0], [0]), []) == [(0, 0)]
