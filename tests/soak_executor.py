"""Plan after plan in one executor: scripts/with_ros python tests/soak_executor.py 1000.

Prints the memory of the executor on the way, and fails where it grows. robo4d_ros/test_soak.py counts its objects
after a few plans.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from arm_stand_in import JOINT_NAMES, ArmStandIn, executor_command
from execution_rig import HOME, READY, plan
from robo4d_msgs.action import ExecutePlan
from robo4d_ros.plan_conversions import message_from_plan
from ros_probe import Probe, Process

LEAK_MIB = 20.0
"""A thousand plans of 6 kB that were kept would be 20 MiB as Python objects."""
STEP_M = 0.005
PATIENCE_S = 300.0
WATCHDOG = {  # timing is not what this is about, and the machine may be busy
    f"executor.{name}": PATIENCE_S
    for name in (
        "watchdog.state_timeout_s",
        "watchdog.heartbeat_timeout_s",
        "watchdog.late_tick_s",
        "gripper_timeout_s",
    )
}


def soak(cycles: int, *, counted: bool = False) -> Iterator[Process]:
    """The executor's process after each of so many executed plans, each of which ends where it was to.

    Args:
        cycles: How many.
        counted: Run the executor by `counted_executor.py`.
    """
    command = executor_command(**WATCHDOG)
    if counted:
        command[1:3] = [str(Path(__file__).with_name("counted_executor.py"))]
    arms, process, probe = ArmStandIn(HOME), Process(command), Probe("watcher")
    try:
        done, joints = 0, READY
        while done < cycles:
            arms.targets = {arm: [] for arm in HOME}
            stamp_ns = probe.node.get_clock().now().nanoseconds
            way = 1.0 if done % 2 == 0 else -1.0  # there and back
            motion = plan(
                stamp_ns=stamp_ns,
                start=arms.poses,
                moves=((way * STEP_M, 0.0, 0.0), (0.0, 0.0, way * STEP_M)),
                move_s=0.2,
                turn=0.0,
                joints=joints,
                sweep=way,
            )
            message = message_from_plan(motion, plan_id=str(stamp_ns), joint_names=JOINT_NAMES)
            goal = probe.send_goal(ExecutePlan, "execute_plan", ExecutePlan.Goal(plan=message), PATIENCE_S)
            result = goal.result(PATIENCE_S).result
            if done == 0 and result.code in ("state_missing", "heartbeat_lost"):
                arms.wait_until_told()
                continue  # not everything has been heard yet
            assert result.code == "ok", f"plan {done + 1}: {result.message}"
            end = motion.arms["left"].Ts_world_tcp[-1]
            arms.wait(lambda end=end: np.allclose(arms.poses["left"], end, atol=1e-6), "the arm at the plan's end")
            done, joints = done + 1, motion.arms["left"].joints[-1]
            yield process
    finally:
        probe.close()
        process.close()
        arms.close()


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def main() -> None:
    """Execute as many plans as the first argument says."""
    cycles = int(sys.argv[1])
    sizes = []
    for process in soak(cycles):
        sizes.append(memory_mib(process.pid))
        if len(sizes) % max(1, cycles // 20) == 0:
            print(f"{len(sizes)} plans: {sizes[-1]:.1f} MiB", flush=True)
    growth = sizes[-1] - sizes[cycles // 10]
    if growth > LEAK_MIB:
        sys.exit(f"the executor has grown by {growth:.1f} MiB since plan {cycles // 10}")


if __name__ == "__main__":
    main()
