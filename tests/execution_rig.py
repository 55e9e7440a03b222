"""Plans made by formula, and arms that do what the executor commands, for its tests."""

import numpy as np
from scipy.spatial.transform import Rotation

from robo4d.execution.executor import Executor, ExecutorConfig
from robo4d.execution.outputs import Outputs, State
from robo4d.execution.targets import ArmReading, ArmTarget, GripperOutcome, Inputs
from robo4d.geometry import se3
from robo4d.plan import ArmPlan, GripperEvent, Plan, Verdict

HOME = {
    "left": se3.translation(0.4, 0.3, 0.3) @ np.diag([1.0, -1.0, -1.0, 1.0]),
    "right": se3.translation(0.4, -0.3, 0.3) @ np.diag([1.0, -1.0, -1.0, 1.0]),
}
READY = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
DWELL_S = 0.5


def plan(
    *,
    stamp_ns: int = 0,
    moves: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 0.1), (0.1, 0.0, 0.0)),
    turn: float = 0.3,
    move_s: float = 1.5,
    arms: tuple[str, ...] = ("left", "right"),
    start: dict | None = None,
    verdict: Verdict | None = None,
    joints: np.ndarray = READY,
    sweep: float = 1.0,
) -> Plan:
    """One move after the other, with a turn about the vertical; in between the left gripper closes, then opens, ..."""
    period_s, start = 0.02, start or HOME
    share, rate, rate2, dwell = [0.0], [0.0], [0.0], round(DWELL_S / period_s)
    s = np.linspace(0, 1, 1 + round(move_s / period_s))[1:]
    events, times_s = [], 0.0
    for index in range(len(moves)):
        share += list(index + s**3 * (10 - 15 * s + 6 * s**2))
        rate += list(30 * s**2 * (1 - s) ** 2 / move_s)
        rate2 += list(60 * s * (1 - s) * (1 - 2 * s) / move_s**2)
        times_s += move_s
        if index < len(moves) - 1:
            events.append(GripperEvent(arm="left", time_s=times_s, open=bool(index % 2)))
            share, rate, rate2 = share + [index + 1.0] * dwell, rate + [0.0] * dwell, rate2 + [0.0] * dwell
            times_s += DWELL_S
    share, rate, rate2 = np.array(share), np.array(rate), np.array(rate2)
    steps = np.array(moves, float)
    part = np.minimum(share.astype(int), len(moves) - 1)
    done = np.vstack([np.zeros(3), np.cumsum(steps, axis=0)])[part] + (share - part)[:, None] * steps[part]
    twist = np.concatenate([steps[part], np.tile([0, 0, turn], (len(part), 1))], axis=1)
    arm_plans = {}
    for name in arms:
        R = Rotation.from_rotvec(share[:, None] * [0, 0, turn]).as_matrix() @ start[name][:3, :3]
        ramp = sweep * np.linspace(0.1, 0.4, 7)
        arm_plans[name] = ArmPlan(
            Ts_world_tcp=se3.pose(R, start[name][:3, 3] + done),
            velocities=twist * rate[:, None],
            accelerations=twist * rate2[:, None],
            joints=joints + share[:, None] * ramp,
            joint_velocities=rate[:, None] * ramp,
            joint_accelerations=rate2[:, None] * ramp,
            confidence=np.ones(len(share)),
        )
    return Plan(
        stamp_ns=stamp_ns,
        verdict=verdict or Verdict(),
        times_s=period_s * np.arange(len(share)),
        video_times_s=share,
        arms=arm_plans,
        events=tuple(events),
        keyframes={},
    )


def reading(arm: str, now_ns: int, target: ArmTarget | None = None, **changes) -> ArmReading:
    """An arm that is where it was commanded, or at home."""
    T_world_tcp = HOME[arm] if target is None else target.T_world_tcp
    values = {"stamp_ns": now_ns, "arrival_ns": now_ns, "T_world_tcp": T_world_tcp, "wrench": np.zeros(6)}
    return ArmReading(**values | changes)


