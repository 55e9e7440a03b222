"""`robo4d rollout --ros`: closed-loop episodes in which every part is a node, as on a robot."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import rclpy
import yaml
from robo4d_msgs.msg import SessionState
from robo4d_msgs.srv import ResetSim
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from robo4d.report import SessionRecord, write_page
from robo4d.rollout.results import EpisodeResult, Job, RolloutConfig
from robo4d.rollout.world import sample_views
from robo4d.sim.playback import stage
from robo4d_ros.conversions import transform_from_matrix
from robo4d_ros.images import camera_info_from_intrinsics
from robo4d_ros.spectator import Spectator
from robo4d_ros.stack import Stack, StackEnded, running
from robo4d_ros.transport import THIS_MACHINE

_START_S = 180.0
"""For all nodes to be there [s]."""
_EPISODE_S = 900.0
"""Longest episode [s]."""
_REFUSALS = 4
"""Plans refused in a row that end an episode, as in one process."""
_OVER = (SessionState.IDLE, SessionState.HOLD, SessionState.FAULT)


def run_over_ros(
    jobs: Sequence[Job], finished: Callable[[Job, EpisodeResult], None], progress: Callable[[float], None]
) -> None:
    """Run all jobs: one start of the nodes for each task and configuration, one reset for each episode.

    An episode that cannot be run to its end has failed, and says why; the next one goes on with the same nodes.

    Args:
        jobs: What to run.
        finished: Called with every result.
        progress: Told the share of the present episode's looks that are used up.

    Raises:
        ValueError: more than one candidate, which only the rollout in one process knows.
        RuntimeError: the nodes did not start, or have ended.
    """
    if any(job.config.candidates > 1 for job in jobs):
        raise ValueError("over ROS each look makes one video: leave out --candidates, or --ros")
    os.environ.update({name: os.environ.get(name, value) for name, value in THIS_MACHINE.items()})
    rclpy.init()
    try:
        groups = itertools.groupby(sorted(jobs, key=lambda job: job.task), key=lambda job: (job.task, job.config))
        for (task, config), group in groups:
            _run_task(task, config, list(group), finished, progress)
    finally:
        rclpy.try_shutdown()


def _run_task(
    task: str,
    config: RolloutConfig,
    jobs: Sequence[Job],
    finished: Callable[[Job, EpisodeResult], None],
    progress: Callable[[float], None],
) -> None:
    node = Spectator(pairs_hz=5.0)
    try:
        with tempfile.TemporaryDirectory(prefix="robo4d_") as folder:
            file = Path(folder) / "rollout.yaml"
            file.write_text(yaml.safe_dump(node_parameters(config)))
            given = launch_arguments(task, config) | {"params_file": str(file)}
            with running(node, *(f"{name}:={value}" for name, value in given.items())) as stack:
                stack.wait(lambda: node.newest_ns, _START_S, "the first pair of images")
                for job in jobs:
                    finished(job, _result(stack, node, job, progress))
    finally:
        node.destroy_node()


def _result(stack: Stack, node: Spectator, job: Job, progress: Callable[[float], None]) -> EpisodeResult:
    """Of an episode, also of one that fails before its end."""
    node.begin()
    try:
        return run_episode(stack, node, job, progress)
    except StackEnded:
        raise
    except RuntimeError as error:
        node.get_logger().error(f"{job.task}, seed {job.seed}: {error}")
        return episode_result(node, job, error=str(error))


def launch_arguments(task: str, config: RolloutConfig) -> dict[str, str]:
    """What bringup is given."""
    return {
        "sim": "true",
        "task": task,
        "generator": config.generator,
        "readout": config.readout,
        "auto_approve": "true",
    }


def node_parameters(config: RolloutConfig) -> dict[str, dict[str, dict[str, object]]]:
    """What differs from the nodes' defaults, as ROS's files of parameters have it."""
    of = {
        "sim": {"width": config.size, "height": config.size, "distribution": config.distribution},
        "generator": {
            "oracle_noise_m": config.degradation.noise_m,
            "oracle_blur_px": config.degradation.blur_px,
            "oracle_misalignment_m": config.degradation.misalignment_m,
            "oracle_misalignment_deg": config.degradation.misalignment_deg,
        },
        "tracker": {"heeds_generator": False},
        "session": {"session.max_looks": config.max_looks, "session.max_attempts": _REFUSALS},
    }
    return {f"/**/{node}": {"ros__parameters": parameters} for node, parameters in of.items()}


def run_episode(stack: Stack, node: Spectator, job: Job, progress: Callable[[float], None]) -> EpisodeResult:
    """One episode with nodes that run already."""
    views, demonstration = sample_views(stage(job.task), job.seed, job.config)
    stack.call(Trigger, "session/stop")
    stack.call(Trigger, "executor/stop")
    stack.wait(lambda: stack.call(Trigger, "executor/reset").success, _START_S, "resetting the executor")
    reset = ResetSim.Request(task=job.task, seed=job.seed, distribution=job.config.distribution)
    for camera in views:
        reset.camera_poses.append(transform_from_matrix(camera.T_world_camera))
        reset.camera_infos.append(camera_info_from_intrinsics(camera.intrinsics, Header()))
    if not (response := stack.call(ResetSim, "sim/reset", reset)).success:
        raise RuntimeError(f"the cell was not reset: {response.message}")
    reset_ns = node.get_clock().now().nanoseconds
    node.begin()
    stack.wait(lambda: node.newest_ns > reset_ns, _START_S, "images of the new episode")
    start_session(stack, node)
    deadline = time.monotonic() + _EPISODE_S
    while not node.reached and node.session.state not in _OVER and time.monotonic() < deadline:
        stack.spin()
        progress(min(1.0, len(node.looks) / job.config.max_looks))
    stack.call(Trigger, "session/stop")
    if job.report:
        write_page(session_record(node, job.task, job.config.generator), job.report)
    return episode_result(node, job, solvable=demonstration.success)


def episode_result(node: Spectator, job: Job, *, solvable: bool = True, error: str = "") -> EpisodeResult:
    """What was seen of an episode."""
    return EpisodeResult(
        config=job.config,
        task=job.task,
        seed=job.seed,
        success=node.reached and not error,
        looks=node.results,
        time_s=node.episode_s,
        cpu_s=0.0,
        solvable=solvable,
        error=error,
    )


def start_session(stack: Stack, node: Spectator) -> None:
    """Start as soon as all nodes are there."""
    deadline = time.monotonic() + _START_S
    while not (answer := stack.call(Trigger, "session/start")).success:
        stack.spin()
        if time.monotonic() > deadline:
            raise RuntimeError(f"the session cannot begin: {answer.message}")
    stack.wait(lambda: node.session.state != SessionState.IDLE, _START_S, "the beginning of the session")


def session_record(node: Spectator, task: str, generator: str) -> SessionRecord:
    """What was seen, for the report page."""
    facts = {
        "result": "done" if node.reached else f"not done: {node.session.reason}",
        "generator": generator,
        "simulated time": f"{node.episode_s:.0f} s",
    }
    looks = tuple(look.record for look in node.looks if look.plan is not None)
    return SessionRecord(title=task.replace("_", " "), facts=facts, looks=looks)
