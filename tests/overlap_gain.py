"""What `session.overlap` saves: the arms' idle time from the end of one execution to the beginning of the next.

    scripts/with_ros python tests/overlap_gain.py --seeds 0 1 2

The same starts of the simulated cell with the oracle, without overlap and with it; the time is that of the clock.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import rclpy
import yaml
from robo4d_msgs.msg import SessionState
from robo4d_msgs.srv import ResetSim
from robo4d_ros.conversions import ns_from_time
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.rollout import start_session
from robo4d_ros.spectator import Spectator
from robo4d_ros.stack import running
from robo4d_ros.transport import THIS_MACHINE
from std_srvs.srv import Trigger

TASK = "store_cereal_box_under_shelf"
START_S, EPISODE_S = 180.0, 1200.0
PATIENCE = {  # the machine may be busy with other work
    "sim": {"width": 128, "height": 128, "camera_rate_hz": 3.0, "state_rate_hz": 25.0},
    "generator": {"max_wait_s": 60.0},
    "session": {f"session.{name}_limit_s": 120.0 for name in ("handover", "observe", "generate", "plan")},
    "executor": {
        "executor.period_s": 0.04,
        "executor.gripper_timeout_s": 30.0,
        "executor.watchdog.state_timeout_s": 20.0,
        "executor.watchdog.heartbeat_timeout_s": 20.0,
        "executor.watchdog.late_tick_s": 20.0,
        "executor.watchdog.tracking_position_m": 0.2,
        "executor.watchdog.tracking_rotation_rad": 1.0,
    },
}


def idle_times_s(changes):
    """From the end of each execution to the beginning of the next [s]: by whether a new look came between them."""
    idle_s, ended_ns, looked = {True: [], False: []}, None, False
    for change in changes:
        stamp_ns = ns_from_time(change.header.stamp)
        if change.previous == SessionState.EXECUTING and change.state in (SessionState.OBSERVE, SessionState.PLANNING):
            ended_ns, looked = stamp_ns, False
        elif change.state == SessionState.EXECUTING and change.previous == SessionState.REVIEW and ended_ns:
            idle_s[looked].append(1e-9 * (stamp_ns - ended_ns))
        if change.state in (SessionState.EXECUTING, SessionState.IDLE):
            ended_ns = None
        looked |= change.state == SessionState.OBSERVE
    return idle_s


def episode(stack, node, seed):
    """One session from a start of the cell, seen by its mounted cameras; returns whether it reached the goal."""
    for name in ("session/stop", "executor/stop", "executor/reset"):
        stack.wait(lambda name=name: stack.call(Trigger, name).success, START_S, name)
    stack.call(ResetSim, "sim/reset", ResetSim.Request(task=TASK, seed=seed))
    reset_ns = node.get_clock().now().nanoseconds
    node.begin()
    stack.wait(lambda: node.newest_ns > reset_ns, START_S, "images of the new episode")
    start_session(stack, node)
    over = (SessionState.IDLE, SessionState.HOLD, SessionState.FAULT)
    stack.wait(lambda: node.reached or node.session.state in over, EPISODE_S, "an episode")
    stack.call(Trigger, "session/stop")
    return node.reached


def run(overlap, seeds, max_looks):
    """The idle times of all episodes [s], and how many reached the goal."""
    given = PATIENCE | {"session": PATIENCE["session"] | {"session.overlap": overlap, "session.max_looks": max_looks}}
    node, changes = Spectator(pairs_hz=0.5), []
    node.create_subscription(SessionState, "session/state", changes.append, LATCHED)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overlap.yaml"
        file.write_text(yaml.safe_dump({f"/**/{name}": {"ros__parameters": values} for name, values in given.items()}))
        arguments = ["sim:=true", f"task:={TASK}", "generator:=oracle", "auto_approve:=true", f"params_file:={file}"]
        with running(node, *arguments) as stack:
            stack.wait(lambda: node.newest_ns, START_S, "the first pair of images")
            reached = sum(episode(stack, node, seed) for seed in seeds)
    node.destroy_node()
    return idle_times_s(changes), reached


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-looks", type=int, default=8, help="executed plans an episode, at most")
    parser.add_argument("--overlap", choices=("false", "true", "both"), default="both")
    options = parser.parse_args()
    os.environ.update({name: os.environ.get(name, value) for name, value in THIS_MACHINE.items()})
    rclpy.init()
    for overlap in (False, True):
        if options.overlap not in ("both", str(overlap).lower()):
            continue
        idle_s, reached = run(overlap, options.seeds, options.max_looks)
        print(f"overlap {overlap}: {reached} of {len(options.seeds)} episodes reached the goal")
        for looked, found_s in idle_s.items():
            kind, each = "a look" if looked else "a prediction", ", ".join(f"{s:.1f}" for s in found_s)
            if found_s:
                print(f"    idle before a plan from {kind}: median {np.median(found_s):.1f} s of {each}", flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
