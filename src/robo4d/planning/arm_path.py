"""The path of one arm: its gripper's path, and the joint positions that follow it."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.interpolate import BSpline, make_interp_spline

from robo4d.geometry import se3
from robo4d.plan import ArmPlan, Code, Verdict
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.limits import MotionLimits
from robo4d.planning.path import PosePath
from robo4d.planning.robot import RobotDescription
from robo4d.planning.timing import Clock, Demand

_PIECE_SAMPLES = 8
"""Postures solved for between two frames, at least: each piece of the path bends on its own."""
_MAX_ERROR = 3e-3
"""Distance between the joints' pose and the path's at which the path counts as out of reach [m and rad, one norm]."""
_MAX_STEP_RAD = 0.3
"""A joint that turns farther between two samples has jumped to another branch of the inverse kinematics [rad]."""
_MAX_CONDITION = 80.0
"""Condition number of the Jacobian above which a posture counts as singular: 4.5 in Franka's ready posture, 13 in the
median and 82 in the worst tenth of random ones; a spatula that is held low at the side asks for 60."""
_LENGTH_M = 0.3
"""Lever that makes rotations comparable with translations in the condition number [m]: about the reach of a wrist."""


@dataclass(frozen=True, kw_only=True)
class ArmPath:
    """A path in video time, sampled; between the samples it is smooth in pose and joints."""

    path: PosePath
    joint_path: BSpline
    """Joint positions over video time, of degree 5 [rad]."""
    times_s: Float[Array, " n"]
    """Video times of the samples [s]."""
    Ts_world_tcp: Float[Array, "n 4 4"]
    joints: Float[Array, "n 7"]
    tcp_derivatives: Float[Array, "3 n 6"]
    """First to third derivative by video time of position [m] and rotation [rad], world axes."""
    joint_derivatives: Float[Array, "3 n 7"]

    @classmethod
    def solve(
        cls,
        arm: str,
        path: PosePath,
        kinematics: ArmKinematics,
        start: Float[Array, "7"],
        frames_s: Float[Array, " t"],
        *,
        samples: int,
        posture: Float[Array, "7"] | None = None,
    ) -> "tuple[ArmPath, Verdict | None]":
        """Joint positions along a path, and the refusal if there are none or they are singular.

        Args:
            arm: Name of the arm.
            path: Begins at the pose of `start`.
            kinematics: Of the arm.
            start: Joint positions at video time 0 [rad].
            frames_s: Video times of the poses that the path passes [s], 0 first: between two of them it is one piece.
            samples: Postures to solve for, at least; as many for each piece. The samples of the result are these and
                the ones halfway between them.
            posture: What the joints shall be near to, as far as the path allows [rad]; `start` if left out.
        """
        pieces = 2 * max(_PIECE_SAMPLES, math.ceil(samples / (len(frames_s) - 1)))
        times = np.interp(np.arange(pieces * (len(frames_s) - 1) + 1) / pieces, np.arange(len(frames_s)), frames_s)
        Ts_world_tcp, first, second = path.derivatives(times)
        solved, jacobians, errors = kinematics.follow(Ts_world_tcp[::2], start, posture)
        joint_path = make_interp_spline(times[::2], solved, k=5)
        result = cls(
            path=path,
            joint_path=joint_path,
            times_s=times,
            Ts_world_tcp=Ts_world_tcp,
            joints=joint_path(times),
            tcp_derivatives=np.stack([first, second, np.gradient(second, times, axis=0)]),
            joint_derivatives=np.stack([joint_path(times, order) for order in (1, 2, 3)]),
        )
        refusals = _unreachable(arm, times[::2], solved, errors), _singular(arm, times[::2], jacobians)
        verdict = min((v for v in refusals if v), key=lambda v: v.time_s or 0.0, default=None)
        if verdict is None:
            Ts_between = np.stack([kinematics.forward(q) for q in result.joints[1::2]])
            errors = np.linalg.norm(se3.log(se3.inverse(Ts_between) @ Ts_world_tcp[1::2]), axis=-1)
            verdict = _unreachable(arm, times[1::2], result.joints[1::2], errors)
        return result, verdict

    def demands(self, start_s: float, end_s: float, robot: RobotDescription, limits: MotionLimits) -> list[Demand]:
        """What the part between two video times [s] demands of the TCP and of the joints."""
        low = int(np.searchsorted(self.times_s, start_s, side="right")) - 1
        part = slice(low, int(np.searchsorted(self.times_s, end_s)) + 1)
        velocity, acceleration, jerk = limits.joints(robot, self.joints[part])
        demands = [
            Demand(
                derivatives=self.joint_derivatives[:, part],
                max_velocity=velocity,
                max_acceleration=acceleration,
                max_jerk=jerk,
            )
        ]
        for axes, rates in ((slice(0, 3), limits.translation), (slice(3, 6), limits.rotation)):
            norms = np.linalg.norm(self.tcp_derivatives[:, part, axes], axis=-1, keepdims=True)
            demands.append(
                Demand(
                    derivatives=norms,
                    max_velocity=np.full_like(norms[0], rates.velocity),
                    max_acceleration=np.array([rates.acceleration]),
                    max_jerk=np.array([rates.jerk]),
                )
            )
        return demands

    def timed(self, ticks: Clock, confidence: Float[Array, " n"]) -> ArmPlan:
        """The motion along the path that a clock drives."""
        times, rates, accelerations = ticks.video_times_s, ticks.rates[:, None], ticks.accelerations[:, None]
        Ts_world_tcp, first, second = self.path.derivatives(times)
        bend = self.joint_path(times, 1)
        return ArmPlan(
            Ts_world_tcp=Ts_world_tcp,
            velocities=first * rates,
            accelerations=second * rates**2 + first * accelerations,
            joints=self.joint_path(times),
            joint_velocities=bend * rates,
            joint_accelerations=self.joint_path(times, 2) * rates**2 + bend * accelerations,
            confidence=confidence,
        )


def _unreachable(
    arm: str, times_s: Float[Array, " n"], joints: Float[Array, "n 7"], errors: Float[Array, " n"]
) -> Verdict | None:
    steps = np.abs(np.diff(joints, axis=0, prepend=joints[:1])).max(axis=1)
    bad = ~((errors <= _MAX_ERROR) & (steps <= _MAX_STEP_RAD))  # also where they are NaN
    if not np.any(bad):
        return None
    sample = int(np.argmax(bad))
    return Verdict(
        code=Code.UNREACHABLE,
        reason=f"{arm} arm at {times_s[sample]:.2f} s of the video: the pose is out of reach from the present posture "
        f"({1e3 * errors[sample]:.1f} mm or mrad are left, a joint turns by {steps[sample]:.2f} rad at once): "
        "start from another posture, or generate again",
        arm=arm,
        time_s=float(times_s[sample]),
        value=float(errors[sample]),
    )


def _singular(arm: str, times_s: Float[Array, " n"], jacobians: Float[Array, "n 6 7"]) -> Verdict | None:
    scaled = jacobians * np.array([1, 1, 1, _LENGTH_M, _LENGTH_M, _LENGTH_M])[:, None]
    gains = np.linalg.svd(scaled, compute_uv=False)
    condition = gains[:, 0] / np.maximum(gains[:, -1], 1e-12)
    if np.all(condition <= _MAX_CONDITION):
        return None
    sample = int(np.argmax(condition > _MAX_CONDITION))
    return Verdict(
        code=Code.SINGULAR,
        reason=f"{arm} arm at {times_s[sample]:.2f} s of the video: the posture is nearly singular (condition number "
        f"{condition[sample]:.0f}, allowed are {_MAX_CONDITION:.0f}): start from a posture in which it is bent more",
        arm=arm,
        time_s=float(times_s[sample]),
        value=float(condition[sample]),
    )
