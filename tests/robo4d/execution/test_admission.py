"""Plans that must not be executed."""

import dataclasses

import numpy as np
import pytest
from execution_rig import HOME, READY, Rig, plan, reading

from robo4d.execution.admission import AdmissionConfig, Refused, admit, check_kinematics
from robo4d.execution.run import RateConfig
from robo4d.execution.targets import ArmTarget
from robo4d.geometry import se3
from robo4d.plan import Code, GripperEvent, Verdict

LEFT = HOME["left"]


def check(motion, **config):
    return admit(motion, ("left", "right"), AdmissionConfig(**config), RateConfig())


def with_arm(motion, **changes):
    return dataclasses.replace(motion, arms=dict(motion.arms, left=dataclasses.replace(motion.arms["left"], **changes)))


def nan_pose(motion):
    poses = motion.arms["left"].Ts_world_tcp.copy()
    poses[20, 0, 3] = np.nan
    return with_arm(motion, Ts_world_tcp=poses)


def jump(motion):
    poses = motion.arms["left"].Ts_world_tcp.copy()
    poses[30:, 2, 3] += 0.02
    return with_arm(motion, Ts_world_tcp=poses)


def cut_off(motion):
    arms = {
        name: dataclasses.replace(arm, **{key: value[:40] for key, value in vars(arm).items()})
        for name, arm in motion.arms.items()
    }
    return dataclasses.replace(
        motion, times_s=motion.times_s[:40], video_times_s=motion.video_times_s[:40], arms=arms, events=()
    )


REFUSED = {
    "not_accepted": (lambda: plan(verdict=Verdict(code=Code.SINGULAR, reason="the elbow is straight")), "straight"),
    "unknown_arm": (
        lambda: dataclasses.replace(plan(), events=(GripperEvent(arm="middle", time_s=0.0, open=True),)),
        "middle",
    ),
    "no_motion": (lambda: dataclasses.replace(plan(), arms={}, events=()), "plan again"),
    "not_finite": (lambda: nan_pose(plan()), "left"),
    "too_fast": (lambda: jump(plan()), "lower the planner's limits"),
    "not_at_rest": (lambda: cut_off(plan()), "must stand"),
    "ambiguous": (
        lambda: dataclasses.replace(
            plan(), events=tuple(GripperEvent(arm="left", time_s=0.0, open=opens) for opens in (False, True))
        ),
        "twice",
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_plan_that_must_not_be_executed_is_refused_with_the_reason(code):
    make, part = REFUSED[code]
    with pytest.raises(Refused, match=part) as refusal:
        check(make())
    assert refusal.value.code == code


def test_a_sound_plan_is_admitted():
    assert check(plan()).path.arms == ("left", "right")


@pytest.mark.parametrize("age_s", [121.0, -1.5])
def test_a_plan_from_old_or_future_images_is_refused(age_s):
    rig = Rig()
    admitted = rig.executor.admit(plan(stamp_ns=rig.now_ns - round(1e9 * age_s)))
    with pytest.raises(Refused, match="observe and plan again") as refusal:
        rig.executor.execute(admitted, "plan")
    assert refusal.value.code == "stale_plan"


def test_a_plan_that_moves_during_a_gripper_event_is_refused():
    motion = dataclasses.replace(plan(), events=(GripperEvent(arm="left", time_s=0.7, open=False),))
    with pytest.raises(Refused, match=r"0\.70 s"):
        check(motion)


def test_a_plan_that_is_only_too_fast_when_paused_is_refused():
    motion, limit = plan(move_s=1.0), AdmissionConfig().translation
    acceleration = np.linalg.norm(motion.arms["left"].accelerations[:, :3], axis=1).max()
    tight = dataclasses.replace(limit, acceleration=1.05 * acceleration)
    check(motion)
    with pytest.raises(Refused, match=r"m/s\^2"):
        check(motion, translation=tight)


def test_a_plan_that_starts_elsewhere_is_refused_and_names_the_distance():
    rig = Rig()
    with pytest.raises(Refused, match=r"20\.0 mm") as refusal:
        rig.execute(start={arm: se3.translation(0, 0.02, 0) @ T for arm, T in HOME.items()})
    assert refusal.value.code == "start_mismatch"


def test_a_plan_for_another_elbow_is_refused():
    rig = Rig()
    rig.tick(readings={arm: reading(arm, rig.now_ns, joints=READY + 0.2) for arm in HOME})
    with pytest.raises(Refused, match=r"0\.200 rad"):
        rig.execute()


def test_an_arm_moved_by_hand_since_its_last_command_needs_a_reset():
    rig = Rig()
    rig.execute(moves=((0.0, 0.0, 0.1),))
    rig.run(5.0)
    moved = {arm: se3.translation(0, 0, 0.3) @ T for arm, T in HOME.items()}
    readings = {arm: reading(arm, rig.now_ns, ArmTarget(T_world_tcp=T)) for arm, T in moved.items()}
    rig.tick(readings=readings)
    with pytest.raises(Refused, match="reset") as refusal:
        rig.execute("again", start=moved)
    assert refusal.value.code == "not_following"
    rig.executor.reset()
    rig.execute("once more", start=moved)


def test_a_controller_that_means_another_frame_is_refused():
    told = reading("left", 0, joints=np.zeros(7))
    check_kinematics("left", told, lambda joints: LEFT, AdmissionConfig())
    with pytest.raises(Refused, match="base frame") as refusal:
        check_kinematics("left", told, lambda joints: LEFT @ se3.translation(0, 0, 0.006), AdmissionConfig())
    assert refusal.value.code == "kinematics_mismatch"


def test_kinematics_are_checked_before_the_first_command():
    rig = Rig(forward={"right": lambda joints: LEFT})
    with pytest.raises(Refused, match="joint_states"):
        rig.execute()
    assert not rig.tick().targets
