import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import ROBOTS, Box, MountedArm, RobotDescription, RobotState, two_arms
from robo4d.sim.panda import cache_folder

# Franka's table of Denavit-Hartenberg parameters in Craig's convention: a [m], d [m], alpha [rad]
# (https://frankarobotics.github.io/docs/robot_specifications.html), which the data files do not use.
DH = [
    (0, 0.333, 0),
    (0, 0, -np.pi / 2),
    (0, 0.316, np.pi / 2),
    (0.0825, 0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0, 0, np.pi / 2),
    (0.088, 0, np.pi / 2),
]
FER = RobotDescription.load("fer")
FR3_ARMS = two_arms("fr3")


def forward_by_dh(joints: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    for (a, d, alpha), theta in zip(DH, joints, strict=True):
        tilt = se3.pose(Rotation.from_euler("x", alpha).as_matrix(), np.array([a, 0.0, 0.0]))
        turn = se3.pose(Rotation.from_euler("z", theta).as_matrix(), np.array([0.0, 0.0, d]))
        T = T @ tilt @ turn
    return T @ se3.pose(Rotation.from_euler("z", -np.pi / 4).as_matrix(), np.array([0.0, 0.0, 0.107 + 0.1034]))


def postures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(FER.lower, FER.upper)


@pytest.fixture(scope="module")
def kinematics():
    return {arm.name: ArmKinematics(arm) for arm in two_arms("fer")}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_forward_kinematics_agree_with_the_published_parameters(seed):
    for arm in FR3_ARMS:
        T_world_tcp = ArmKinematics(arm).forward(postures(seed))
        np.testing.assert_allclose(T_world_tcp, arm.T_world_base @ forward_by_dh(postures(seed)), atol=1e-9)


@pytest.mark.skipif(not any(cache_folder().glob("panda-*")), reason="the simulated Panda is fetched by `robo4d demo`")
def test_forward_kinematics_agree_with_the_simulated_panda():
    import mujoco

    from robo4d.sim.panda import panda_spec

    model = panda_spec().compile()
    data = mujoco.MjData(model)
    arm = replace(MountedArm.example(), T_world_base=np.eye(4))
    for seed in range(20):
        data.qpos[:7] = postures(seed)
        mujoco.mj_kinematics(model, data)
        expected = se3.pose(data.site("tcp").xmat.reshape(3, 3), data.site("tcp").xpos)
        np.testing.assert_allclose(ArmKinematics(arm).forward(postures(seed)), expected, atol=1e-4)


def test_the_jacobian_is_the_derivative_of_the_forward_kinematics(kinematics):
    q, step = postures(1), 1e-6
    T_tcp_world = se3.inverse(kinematics["left"].forward(q))
    columns = [se3.log(T_tcp_world @ kinematics["left"].forward(q + step * unit)) / step for unit in np.eye(7)]
    np.testing.assert_allclose(kinematics["left"].jacobian(q), np.stack(columns, axis=1), atol=1e-5)


def test_following_a_path_reaches_every_pose_without_jumps(kinematics):
    start = RobotState.example().joints["left"]
    T_world_start = kinematics["left"].forward(start)
    s = np.linspace(0, 1, 70)[:, None]
    Ts = T_world_start @ se3.exp(s * np.array([0.2, 0.1, 0.1, 0.3, -0.2, 0.8]))
    joints, _, errors = kinematics["left"].follow(Ts, start)
    assert errors.max() < 1e-6
    np.testing.assert_allclose(joints[0], start, atol=1e-9)
    assert np.abs(np.diff(joints, axis=0)).max() < 0.1
    assert np.abs(np.diff(joints, 2, axis=0)).max() < 0.005


def test_the_elbow_comes_near_to_the_wanted_posture(kinematics):
    start = RobotState.example().joints["left"]
    Ts = np.repeat(kinematics["left"].forward(start)[None], 200, axis=0)
    elsewhere = start + np.array([0.5, 0.0, -0.5, 0.0, 0.3, 0.0, 0.0])
    joints, _, errors = kinematics["left"].follow(Ts, start, elsewhere)
    assert errors.max() < 1e-3
    assert np.linalg.norm(joints[-1] - elsewhere) < np.linalg.norm(start - elsewhere) - 0.1


def test_a_pose_out_of_reach_leaves_an_error(kinematics):
    start = RobotState.example().joints["left"]
    T_world_start = kinematics["left"].forward(start)
    Ts = np.stack([se3.translation(x, 0, 0) @ T_world_start for x in np.linspace(0, 1, 70)])
    assert kinematics["left"].follow(Ts, start)[2][-1] > 0.01


@pytest.mark.parametrize("name", ROBOTS)
def test_the_data_of_every_robot_are_whole(name):
    robot = RobotDescription.load(name)
    assert np.all(robot.lower < robot.upper)
    for limits in (robot.velocity, robot.acceleration, robot.jerk):
        assert limits.shape == (7,)
        assert np.all(limits > 0)
    assert {capsule.link for capsule in robot.capsules} >= {link for pair in robot.self_collisions for link in pair}


def test_an_unknown_robot_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="fer, fr3"):
        RobotDescription.load("ur5")


def test_fr3_may_move_less_fast_near_the_ends_of_its_range():
    robot = RobotDescription.load("fr3")
    middle = (robot.lower + robot.upper) / 2
    np.testing.assert_allclose(robot.max_velocity(middle), robot.velocity)
    # Joint 1 at 2.5 rad: sqrt(12 (2.7501 - 2.5)) - 0.3, from libfranka's table.
    assert robot.max_velocity(np.array([2.5, *middle[1:]]))[0] == pytest.approx(1.4324, abs=1e-3)
    assert np.all(robot.max_velocity(robot.upper) < 0.25 * robot.velocity)
    np.testing.assert_array_equal(robot.max_velocity(robot.upper + 1), 0)


@pytest.mark.parametrize("kind", [Box, MountedArm, RobotDescription, RobotState])
def test_every_type_ships_an_example(kind):
    assert isinstance(kind.example(), kind)


def test_an_empty_workspace_is_refused():
    with pytest.raises(ValueError, match="empty"):
        replace(MountedArm.example(), workspace_min=np.ones(3), workspace_max=np.ones(3))


def test_smoothing_paths_and_checks_need_no_robot_libraries():
    program = """
import sys
for missing in ("pinocchio", "coal", "ruckig"):
    sys.modules[missing] = None
import robo4d.plan, robo4d.track
from robo4d.planning import gates, gripper, limits, path, robot, smoothing
"""
    subprocess.run([sys.executable, "-c", program], check=True)
