"""The state machine: what is commanded in health and in sickness."""

import dataclasses

import numpy as np
import pytest
from execution_rig import CONFIG, HOME, Rig, derivatives, plan, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from robo4d.execution.admission import Refused
from robo4d.execution.outputs import State
from robo4d.execution.targets import ArmTarget, GripperOutcome, Switches, TeleopInput
from robo4d.geometry import se3


def test_nothing_is_commanded_before_a_plan_or_an_operator():
    rig = Rig()
    rig.run(1.0)
    assert not any(rig.history)
    assert rig.executor.state is State.IDLE


def test_a_plan_is_executed_to_its_end():
    rig = Rig()
    rig.execute()
    rig.run_until(State.READY)
    assert [(end.plan_id, end.success, end.code) for end in rig.finished] == [("plan", True, "ok")]
    assert [(command.arm, command.open) for command in rig.commands] == [("left", False)]
    for arm in HOME:
        np.testing.assert_allclose(rig.targets[arm].T_world_tcp, plan().arms[arm].Ts_world_tcp[-1], atol=1e-9)
    rig.run(0.5)
    assert rig.targets  # the last command is held


def test_an_arm_without_a_part_in_the_plan_is_held_where_it_was():
    rig = Rig()
    rig.execute(arms=("left",))
    rig.run_until(State.READY)
    np.testing.assert_array_equal(rig.targets["right"].T_world_tcp, HOME["right"])


def test_the_gripper_is_waited_for():
    rig = Rig()
    rig.execute()
    while not rig.commands:
        rig.tick(gripper_outcomes=())
    there = rig.targets["left"].T_world_tcp
    rig.run(1.0, gripper_outcomes=())
    assert rig.outputs.phase == "gripper"
    np.testing.assert_array_equal(rig.targets["left"].T_world_tcp, there)
    rig.tick(gripper_outcomes=(GripperOutcome(number=rig.commands[0].number, success=True),))
    rig.run(0.5)
    assert rig.outputs.phase == "moving"
    assert np.linalg.norm(rig.targets["left"].T_world_tcp[:3, 3] - there[:3, 3]) > 0.01


def test_half_the_speed_takes_twice_as_long():
    durations = []
    for scale in (1.0, 0.5):
        rig = Rig()
        rig.execute(moves=((0.1, 0, 0),), move_s=3.0, speed_scale=scale)
        rig.run_until(State.READY)
        durations.append(len(rig.history))
    assert durations[1] / durations[0] == pytest.approx(2, rel=0.1)


def test_pausing_keeps_the_arm_on_the_path_and_resuming_finishes_it():
    rig = Rig()
    rig.execute(moves=((0.2, 0.0, 0.0),))
    rig.run(0.7)
    rig.executor.pause()
    rig.run(0.6)
    there = rig.targets["left"].T_world_tcp
    rig.run(0.5)
    np.testing.assert_array_equal(rig.targets["left"].T_world_tcp, there)
    assert rig.outputs.phase == "paused"
    rig.executor.resume()
    rig.run_until(State.READY)
    assert rig.finished[0].success
    np.testing.assert_allclose([t["left"].T_world_tcp[1, 3] for t in rig.history if t], HOME["left"][1, 3], atol=1e-9)


def test_stopping_ends_the_plan_on_its_path_and_the_next_one_starts_from_there():
    rig = Rig()
    rig.execute(moves=((0.2, 0.0, 0.0),))
    rig.run(0.7)
    rig.executor.stop()
    rig.run_until(State.READY)
    assert [(end.success, end.code) for end in rig.finished] == [(False, "stop")]
    stopped = {arm: target.T_world_tcp for arm, target in rig.targets.items()}
    nearly = {arm: se3.translation(0.003, -0.002, 0) @ T for arm, T in stopped.items()}
    rig.tick(readings={arm: reading(arm, rig.now_ns, ArmTarget(T_world_tcp=T)) for arm, T in nearly.items()})
    rig.execute("next", start=nearly)
    rig.run_until(State.READY)
    assert rig.motion("left")["jerk"][0] < 40  # no step, although the arm was not where it was commanded


def test_a_plan_is_never_executed_twice():
    rig = Rig()
    rig.execute()
    rig.run_until(State.READY)
    with pytest.raises(Refused, match="plan again") as refusal:
        rig.execute()
    assert refusal.value.code == "executed_before"


def test_a_second_plan_is_refused_while_one_is_executed():
    rig = Rig()
    rig.execute()
    rig.run(0.3)
    with pytest.raises(Refused) as refusal:
        rig.execute("another")
    assert refusal.value.code == "busy"


def test_requests_that_make_no_sense_are_refused():
    rig = Rig()
    for request in (rig.executor.pause, rig.executor.resume, lambda: rig.executor.set_speed(1.5)):
        with pytest.raises(Refused):
            request()
    rig.executor.stop()
    assert rig.executor.state is State.IDLE


