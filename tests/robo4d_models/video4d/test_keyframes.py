from dataclasses import replace

import numpy as np
from robo4d_models.video4d.coding import RobotState
from robo4d_models.video4d.keyframes import NOW, SEGMENT_SLOTS, SLOTS, Keyframe, KeyframePlan, slots

from robo4d.geometry import se3


def keyframes(*closed_left):
    poses = np.tile(np.eye(4), (2, 1, 1))
    return [
        Keyframe(time_s=float(i), T_world_tcp=poses, closed=np.array([closed, False]))
        for i, closed in enumerate(closed_left)
    ]


OPEN = np.array([False, False])
HOLDING = np.array([True, False])


def test_slots_count_back_from_the_end_of_each_segment():
    # approach, grasp | lift, carry, release | retreat
    assert slots(keyframes(False, True, True, True, False, False), OPEN) == [
        SLOTS - 2 * SEGMENT_SLOTS - 2,
        SLOTS - 2 * SEGMENT_SLOTS - 1,
        SLOTS - SEGMENT_SLOTS - 3,
        SLOTS - SEGMENT_SLOTS - 2,
        SLOTS - SEGMENT_SLOTS - 1,
        SLOTS - 1,
    ]


def test_an_attempt_that_begins_half_way_has_the_same_slots():
    whole = slots(keyframes(False, True, True, True, False, False), OPEN)
    assert slots(keyframes(True, True, False, False), HOLDING) == whole[2:]


def test_a_detour_changes_no_slot_but_its_own():
    whole = slots(keyframes(True, False, False), HOLDING)
    assert slots(keyframes(True, True, False, False), HOLDING)[1:] == whole


def test_keyframes_too_far_from_the_end_of_their_segment_have_no_slot():
    assert slots(keyframes(*[False] * (SEGMENT_SLOTS + 1)), OPEN)[0] == -1


def plan():
    home = np.tile(np.eye(4), (2, 1, 1))
    forward, back = home.copy(), home.copy()
    forward[0, 0, 3] = 0.2
    return KeyframePlan(
        T_world_tcp=np.stack([forward, back]),
        closed=np.array([[True, False], [True, False]]),
        times_s=np.array([1.0, 3.0]),
        slots=np.array([SLOTS - 6, SLOTS - 1]),
        next_probability=np.eye(NOW + 1)[SLOTS - 6],
        T_world_tcp_now=home,
    )


def test_a_plan_passes_through_its_keyframes_stands_still_to_grasp_and_stays_at_the_last():
    start = RobotState(T_world_tcp=plan().T_world_tcp_now, gripper_width=np.array([0.08, 0.08]))
    late = 0.1  # as the arms are
    poses, widths = plan().at(late + np.array([-0.05, 0.5, 1.0, 1.9, 2.45, 9.0]), start)
    np.testing.assert_allclose(poses[:, 0, 0, 3], [0.0, 0.1, 0.2, 0.2, 0.1, 0.0], atol=1e-9)
    assert (widths[:, 0] < 0.06).tolist() == [False, False, True, True, True, True]
    assert (widths[:, 1] == 0.08).all()
    assert se3.is_valid(poses).all()


def test_a_held_object_keeps_the_gripper_as_wide_as_it_is():
    start = RobotState(T_world_tcp=plan().T_world_tcp_now, gripper_width=np.array([0.033, 0.08]))
    assert plan().at(np.array([0.5, 2.0]), start)[1][:, 0].tolist() == [0.033, 0.033]


def test_what_the_model_takes_for_done_is_done_first():
    holding = RobotState(T_world_tcp=plan().T_world_tcp_now, gripper_width=np.array([0.033, 0.08]))
    empty = replace(holding, gripper_width=np.array([0.08, 0.08]))
    leaving = replace(plan(), closed=np.zeros((2, 2), bool), slots=np.array([SLOTS - 2, SLOTS - 1]))
    made_up = leaving.made_up_for(holding)
    assert made_up.slots.tolist() == [-1, SLOTS - 2, SLOTS - 1]
    poses, widths = made_up.at(np.array([0.5, 0.9, 2.05, 4.1]), holding)
    assert (widths[:, 0] == 0.08).all()
    np.testing.assert_allclose(poses[:, 0, 0, 3], [0, 0, 0.2, 0], atol=0.01)  # opened where it is, then on its way
    assert leaving.made_up_for(empty) is leaving
    assert plan().made_up_for(empty).slots[0] == SLOTS - 6  # there, its slot says, it acts
    done = replace(
        plan(),
        T_world_tcp=np.empty((0, 2, 4, 4)),
        closed=np.empty((0, 2), bool),
        times_s=np.empty(0),
        slots=np.empty(0, int),
    )
    assert done.made_up_for(holding) is done


def test_things_are_let_go_above_where_they_are_put():
    closed = np.array([[False, False], [True, False], [False, False], [False, False]])
    poses = np.tile(np.eye(4), (4, 2, 1, 1))
    releasing = replace(plan(), T_world_tcp=poses, closed=closed, times_s=np.arange(1.0, 5.0), slots=np.arange(4))

    def raised_mm(*widths):
        return 1000 * releasing.letting_go_above(np.array(widths)).T_world_tcp[:, :, 2, 3].T.round(4)

    np.testing.assert_array_equal(raised_mm(0.08, 0.08), [[0, 0, 8, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(raised_mm(0.045, 0.045), [[8, 0, 8, 0], [8, 0, 0, 0]])


def test_progress_is_the_share_of_the_slots_that_lie_behind():
    assert np.isclose(plan().progress, (SLOTS - 6) / SLOTS)
