from dataclasses import replace

import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.plan import Code
from robo4d.planning.collision import Clearances, CollisionChecker, Contact
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import Box, RobotState, two_arms

ARMS = two_arms("fer")
READY = RobotState.example().joints["left"]


@pytest.fixture(scope="module")
def checker():
    return CollisionChecker(ARMS, [Box.example()], Clearances())


def lowered(name: str, height: float, move: tuple[float, float] = (0.1, 0.0)) -> np.ndarray:
    """Joints that bring the TCP down to a height above the table."""
    kinematics = ArmKinematics(next(arm for arm in ARMS if arm.name == name))
    T_world_start = kinematics.forward(READY)
    goal = T_world_start[:3, 3] + np.array([*move, height - T_world_start[2, 3]])
    Ts = np.stack(
        [se3.interpolate(T_world_start, se3.pose(T_world_start[:3, :3], goal), s) for s in np.linspace(0, 1, 80)]
    )
    joints, _, errors = kinematics.follow(Ts, READY)
    assert errors.max() < 1e-5
    return joints


def both(left: np.ndarray, right: np.ndarray = READY) -> dict[str, np.ndarray]:
    return {"left": np.atleast_2d(left), "right": np.tile(right, (len(np.atleast_2d(left)), 1))}


def test_the_ready_posture_touches_nothing(checker):
    assert checker.first_contact(both(READY)) is None


def test_fingers_may_reach_an_object_on_the_table(checker):
    assert checker.first_contact(both(lowered("left", 0.01))) is None


def test_an_arm_that_goes_into_the_table_is_caught_where_it_does(checker):
    joints = lowered("left", -0.05)
    contact = checker.first_contact(both(joints))
    assert contact is not None
    assert contact.code == Code.SCENE_COLLISION
    assert contact.bodies[1] == "table"
    assert checker.first_contact(both(joints[: contact.sample])) is None


def test_two_hands_in_one_place_are_caught(checker):
    kinematics = {arm.name: ArmKinematics(arm) for arm in ARMS}
    T_start, meeting = {}, np.array([0.45, 0.0, 0.4])
    joints = {}
    for name, k in kinematics.items():
        T_start[name] = k.forward(READY)
        goal = se3.pose(T_start[name][:3, :3], meeting)
        joints[name], _, errors = k.follow(
            np.stack([se3.interpolate(T_start[name], goal, s) for s in np.linspace(0, 1, 80)]), READY
        )
        assert errors.max() < 1e-5
    contact = checker.first_contact(joints)
    assert contact is not None
    assert contact.code == Code.ARM_COLLISION
    assert {body.split("/")[0] for body in contact.bodies} == {"left", "right"}
    assert contact.distance_m < Clearances().arms_m


def test_a_hand_folded_against_its_own_arm_is_caught(checker):
    contact = checker.first_contact(both(np.array([-1.72, -1.22, 1.12, -2.73, 0.52, 0.59, 0.86])))
    assert contact is not None
    assert contact.code == Code.SELF_COLLISION
    assert contact.bodies == ("left/link2", "left/hand")


def test_a_box_in_the_way_is_caught_by_its_name():
    shelf = Box(name="shelf", T_world_box=se3.translation(0.4, 0.25, 0.3), size_m=np.array([0.3, 0.3, 0.02]))
    contact = CollisionChecker(ARMS, [shelf], Clearances()).first_contact(both(lowered("left", 0.1)))
    assert contact is not None
    assert contact.bodies[1] == "shelf"


def test_clearance_is_the_distance_at_which_bodies_collide():
    arms = [replace(arm) for arm in ARMS]
    kinematics = ArmKinematics(arms[0])
    top = float(kinematics.forward(READY)[2, 3]) - 0.012  # the fingers end 9 to 12 mm below the TCP
    wall = Box(
        name="block", T_world_box=se3.translation(0.3, 0.26, top - 0.05 - 0.03), size_m=np.array([0.2, 0.2, 0.1])
    )
    near = CollisionChecker(arms, [wall], Clearances(fingers_scene_m=0.05)).first_contact(both(READY))
    far = CollisionChecker(arms, [wall], Clearances(fingers_scene_m=0.02)).first_contact(both(READY))
    assert near is not None
    assert near.bodies == ("left/fingers", "block")
    assert far is None


def test_a_contact_ships_an_example():
    assert isinstance(Contact.example(), Contact)