def test_courses_are_given_when_they_change_and_only_then():
    rig = Rig(with_courses=True)
    rig.execute()
    rig.run(0.5)
    assert len(rig.courses) == 1
    rig.executor.set_speed(0.5)
    rig.executor.set_speed(0.5)
    rig.run(0.2)
    assert len(rig.courses) == 2
    rig.executor.pause()
    rig.run(0.5)
    rig.executor.resume()
    rig.run_until(State.READY)
    assert len(rig.courses) == 5  # the last one after the gripper


def test_hold_to_run_pauses_when_the_switch_is_released():
    rig = Rig(dataclasses.replace(CONFIG, hold_to_run=True))
    with pytest.raises(Refused) as refusal:
        rig.execute()
    assert refusal.value.code == "deadman_released"
    held = {"switches": Switches(arrival_ns=10**18, run=True)}
    rig.tick(**held)
    rig.execute()
    rig.run(0.5, **held)
    assert rig.executor.state is State.EXECUTING
    rig.tick()
    assert rig.executor.state is State.PAUSED
    assert rig.transitions[-1].code == "deadman_released"


def frozen(rig):
    return {"readings": {arm: reading(arm, rig.now_ns - 200_000_000) for arm in HOME}}


def readings(rig, **changes):
    """The left arm differs."""
    now_ns = rig.next_ns
    return {
        "readings": {
            arm: reading(arm, now_ns, rig.targets.get(arm), **(changes if arm == "left" else {})) for arm in HOME
        }
    }


FAULTS = {
    "state_stale": (frozen, State.HOLD),
    "state_invalid": (lambda rig: readings(rig, T_world_tcp=np.full((4, 4), np.nan)), State.HOLD),
    "state_missing": (lambda rig: {"readings": {}}, State.HOLD),
    "heartbeat_lost": (lambda rig: {"heartbeats_ns": {"session": rig.now_ns - 10**9}}, State.HOLD),
    "second_publisher": (lambda rig: {"other_publishers": ("/other",)}, State.HOLD),
    "clock_jumped": (lambda rig: {"ros_now_ns": rig.now_ns + 10**12}, State.HOLD),
    "controller_fault": (lambda rig: readings(rig, fault="joint_reflex"), State.FAULT),
    "contact": (lambda rig: readings(rig, wrench=np.array([30.0, 0, 0, 0, 0, 0])), State.PAUSED),
    "tracking_error": (lambda rig: readings(rig, T_world_tcp=se3.translation(0, 0, 0.1) @ HOME["left"]), State.PAUSED),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_during_a_plan_leads_to_its_state_with_bounded_jerk(code):
    fault, state = FAULTS[code]
    rig = Rig()
    rig.execute(moves=((0.15, 0.0, 0.1),))
    rig.run(0.8)
    rig.tick(**fault(rig))
    for _ in range(60):
        rig.tick(**fault(rig) if code != "clock_jumped" else {})
    assert rig.executor.state is state
    causes = [transition for transition in rig.transitions if transition.code == code]
    assert causes
    assert len(causes[0].reason) > 40  # a sentence that says the fix
    assert rig.motion("left")["jerk"][0] < 40
    if state is State.HOLD:
        assert [(end.success, end.code) for end in rig.finished] == [(False, code)]
        assert rig.targets
    if state is State.FAULT:
        assert not rig.targets


def test_a_pause_by_a_watchdog_is_resumed_only_when_its_cause_is_gone():
    rig = Rig()
    rig.execute(moves=((0.15, 0.0, 0.1),))
    rig.run(0.8)
    for _ in range(60):
        rig.tick(**FAULTS["contact"][0](rig))
    with pytest.raises(Refused, match=r"30\.0 N"):
        rig.executor.resume()
    rig.tick()
    rig.executor.resume()
    rig.run_until(State.READY)
    assert rig.finished[0].success


def test_a_fault_needs_its_end_a_reset_and_a_new_plan():
    rig = Rig()
    rig.execute()
    rig.run(0.5)
    reflex = FAULTS["controller_fault"][0]
    rig.tick(**reflex(rig))
    with pytest.raises(Refused, match="joint_reflex"):
        rig.executor.reset()
    rig.tick()
    with pytest.raises(Refused):
        rig.execute("too early")
    rig.executor.reset()
    rig.execute("after recovery")
    rig.run_until(State.READY)
    assert [end.success for end in rig.finished] == [False, True]


def test_a_plan_is_refused_while_an_arm_is_not_well():
    rig = Rig()
    rig.tick(**frozen(rig))
    with pytest.raises(Refused, match="chrony") as refusal:
        rig.execute()
    assert refusal.value.code == "state_stale"


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (lambda number: (), "gripper_timeout"),
        (lambda number: (GripperOutcome(number=number, success=False, message="nothing held"),), "gripper_failed"),
    ],
)
def test_a_gripper_that_hangs_or_fails_pauses_the_plan_which_can_go_on(outcomes, code):
    rig = Rig()
    rig.execute()
    while not rig.commands:
        rig.tick(gripper_outcomes=())
    rig.run(5.2, gripper_outcomes=outcomes(rig.commands[0].number))
    assert rig.executor.state is State.PAUSED
    assert rig.transitions[-1].code == code
    rig.executor.resume()
    rig.run_until(State.READY)
    assert rig.finished[0].success


