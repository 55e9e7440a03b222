import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robo4d.sim.arm import TrackerState
from robo4d.sim.cell import Cell
from robo4d.sim.snapshot import Snapshot

numbers = st.floats(width=64)
names = st.text(st.characters(codec="ascii", categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=8)
trackers = st.builds(
    TrackerState,
    joints=arrays(float, 7, elements=numbers),
    twist=arrays(float, 6, elements=numbers),
    T_world_target=arrays(float, (4, 4), elements=numbers),
)


@st.composite
def snapshots(draw):
    arms = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    shapes = st.tuples(st.integers(0, 4), st.integers(1, 4))
    return Snapshot(
        physics=draw(arrays(float, st.integers(0, 30), elements=numbers)),
        trackers={arm: draw(trackers) for arm in arms},
        widths={arm: draw(numbers) for arm in arms},
        grip_forces={arm: draw(numbers) for arm in arms},
        looks=draw(st.dictionaries(names, arrays(float, shapes, elements=numbers), max_size=3)),
    )


@given(snapshots())
def test_bytes_hold_all_of_a_snapshot_bit_by_bit(snapshot):
    copy = Snapshot.from_bytes(snapshot.to_bytes())
    np.testing.assert_array_equal(copy.physics, snapshot.physics)
    assert list(copy.trackers) == list(snapshot.trackers)
    for arm, tracker in snapshot.trackers.items():
        for name, values in vars(tracker).items():
            np.testing.assert_array_equal(getattr(copy.trackers[arm], name), values)
    np.testing.assert_array_equal(list(copy.widths.values()), list(snapshot.widths.values()))
    np.testing.assert_array_equal(list(copy.grip_forces.values()), list(snapshot.grip_forces.values()))
    assert copy.looks.keys() == snapshot.looks.keys()
    for name, values in snapshot.looks.items():
        np.testing.assert_array_equal(copy.looks[name], values)


def test_a_cell_goes_on_from_bytes_as_from_the_snapshot_itself():
    cell = Cell("put_spatula_on_table")
    expert = cell.task.expert()
    state = cell.reset(seed=1, distribution="wide")
    for _ in range(50):
        state = cell.step(expert.command(state))
    snapshot = cell.snapshot()
    data = snapshot.to_bytes()
    assert len(data) < 16_000
    ends = []
    for start in (snapshot, Snapshot.from_bytes(data)):
        state = cell.restore(start)
        for _ in range(20):
            state = cell.step({})
        ends.append(np.concatenate([arm.joints for arm in state.arms.values()]))
    np.testing.assert_array_equal(*ends)


def _pickled():
    file = io.BytesIO()
    np.savez(file, physics=np.array([{}], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"junk", Snapshot.example().to_bytes()[:-30], _pickled()])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="no snapshot of a cell"):
        Snapshot.from_bytes(data)
