from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import Box, MountedArm, RobotState, two_arms
from robo4d.track import GripperTrack


@pytest.fixture(scope="session")
def arms() -> tuple[MountedArm, ...]:
    """The default cell, with workspaces that stop nobody."""
    return tuple(replace(arm, workspace_min=np.full(3, -2.0), workspace_max=np.full(3, 2.0)) for arm in two_arms("fer"))


@pytest.fixture(scope="session")
def planner(arms) -> Planner:
    return Planner(PlannerConfig(), arms, [Box.example()])


@pytest.fixture
def state() -> RobotState:
    return RobotState.example()


@pytest.fixture
def straight(arms, state) -> Callable[..., GripperTrack]:
    """Tracks that move the gripper straight from where it is, and turn it about a world axis."""

    def make(name="left", *, move=(0.1, 0, -0.1), turn=(0, 0, 0), frames=10, closes_at=None, joints=None):
        arm = next(arm for arm in arms if arm.name == name)
        T_world_start = ArmKinematics(arm).forward(state.joints[name] if joints is None else joints)
        share = np.linspace(0, 1, frames)[:, None]
        R = Rotation.from_rotvec(share * np.array(turn, float)).as_matrix() @ T_world_start[:3, :3]
        is_open = np.arange(frames) < (frames if closes_at is None else closes_at)
        return GripperTrack(
            arm=name,
            stamp_ns=0,
            times_s=0.5 * np.arange(frames),
            Ts_world_tcp=se3.pose(R, T_world_start[:3, 3] + share * np.array(move, float)),
            confidence=np.full(frames, 0.9),
            inlier=np.ones(frames, bool),
            view=np.zeros(frames, int),
            opening_m=np.where(is_open, 0.08, 0.02),
            open=is_open,
        )

    return make
