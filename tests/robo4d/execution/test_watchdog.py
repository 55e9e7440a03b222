"""Conditions under which the arms must not move on."""

import numpy as np
import pytest
from execution_rig import HOME, inputs, reading

from robo4d.execution.targets import ArmTarget
from robo4d.execution.watchdog import Condition, Watchdog, WatchdogConfig
from robo4d.geometry import se3

NOW_NS = 10**10
COMMANDED = {arm: ArmTarget(T_world_tcp=T) for arm, T in HOME.items()}


def alarms(commanded=COMMANDED, config=None, **changes):
    watchdog = Watchdog(("left", "right"), config or WatchdogConfig())
    watchdog.check(NOW_NS - 10_000_000, inputs(NOW_NS - 10_000_000, {}), {})
    return watchdog.check(NOW_NS, inputs(NOW_NS, {}, **changes), commanded)


def readings(arm="left", **changes):
    return {name: reading(name, NOW_NS, **(changes if name == arm else {})) for name in HOME}


def test_a_healthy_cell_gives_no_alarm():
    assert alarms() == []


def nan():
    return np.full((4, 4), np.nan)


CONDITIONS = {
    Condition.STATE_STALE: ({"readings": readings(arrival_ns=NOW_NS - 101_000_000)}, "101 ms"),
    Condition.STATE_INVALID: ({"readings": readings(T_world_tcp=nan())}, "left"),
    Condition.STATE_MISSING: ({"readings": {"right": reading("right", NOW_NS)}}, "left"),
    Condition.CONTROLLER_FAULT: ({"readings": readings(fault="cartesian_reflex")}, "cartesian_reflex"),
    Condition.CONTACT: ({"readings": readings("right", wrench=np.array([0, 0, 21.0, 0, 0, 0]))}, "21.0 N"),
    Condition.TRACKING_ERROR: (
        {"readings": readings(T_world_tcp=se3.translation(0.031, 0, 0) @ HOME["left"])},
        "31.0 mm",
    ),
    Condition.HEARTBEAT_LOST: ({"heartbeats_ns": {"session": NOW_NS - 501_000_000}}, "0.50 s"),
    Condition.SECOND_PUBLISHER: ({"other_publishers": ("/joystick_teleop",)}, "/joystick_teleop"),
    Condition.CLOCK_JUMPED: ({"ros_now_ns": NOW_NS - 600_000_000}, "-0.60 s"),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_is_told_with_its_number_and_its_fix(condition):
    changes, part = CONDITIONS[condition]
    (alarm,) = [alarm for alarm in alarms(**changes) if alarm.condition is condition]
    assert part in alarm.message
    assert condition.value[1] in alarm.message


def test_a_state_with_an_old_stamp_is_stale_even_when_it_arrives_in_time():
    (alarm,) = alarms(readings=readings(stamp_ns=NOW_NS - 300_000_000))
    assert alarm.condition is Condition.STATE_STALE


def test_a_rotation_off_target_is_a_tracking_error():
    turned = HOME["left"] @ se3.exp(np.array([0, 0, 0, 0, 0, 0.25]))
    (alarm,) = alarms(readings=readings(T_world_tcp=turned))
    assert "0.250 rad" in alarm.detail


def test_a_late_tick_is_told():
    watchdog = Watchdog(("left", "right"), WatchdogConfig())
    watchdog.check(NOW_NS - 300_000_000, inputs(NOW_NS - 300_000_000, {}), {})
    (alarm,) = watchdog.check(NOW_NS, inputs(NOW_NS, {}), {})
    assert alarm.condition is Condition.EXECUTOR_LATE


def test_wrenches_count_from_the_bias_on():
    watchdog = Watchdog(("left", "right"), WatchdogConfig())
    heavy = readings(wrench=np.array([0, 0, -25.0, 0, 0, 0]))
    watchdog.rebias(heavy)
    assert watchdog.check(NOW_NS, inputs(NOW_NS, {}, readings=heavy), COMMANDED) == []


def test_arms_without_wrenches_are_watched_for_the_rest():
    assert alarms(readings=readings(wrench=None)) == []


def test_no_heartbeat_is_asked_for_when_none_is_configured():
    assert alarms(config=WatchdogConfig(heartbeats=("",)), heartbeats_ns={}) == []


def test_the_gravest_alarm_comes_first():
    changes = {"heartbeats_ns": {}, "readings": readings(fault="reflex", wrench=np.full(6, 30.0))}
    assert [alarm.condition for alarm in alarms(**changes)] == [
        Condition.CONTROLLER_FAULT,
        Condition.HEARTBEAT_LOST,
        Condition.CONTACT,
    ]


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="force_n"):
        WatchdogConfig(force_n=0.0)
