import dataclasses

import pytest
from robo4d_msgs import msg as robo4d_msgs
from robo4d_ros import conversions, plan_conversions
from wire import assert_equal, through_the_wire

from robo4d.plan import Code, Plan, Verdict

JOINTS = {arm: [f"{arm}_joint{i}" for i in range(1, 8)] for arm in ("left", "right")}


@pytest.mark.parametrize(
    "plan",
    [
        Plan.example(),
        dataclasses.replace(Plan.example(), verdict=Verdict.example()),
        Plan.refused(5, Verdict(code=Code.STALE_OBSERVATION, reason="observe again"), {}),
    ],
)
def test_a_plan_comes_back_as_it_was_but_for_the_keyframes(plan):
    message = plan_conversions.message_from_plan(plan, plan_id="7", joint_names=JOINTS)
    back = plan_conversions.plan_from_message(through_the_wire(message))
    assert_equal(back, dataclasses.replace(plan, keyframes={}))
    assert message.id == "7"


def test_a_plan_whose_arms_have_different_times_is_refused():
    arm = Plan.example().arms["left"]
    plan = dataclasses.replace(Plan.example(), arms={"left": arm, "right": arm})
    message = plan_conversions.message_from_plan(plan, plan_id="7", joint_names=JOINTS)
    for trajectory in (message.arms[1].trajectory, message.arms[1].joint_trajectory):
        trajectory.points[1].time_from_start = conversions.duration_from_s(0.5)
    with pytest.raises(ValueError, match="same times"):
        plan_conversions.plan_from_message(message)


def test_the_codes_in_messages_are_those_of_the_core():
    names = [name for name in vars(type(robo4d_msgs.Verdict)) if name.isupper() and not name.startswith("_")]
    constants = {name: getattr(robo4d_msgs.Verdict, name) for name in names}
    assert {code.name: code.value for code in Code} == constants
