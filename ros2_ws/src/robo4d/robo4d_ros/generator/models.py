"""Which generator imagines the future: the oracle of the simulated cell, or a model from a folder of weights."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from robo4d_models.generators import load_generator
from robo4d_models.video4d.svd.options import SvdOptions
from robo4d_msgs.srv import SnapshotSim

from robo4d.interfaces import VideoGenerator
from robo4d.sim.snapshot import Snapshot
from robo4d.tracking.degrade import Degradation
from robo4d_ros.conversions import time_from_ns
from robo4d_ros.execution.kinematics import forward_kinematics
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import Frames
from robo4d_ros.robot_history import RobotHistory

_ANSWER_S = 5.0
"""Longest wait for the simulated cell's state [s]."""
MakeGenerator = Callable[[], VideoGenerator]
"""To be called in the thread that will generate: OpenGL is tied to it."""


def oracle(node: Node, task: str, degradation: Degradation) -> MakeGenerator:
    """The expert's future in a copy of the simulated cell, with the faults of a model."""
    client = node.create_client(SnapshotSim, "sim/snapshot")

    def snapshot(stamp_ns: int) -> Snapshot:
        if not client.wait_for_service(_ANSWER_S):
            raise ValueError("the oracle knows the future of the simulated cell only: start it with sim:=true")
        answered = threading.Event()
        future = client.call_async(SnapshotSim.Request(stamp=time_from_ns(stamp_ns)))
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_ANSWER_S):
            raise ValueError(f"the simulated cell did not give its state within {_ANSWER_S:g} s: restart it")
        response = future.result()
        if not response.success:
            raise ValueError(response.message)
        if response.task != task:
            raise ValueError(f"the oracle was started for {task}, but the cell holds {response.task}: restart one")
        return Snapshot.from_bytes(bytes(response.snapshot))

    def make() -> VideoGenerator:
        from robo4d.sim.oracle import OracleConfig, OracleGenerator

        return OracleGenerator(task, snapshot, OracleConfig(degradation=degradation))

    return make


def robot_state(history: RobotHistory, *, arms: tuple[str, ...], robot: str, tf: Frames) -> Callable[[int], Any]:
    """Tells the robot's `RobotState` at a time [ns], or None where it is not known."""
    from robo4d_models.video4d.coding import RobotState  # torch takes seconds, and the oracle does without

    forward = {arm: forward_kinematics(robot, arm, tf) for arm in arms}

    def state(stamp_ns: int) -> RobotState | None:
        found, widths = history.at(stamp_ns), [history.width_at(arm, stamp_ns) for arm in arms]
        if found is None or any(width is None for width in widths):
            return None
        try:
            poses = np.stack([forward[arm](found.joints[arm]) for arm in arms])
        except FrameError:
            return None
        joints = np.stack([found.joints[arm] for arm in arms])
        return RobotState(T_world_tcp=poses, gripper_width=np.array(widths, float), joints=joints)

    return state


def weights(
    node: Node,
    folder: Path,
    task: str,
    *,
    state: Callable[[int], Any] = lambda stamp_ns: None,
    svd: SvdOptions | None = None,
) -> MakeGenerator:
    """The generator with the weights of a folder; see `robo4d_models.generators.load_generator`."""
    generator = load_generator(folder, task, state=state, svd=svd)
    node.get_logger().info(f"weights of {folder}, on {getattr(generator, 'device', 'cpu')}")
    return lambda: generator
