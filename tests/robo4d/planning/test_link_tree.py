"""Our robots as URDF, read back by ourselves and by Pinocchio."""

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest

from robo4d.planning.collision import Clearances, CollisionChecker
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.link_tree import LinkTree
from robo4d.planning.robot import RobotDescription, two_arms
from robo4d.planning.urdf import Mesh, urdf

GREY = Mesh(uri="package://franka_description/link7.stl", rgba=(0.5, 0.5, 0.5, 1.0))
ARMS = two_arms("fr3", yaw_rad=0.3)
TEXT = urdf(ARMS, {"link7": [GREY], "hand": [replace(GREY, rgba=(1.0, 0.0, 0.0, 0.5))]})
TREE = LinkTree.from_urdf(TEXT)

LOOP = """<robot><link name="a"/><link name="b"/><link name="c"/>
<joint name="to" type="fixed"><parent link="b"/><child link="c"/></joint>
<joint name="fro" type="fixed"><parent link="c"/><child link="b"/></joint></robot>"""


def postures(seed):
    fr3 = RobotDescription.load("fr3")
    return {arm.name: np.random.default_rng(seed).uniform(fr3.lower, fr3.upper) for arm in ARMS}


def positions(joints):
    return {f"{arm}_joint{i + 1}": float(q) for arm, values in joints.items() for i, q in enumerate(values)}


@pytest.mark.parametrize("seed", range(5))
def test_the_tool_is_where_the_planner_has_it(seed):
    joints = postures(seed)
    Ts_world_link = TREE.poses(positions(joints))
    for arm in ARMS:
        T_world_tcp = ArmKinematics(arm).forward(joints[arm.name])
        np.testing.assert_allclose(Ts_world_link[f"{arm.name}_hand_tcp"], T_world_tcp, atol=1e-8)


def test_another_reader_finds_the_same_links_at_the_same_places():
    model = pin.buildModelFromXML(TEXT)
    data, given = model.createData(), positions(postures(9)) | {"left_finger_joint1": 0.03, "right_finger_joint2": 0.01}
    q = np.zeros(model.nq)
    for name, value in given.items():
        q[model.joints[model.getJointId(name)].idx_q] = value
    pin.framesForwardKinematics(model, data, q)
    for link, T_world_link in TREE.poses(given).items():
        np.testing.assert_allclose(data.oMf[model.getFrameId(link)].homogeneous, T_world_link, atol=1e-8)
    assert model.upperPositionLimit[model.joints[model.getJointId("left_joint4")].idx_q] == ARMS[0].robot.upper[3]


def test_its_collision_geometry_is_the_planners():
    model = pin.buildModelFromXML(TEXT)
    shapes = pin.buildGeomFromUrdfString(model, TEXT, pin.GeometryType.COLLISION)
    # Each capsule is a cylinder and two spheres; the links that both stand on the table are no exception.
    assert shapes.ngeoms == 3 * sum(len(arm.robot.capsules) for arm in ARMS)
    checker = CollisionChecker(ARMS, [], Clearances(self_m=0.0, arms_m=0.0))
    folded = np.array([-1.72, -1.22, 1.12, -2.73, 0.52, 0.59, 0.86])
    contact = checker.first_contact({"left": folded[None], "right": folded[None]})
    assert contact is not None
    q = np.zeros(model.nq)
    for name, value in positions({"left": folded, "right": folded}).items():
        q[model.joints[model.getJointId(name)].idx_q] = value
    data, shapes_data = model.createData(), shapes.createData()
    pin.updateGeometryPlacements(model, data, shapes, shapes_data, q)
    pairs = [(a, b) for a in range(shapes.ngeoms) for b in range(a)]
    names = [shape.name for shape in shapes.geometryObjects]
    nearest = min(
        pin.computeDistance(shapes_of(shapes, a, b), shapes_data_of(shapes, a, b, shapes_data), 0).min_distance
        for a, b in pairs
        if {names[a].rsplit("_", 1)[0], names[b].rsplit("_", 1)[0]} == {"left_link2", "left_hand"}
    )
    assert nearest == pytest.approx(contact.distance_m, abs=1e-3)


def shapes_of(shapes, a, b):
    pair = shapes.copy()
    pair.removeAllCollisionPairs()
    pair.addCollisionPair(pin.CollisionPair(a, b))
    return pair


def shapes_data_of(shapes, a, b, placed):
    data = shapes_of(shapes, a, b).createData()
    for index, T in enumerate(placed.oMg):
        data.oMg[index] = T
    return data


def test_meshes_keep_their_place_and_colour():
    (visual,) = [v for v in TREE.visuals if v.link == "left_link7"]
    assert visual.mesh == GREY
    np.testing.assert_array_equal(visual.T_link_mesh, np.eye(4))
    assert {v.mesh.rgba for v in TREE.visuals if v.link.endswith("hand")} == {(1.0, 0.0, 0.0, 0.5)}


def test_a_joint_moves_what_is_mounted_on_its_link():
    assert TREE.moved_by({"left_joint7"}) == {
        *(f"left_{link}" for link in ("link7", "hand", "hand_tcp", "leftfinger", "rightfinger"))
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<robot", "expand xacro"),
        ("<robot/>", "one root link"),
        ("<robot><link name='a'/><link name='b'/></robot>", "one root link"),
        (TEXT.replace('type="prismatic"', 'type="planar"'), "must be fixed"),
        (LOOP, "joints to, fro are not connected to a"),
        ("<robot><link name='a'/><joint type='fixed'/></robot>", "attribute 'name'"),
    ],
)
def test_what_is_no_robot_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        LinkTree.from_urdf(text)
