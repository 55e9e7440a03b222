import numpy as np
import pytest
from robo4d_models.video4d.coding import HELD_WIDTH
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.keyframes import NOW, SEGMENT_SLOTS, SLOTS
from robo4d_models.video4d.samples import SampleConfig, make_samples

from robo4d.geometry import se3

TASK = "store_cereal_box_under_shelf"
CONFIG = SampleConfig(views=2, size=16, start_views=5, branches=1, period_s=1.0, wide_share=0.0)
GRASP, RELEASE = SLOTS - 2 * SEGMENT_SLOTS - 1, SLOTS - SEGMENT_SLOTS - 1

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    make_samples(out=out, tasks=(TASK,), starts=1, first_seed=1, config=CONFIG)
    return out


@pytest.fixture(scope="module")
def undisturbed(folder):
    return np.load(folder / f"{TASK}-1-1.npy")


def test_the_start_is_seen_by_more_cameras(folder, undisturbed):
    (look,) = np.load(folder / f"{TASK}-1-0.npy")
    assert look["rgb"].shape == (5, 16, 16, 3)
    assert look["next_slot"] == undisturbed["next_slot"][0]
    np.testing.assert_array_equal(look["keyframe_T_world_tcp"], undisturbed["keyframe_T_world_tcp"][0])
    assert len(undisturbed) > 5


def test_an_undisturbed_attempt_passes_its_slots_in_order(undisturbed):
    assert (np.diff(undisturbed["next_slot"]) >= 0).all()
    assert undisturbed["next_slot"][-1] == NOW


def test_grasp_and_release_have_the_same_slot_at_every_moment(undisturbed):
    first = undisturbed[0]
    assert first["keyframe_closed"][GRASP].tolist() == [True, False]
    assert first["keyframe_closed"][RELEASE].tolist() == [False, False]
    for slot in (GRASP, RELEASE):
        known = undisturbed["keyframe_T_world_tcp"][undisturbed["keyframe_known"][:, slot], slot]
        assert np.ptp(known, axis=0).max() < 1e-6


def test_the_arm_was_where_the_next_keyframe_said_when_its_time_came(undisturbed):
    first = undisturbed[0]
    due = first["time_s"] + first["keyframe_duration_s"][: GRASP + 1].sum()
    at_grasp = undisturbed[np.abs(undisturbed["time_s"] - due).argmin()]
    distance, _ = se3.distance(at_grasp["T_world_tcp"][0], first["keyframe_T_world_tcp"][GRASP, 0])
    assert distance < 0.02
    assert undisturbed["gripper_width"][0, 0] > HELD_WIDTH > undisturbed["gripper_width"][len(undisturbed) // 2, 0]


def test_what_is_there_is_not_made_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    make_samples(out=folder, tasks=(TASK,), starts=1, first_seed=1, config=CONFIG)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_samples_follow_from_their_seed(folder, tmp_path):
    """So that they need not travel."""
    make_samples(out=tmp_path, tasks=(TASK,), starts=1, first_seed=1, config=CONFIG)
    ours, theirs = ({path.name: path.read_bytes() for path in f.glob("*.npy")} for f in (tmp_path, folder))
    assert ours == theirs


def test_the_folder_can_be_trained_on(folder):
    task, moment = SampleFolder(folder, tasks=(TASK,)).draw(np.random.default_rng(0), 1)[0]
    assert task == TASK
    assert moment["depth"].max() > 0


def test_an_attempt_that_is_cut_off_is_named(folder, tmp_path):
    whole = next(folder.glob("*.npy")).read_bytes()
    (tmp_path / f"{TASK}-20-0.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{TASK}-20-0\.npy is cut off or damaged.*make-samples"):
        SampleFolder(tmp_path, tasks=(TASK,), validation=True)
