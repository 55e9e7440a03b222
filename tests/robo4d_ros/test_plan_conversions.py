import dataclasses
import math

import numpy as np
import pytest
from robo4d_msgs import msg as robo4d_msgs
from robo4d_ros import conversions, plan_conversions
from wire import assert_equal, through_the_wire

from robo4d.geometry import se3
from robo4d.plan import ArmPlan, Code, GripperEvent, Plan, Verdict
from robo4d.rgbd import ArmPosture

JOINTS = {arm: [f"{arm}_joint{i}" for i in range(1, 8)] for arm in ("left", "right")}

TIMES = np.array([0.0, 0.5, 1.25])
ARM = ArmPlan(
    Ts_world_tcp=np.stack([se3.exp(np.array([0.4, 0.2, 0.3, 3.0, 0.1, 0.1 * i])) for i in range(3)]),
    velocities=np.arange(18.0).reshape(3, 6),
    accelerations=-np.arange(18.0).reshape(3, 6),
    joints=np.arange(21.0).reshape(3, 7),
    joint_velocities=0.1 * np.arange(21.0).reshape(3, 7),
    joint_accelerations=0.01 * np.arange(21.0).reshape(3, 7),
    confidence=np.array([0.9, 0.8, 0.7]),
)
PLAN = Plan(
    stamp_ns=1_700_000_000_123_456_789,
    verdict=Verdict(),
    times_s=TIMES,
    video_times_s=np.array([0.0, 0.5, 0.5]),
    arms={"left": ARM, "right": ARM},
    events=(
        GripperEvent(arm="left", time_s=0.5, open=False, opening_m=0.05),
        GripperEvent(arm="right", time_s=1.25, open=True),
    ),
    keyframes={},
)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        dataclasses.replace(PLAN, verdict=Verdict.example()),
        Plan.refused(5, Verdict(code=Code.STALE_OBSERVATION, reason="observe again"), {}),
    ],
)
def test_a_plan_comes_back_as_it_was_but_for_the_keyframes(plan):
    message = plan_conversions.message_from_plan(plan, plan_id="7", joint_names=JOINTS)
    back = plan_conversions.plan_from_message(through_the_wire(message))
    assert_equal(back, dataclasses.replace(plan, keyframes={}))
    assert message.id == "7"


def test_arms_will_stand_where_the_plan_ends_and_others_where_they_stand():
    plan = dataclasses.replace(PLAN, arms={"left": ARM})
    message = plan_conversions.message_from_plan(plan, plan_id="7", joint_names=JOINTS)
    now = {arm: ArmPosture(joints=np.full(7, 0.5), opening_m=0.03) for arm in ("left", "right")}
    after = plan_conversions.postures_after(message, now)
    np.testing.assert_allclose(after["left"].joints, ARM.joints[-1])
    np.testing.assert_allclose(after["right"].joints, 0.5)
    assert [after[arm].opening_m for arm in ("left", "right")] == [0.05, 0.08]
    message.gripper_events = message.gripper_events[:1]
    message.gripper_events[0].opening = math.nan
    after = plan_conversions.postures_after(message, now)
    assert [after[arm].opening_m for arm in ("left", "right")] == [0.0, 0.03]


def test_a_plan_whose_arms_have_different_times_is_refused():
    message = plan_conversions.message_from_plan(PLAN, plan_id="7", joint_names=JOINTS)
    for trajectory in (message.arms[1].trajectory, message.arms[1].joint_trajectory):
        trajectory.points[1].time_from_start = conversions.duration_from_s(0.6)
    with pytest.raises(ValueError, match="same times"):
        plan_conversions.plan_from_message(message)


def test_the_codes_in_messages_are_those_of_the_core():
    names = [name for name in vars(type(robo4d_msgs.Verdict)) if name.isupper() and not name.startswith("_")]
    constants = {name: getattr(robo4d_msgs.Verdict, name) for name in names}
    assert {code.name: code.value for code in Code} == constants