def test_a_gripper_that_hangs_is_passed_over_if_that_is_wanted():
    rig = Rig(dataclasses.replace(CONFIG, pause_on_gripper_failure=False))
    rig.execute()
    rig.run_until(State.READY, gripper_outcomes=())
    assert rig.finished[0].success


def test_one_plan_after_the_other_starts_smoothly():
    rig = Rig()
    for number in range(4):
        start = {arm: rig.targets[arm].T_world_tcp for arm in HOME} if rig.targets else HOME
        way = 0.05 if number % 2 == 0 else -0.05
        rig.execute(f"plan {number}", start=start, moves=((way, 0.0, 0.0),), move_s=0.8, turn=way)
        rig.run_until(State.READY)
    assert rig.motion("left")["jerk"][0] < 40


ACTIONS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("execute"), st.floats(0.1, 1.0)),
    st.tuples(st.sampled_from(["pause", "resume", "stop", "reset"]), st.none()),
    st.tuples(st.just("speed"), st.floats(-1, 2)),
    st.tuples(st.just("press"), st.tuples(*[st.floats(-1, 1)] * 6)),
    st.tuples(st.just("hand"), st.tuples(*[st.floats(-0.2, 0.2)] * 6)),
    st.tuples(st.just("release"), st.none()),
    st.tuples(st.just("fault"), st.sampled_from([*FAULTS, "input_late", "gripper"])),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, min_size=3, max_size=25))
def test_whatever_happens_the_commands_are_finite_within_the_limits_and_wanted(actions):
    rig, teleop = Rig(), {}
    approved = False

    def tick(**changes):
        nonlocal approved
        now_ns = rig.next_ns
        operator = {"switches": Switches(arrival_ns=now_ns, teleop=bool(teleop))}
        operator["teleop"] = {"left": TeleopInput(arrival_ns=now_ns, **teleop)} if teleop else {}
        before = rig.targets
        rig.tick(**operator | changes)
        approved &= rig.executor.state in (State.EXECUTING, State.PAUSED, State.STOPPING)
        still = all(np.array_equal(before[arm].T_world_tcp, t.T_world_tcp) for arm, t in rig.targets.items() if before)
        assert still or approved or teleop or rig.executor.state in (State.STOPPING, State.READY, State.HOLD)

    for number, (action, value) in enumerate(actions):
        try:
            match action:
                case "execute":
                    start = {arm: rig.targets[arm].T_world_tcp for arm in HOME} if rig.targets else HOME
                    moves = ((0.05, 0, 0.05), (-0.05, 0, -0.05))
                    rig.execute(str(number), speed_scale=value, start=start, moves=moves)
                    approved = True
                case "pause" | "resume" | "stop" | "reset":
                    getattr(rig.executor, action)()
                case "speed":
                    rig.executor.set_speed(value)
                case "press":
                    teleop = {"twist_world": np.array(value)}
                case "hand":
                    teleop = {"T_world_hand": se3.exp(np.array(value))}
                case "release":
                    teleop = {}
                case "fault":
                    for _ in range(5):
                        match value:
                            case "input_late":
                                tick(switches=Switches(arrival_ns=0, teleop=True))
                            case "gripper" if rig.commands:
                                number_told = rig.commands[-1].number
                                tick(gripper_outcomes=(GripperOutcome(number=number_told, success=False),))
                            case "gripper":
                                tick()
                            case _:
                                tick(**FAULTS[value][0](rig))
        except Refused:
            pass
        for _ in range(value if action == "wait" else 5):
            tick()
    for _ in range(60):  # everything comes to rest
        tick()

    stretch = []
    for targets in [*rig.history, {}]:
        if targets:
            stretch.append(targets)
            continue
        for arm in HOME if stretch else ():
            for name, (translation, rotation) in limits_of(stretch, arm).items():
                assert translation <= getattr(CONFIG.admission.translation, name)
                assert rotation <= getattr(CONFIG.admission.rotation, name)
        stretch = []


def limits_of(stretch, arm):
    poses = np.array([targets[arm].T_world_tcp for targets in stretch])
    return derivatives(np.concatenate([poses[:1], poses[:1], poses]), CONFIG.period_s)