def inputs(now_ns: int, targets: dict, **changes) -> Inputs:
    """Everything as it should be."""
    values = {
        "ros_now_ns": now_ns,
        "readings": {arm: reading(arm, now_ns, targets.get(arm)) for arm in HOME},
        "heartbeats_ns": {"session": now_ns},
    }
    return Inputs(**values | changes)


def derivatives(Ts_world_tcp: np.ndarray, period_s: float) -> dict[str, tuple[float, float]]:
    """The greatest speed, acceleration and jerk, by differences of poses: (translation, rotation)."""
    p = Ts_world_tcp[:, :3, 3]
    turn = Rotation.from_matrix(Ts_world_tcp[1:, :3, :3] @ np.swapaxes(Ts_world_tcp[:-1, :3, :3], 1, 2)).as_rotvec()
    result = {}
    v = {"translation": np.diff(p, axis=0) / period_s, "rotation": turn / period_s}
    for order, name in enumerate(("velocity", "acceleration", "jerk")):
        size = [np.diff(x, n=order, axis=0) / period_s**order for x in v.values()]
        result[name] = tuple(float(np.linalg.norm(x, axis=1).max(initial=0)) for x in size)
    return result


CONFIG = ExecutorConfig(period_s=0.02)
"""Half as many ticks as on a robot: the tests are about the law, not the rate."""


class Rig:
    """An executor whose arms follow at once and whose grippers need 0.2 s. Time passes in its ticks only."""

    def __init__(self, config: ExecutorConfig | None = None, **options) -> None:
        self.config = config or CONFIG
        self.executor = Executor(("left", "right"), self.config, **options)
        self.now_ns = 10**9
        self.outputs: Outputs | None = None
        self.targets: dict[str, ArmTarget] = {}
        self.history: list[dict[str, ArmTarget]] = []
        self.transitions, self.commands, self.finished, self.courses = [], [], [], []
        self._gripper_ends_ns: dict[int, int] = {}
        self.tick()

    @property
    def next_ns(self) -> int:
        """Time of the next tick."""
        return self.now_ns + round(1e9 * self.config.period_s)

    def tick(self, **changes) -> Outputs:
        """One tick, with these inputs instead of those of a healthy cell."""
        self.now_ns = self.next_ns
        ended = [number for number, end_ns in self._gripper_ends_ns.items() if end_ns <= self.now_ns]
        outcomes = tuple(GripperOutcome(number=number, success=True) for number in ended)
        for number in ended:
            del self._gripper_ends_ns[number]
        outputs = self.executor.step(
            self.now_ns, inputs(self.now_ns, self.targets, **{"gripper_outcomes": outcomes} | changes)
        )
        self._gripper_ends_ns |= {c.number: self.now_ns + 200_000_000 for c in outputs.gripper_commands}
        self.outputs, self.targets = outputs, dict(outputs.targets)
        self.history.append(self.targets)
        self.transitions += outputs.transitions
        self.commands += outputs.gripper_commands
        self.finished += [outputs.finished] if outputs.finished else []
        self.courses += [outputs.courses] if outputs.courses else []
        return outputs

    def run(self, seconds: float, **changes) -> None:
        """Many ticks."""
        for _ in range(round(seconds / self.config.period_s)):
            self.tick(**changes)

    def run_until(self, state: State, timeout_s: float = 30.0, **changes) -> None:
        """Ticks until the state is reached."""
        for _ in range(round(timeout_s / self.config.period_s)):
            if self.tick(**changes).state is state:
                return
        raise AssertionError(f"{state} was not reached within {timeout_s} s: {self.outputs}")

    def execute(self, plan_id: str = "plan", *, speed_scale: float = 1.0, **plan_options) -> None:
        """Begin a plan from an observation of now."""
        admitted = self.executor.admit(plan(stamp_ns=self.now_ns, **plan_options))
        self.executor.execute(admitted, plan_id, speed_scale=speed_scale)

    def motion(self, arm: str) -> dict[str, tuple[float, float]]:
        """The greatest speed, acceleration and jerk that an arm was commanded."""
        poses = [targets[arm].T_world_tcp for targets in self.history if arm in targets]
        return derivatives(np.array(poses), self.config.period_s)
