import numpy as np
import pytest
import torch
from ball_world import plates
from robo4d_models.video4d.coding import ARMS
from robo4d_models.video4d.robot_model import ARM_PARTS, PARTS, RobotModel, gripper_poses

from robo4d.geometry import Camera, Intrinsics, look_at, se3
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import two_arms
from robo4d.sim.cell import Cell
from robo4d.sim.labels import Label
from robo4d.sim.render import Renderer

INTRINSICS = Intrinsics.from_fovy(55, width=96, height=96)
ROBOT = {Label(number) for number in range(1, 7)} | {Label.LEFT_ARM, Label.RIGHT_ARM}


@pytest.fixture(scope="module")
def franka():
    return RobotModel.of_franka()


def camera(eye, at=(0.0, 0.0, 0.0)):
    return Camera(intrinsics=INTRINSICS, T_world_camera=look_at(np.array(eye, float), np.array(at, float)))


def test_fingers_open_by_half_the_width_each():
    poses = gripper_poses(np.eye(4), 0.06)
    np.testing.assert_allclose(poses["left_finger"][:3, 3], [0, 0.03, 0])
    np.testing.assert_allclose(poses["right_finger"][:3, 3], [0, -0.03, 0])
    np.testing.assert_allclose(poses["hand"], np.eye(4))


def test_the_nearer_of_two_arms_is_seen_at_its_depth():
    near, far = ({"hand": se3.translation(0, 0, z)} for z in (0.4, 0.1))  # plates at 0.28 and -0.02
    for arms, nearer in (((near, far), 0), ((far, near), 1)):
        sight = plates().see(camera((0.0, 1e-6, 1.0)), arms)
        assert sight.arm[48, 48] == nearer
        assert sight.depth[48, 48] == pytest.approx(0.72, abs=1e-4)
        assert sight.facing[48, 48] == pytest.approx(1, abs=1e-2)
        assert sight.gripper[48, 48]
        assert sight.depth[0, 0] == 0


def test_what_lies_behind_or_around_the_camera_does_no_harm():
    for z in (2.0, 1.12):  # behind, and the plate through the lens
        sight = plates().see(camera((0.0, 1e-6, 1.0)), [gripper_poses(se3.translation(0, 0, z), 0.08)])
        assert np.isfinite(sight.depth).all()
        assert ((sight.depth == 0) | (sight.depth > 0.05)).all()


def test_weights_hold_the_model_as_it_is(franka):
    kept = RobotModel.from_tensors({name: torch.clone(value) for name, value in franka.tensors().items()})
    for name in ("vertices", "triangles", "rgb", "part"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(franka, name))


def test_an_arm_follows_its_gripper_without_losing_it(franka):
    arm = two_arms("fer", yaw_rad=0.3)[0]
    kinematics = ArmKinematics(arm)
    joints = np.array([0.3, -0.6, 0.2, -2.3, 0.1, 1.75, 0.785])
    T_world_tcp = kinematics.forward(joints)
    moved = np.stack([T_world_tcp @ se3.exp(s * np.array([0.1, -0.1, 0.15, 0.2, 0.1, 0.8])) for s in (0.0, 0.5, 1.0)])
    links = franka.follow(moved, joints)
    np.testing.assert_allclose(links[0], kinematics.links(joints), atol=1e-6)
    T_link7_tcp = arm.robot.T_link7_hand @ arm.robot.T_hand_tcp
    np.testing.assert_allclose(links[:, 6] @ T_link7_tcp, moved, atol=1e-4)
    np.testing.assert_allclose(links[:, 0, :3, 3], np.tile(links[0, 0, :3, 3], (3, 1)), atol=1e-9)  # the base stays


@pytest.mark.gl
def test_the_simulators_cameras_see_the_robot_at_the_same_pixels_and_depths(franka):
    cell = Cell("store_cereal_box_under_shelf")
    cell.reset(seed=3)
    state = cell.state()
    arms = []
    for arm in ARMS:
        own = state.arms[arm]
        links = franka.follow(own.T_world_tcp[None], own.joints)[0]
        arms.append(gripper_poses(own.T_world_tcp, own.gripper_width) | dict(zip(ARM_PARTS, links, strict=True)))
    view = camera((1.5, 0.3, 0.9), (0.3, 0.0, 0.3))
    with Renderer(cell.model, objects=cell.task.objects) as renderer:
        renderer.update(cell.data)
        _, depth = renderer.rgbd(view)
        labels = renderer.labels(view)
    sight = franka.see(view, arms)
    visible = (sight.depth > 0) & (sight.depth < depth + 0.02)
    shown = np.isin(labels, list(ROBOT))
    assert shown.sum() > 500
    assert (visible & shown).sum() / (visible | shown).sum() > 0.9  # link0, which never moves, is not drawn
    assert np.median(np.abs(sight.depth - depth)[visible & shown]) < 1e-3
    hands = np.isin(labels, [label for label in ROBOT if label < Label.OBJECT])
    assert (sight.gripper & visible & hands).sum() / (sight.gripper & visible | hands).sum() > 0.85


def test_all_parts_have_triangles(franka):
    assert set(franka.part.tolist()) == set(range(len(PARTS)))
