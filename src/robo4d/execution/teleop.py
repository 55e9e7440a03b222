"""Motion by the operator's hand, while the dead-man's switch is held."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.execution.jog import Jog, JogConfig
from robo4d.execution.targets import Inputs, TeleopInput

_LEASH = 0.8
"""Share of the allowed tracking error from which the command moves no further away from the arm."""


@dataclass(frozen=True, kw_only=True)
class TeleopConfig:
    """How the operator's input is followed."""

    deadline_s: float = 0.1
    """An input or a dead-man's switch that is silent for longer stops the arms [s]."""
    pose_gain: float = 4.0
    """Speed at which a distance to the operator's hand is made up [1/s]."""
    scale: float = 1.0
    """Motion of the TCP by motion of the operator's hand; rotations are never scaled."""

    def __post_init__(self) -> None:
        """Refuse values that follow nothing."""
        if not min(self.deadline_s, self.pose_gain, self.scale) > 0:
            raise ValueError(f"deadline_s, pose_gain and scale must be positive, got {self}")


class Teleoperation:
    """All arms, from the press of the switch until they rest again."""

    def __init__(
        self,
        emitted: Mapping[str, "deque[Float[Array, '4 4']]"],
        *,
        now_ns: int,
        config: TeleopConfig,
        jog: JogConfig,
        leash: tuple[float, float],
        period_s: float,
    ) -> None:
        """The switch is pressed.

        Args:
            emitted: The poses last commanded, by arm, one a tick: their motion is continued, and then changed.
            now_ns: The present on the steady clock [ns]; only later inputs count.
            config: How inputs are followed.
            jog: Limits.
            leash: How far a command may be from its arm [m], [rad].
            period_s: Time from tick to tick [s].
        """
        self._config, self._leash, self._pressed_ns = config, leash, now_ns
        self._jogs = {arm: Jog(poses, config=jog, period_s=period_s) for arm, poses in emitted.items()}
        self._clutches = {arm: Clutch(poses[-1], config) for arm, poses in emitted.items()}
        self._open: dict[str, bool] = {}

    @property
    def at_rest(self) -> bool:
        """Whether no arm moves."""
        return all(jog.at_rest for jog in self._jogs.values())

    def late(self, now_ns: int, inputs: Inputs) -> list[str]:
        """What has become silent since the press: the switch, or the input of an arm."""
        arrivals_ns = {arm: teleop.arrival_ns for arm, teleop in self._inputs(inputs).items()}
        arrivals_ns["switch"] = inputs.switches.arrival_ns
        deadline_ns = 1e9 * self._config.deadline_s
        return [name for name, arrival_ns in arrivals_ns.items() if now_ns - arrival_ns > deadline_ns]

    def tick(self, inputs: Inputs) -> dict[str, Float[Array, "4 4"]]:
        """T_world_tcp of all arms, which do what the operator wants; an arm without input comes to rest."""
        wanted = self._inputs(inputs)
        return {
            arm: jog.tick(
                leashed(
                    self._clutches[arm].twist(wanted[arm], jog.T_world_tcp),
                    jog.T_world_tcp,
                    inputs.readings[arm].T_world_tcp,
                    *self._leash,
                )
                if arm in wanted
                else np.zeros(6)
            )
            for arm, jog in self._jogs.items()
        }

    def brake(self) -> dict[str, Float[Array, "4 4"]]:
        """T_world_tcp of all arms, which come to rest."""
        return {arm: jog.tick(np.zeros(6)) for arm, jog in self._jogs.items()}

    def gripper_changes(self, inputs: Inputs) -> dict[str, bool]:
        """The grippers that the operator now wants opened (True) or closed."""
        wanted = {arm: teleop.open for arm, teleop in self._inputs(inputs).items() if teleop.open is not None}
        changes = {arm: to_open for arm, to_open in wanted.items() if self._open.get(arm, to_open) != to_open}
        self._open |= wanted
        return changes

    def _inputs(self, inputs: Inputs) -> dict[str, TeleopInput]:
        return {arm: t for arm, t in inputs.teleop.items() if t.arrival_ns >= self._pressed_ns and arm in self._jogs}


class Clutch:
    """Follows the motion of the operator's hand since the switch was pressed."""

    def __init__(self, T_world_tcp: Float[Array, "4 4"], config: TeleopConfig) -> None:
        """Begin at the pose that is commanded when the switch is pressed."""
        self._T_world_tcp0 = T_world_tcp
        self._T_world_hand0: Float[Array, "4 4"] | None = None
        self._config = config

    def twist(self, teleop: TeleopInput, T_world_tcp: Float[Array, "4 4"]) -> Float[Array, "6"]:
        """The desired velocity of a TCP that is at `T_world_tcp` (v [m/s], w [rad/s], world axes)."""
        if teleop.twist_world is not None:
            return teleop.twist_world
        T_world_hand = np.asarray(teleop.T_world_hand)
        if self._T_world_hand0 is None:
            self._T_world_hand0 = T_world_hand
        tcp0, hand0 = self._T_world_tcp0, self._T_world_hand0
        position = tcp0[:3, 3] + self._config.scale * (T_world_hand[:3, 3] - hand0[:3, 3])
        R = T_world_hand[:3, :3] @ hand0[:3, :3].T @ tcp0[:3, :3]
        turn = Rotation.from_matrix(R @ T_world_tcp[:3, :3].T).as_rotvec()
        return self._config.pose_gain * np.concatenate([position - T_world_tcp[:3, 3], turn])


def leashed(
    twist_world: Float[Array, "6"],
    T_world_command: Float[Array, "4 4"],
    T_world_tcp: Float[Array, "4 4"],
    position_m: float,
    rotation_rad: float,
) -> Float[Array, "6"]:
    """The twist without what would take the command further from an arm that does not follow, as at an obstacle."""
    lead = T_world_command[:3, 3] - T_world_tcp[:3, 3]
    turn = Rotation.from_matrix(T_world_command[:3, :3] @ T_world_tcp[:3, :3].T).as_rotvec()
    return np.concatenate(
        [_inward(twist_world[:3], lead, _LEASH * position_m), _inward(twist_world[3:], turn, _LEASH * rotation_rad)]
    )


def _inward(velocity: Float[Array, "3"], lead: Float[Array, "3"], limit: float) -> Float[Array, "3"]:
    length = float(np.linalg.norm(lead))
    if length < limit:
        return velocity
    outward = lead / length
    return velocity - max(0.0, float(velocity @ outward)) * outward
