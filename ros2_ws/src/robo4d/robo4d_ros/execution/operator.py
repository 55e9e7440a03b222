"""What the operator's devices tell: switches, velocities, poses of the hand, and grippers."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from robo4d.execution.targets import Switches, TeleopInput
from robo4d_ros.conversions import WORLD, array_from_twist, matrix_from_pose
from robo4d_ros.frames import Frames


@dataclass(frozen=True, kw_only=True)
class OperatorConfig:
    """Which button of the joystick is which switch. The driver must repeat its messages (joy: autorepeat_rate 20)."""

    teleop_button: int = field(default=4, metadata={"range": (0, 63)})
    """Dead-man's switch of teleoperation; the left shoulder button of most pads."""
    run_button: int = field(default=5, metadata={"range": (0, 63)})
    """Dead-man's switch of plans, needed where `executor.hold_to_run` is set."""


class Operator:
    """Listens to `joy`, and for each arm to `<arm>/teleop/twist`, `<arm>/teleop/pose` and `<arm>/teleop/gripper_open`.

    Twists and poses may be in any frame of tf; without a frame_id they are in the axes of the world.
    """

    def __init__(self, node: Node, arms: tuple[str, ...], config: OperatorConfig, frames: Frames) -> None:
        """Listen from now on."""
        self._config, self._frames, self._logger = config, frames, node.get_logger()
        self.switches = Switches()
        """As last told."""
        self._inputs: dict[str, TeleopInput] = {}
        self._open: dict[str, bool] = {}
        node.create_subscription(Joy, "joy", self._take_joy, qos_profile_sensor_data)
        for arm in arms:
            for kind, name, take in (
                (TwistStamped, "twist", self._take_twist),
                (PoseStamped, "pose", self._take_pose),
                (Bool, "gripper_open", self._take_open),
            ):
                node.create_subscription(
                    kind,
                    f"{arm}/teleop/{name}",
                    lambda message, arm=arm, take=take: self._take(arm, message, take),
                    qos_profile_sensor_data,
                )

    @property
    def inputs(self) -> Mapping[str, TeleopInput]:
        """The newest of each arm."""
        return {
            arm: dataclasses.replace(teleop, open=self._open.get(arm, teleop.open))
            for arm, teleop in self._inputs.items()
        }

    def _take(self, arm: str, message: TwistStamped | PoseStamped | Bool, take) -> None:
        try:
            take(arm, message)
        except ValueError as error:  # not finite, or in a frame that nobody knows; then it is late as well
            self._logger.warning(f"teleoperation of the {arm} arm ignored: {error}", throttle_duration_sec=2.0)

    def _take_joy(self, message: Joy) -> None:
        pressed = dict(enumerate(message.buttons))
        self.switches = Switches(
            arrival_ns=time.monotonic_ns(),
            teleop=bool(pressed.get(self._config.teleop_button)),
            run=bool(pressed.get(self._config.run_button)),
        )

    def _take_twist(self, arm: str, message: TwistStamped) -> None:
        R_world_frame = self._T_world(message.header.frame_id)[:3, :3]
        twist = array_from_twist(message.twist)
        twist_world = np.concatenate([R_world_frame @ twist[:3], R_world_frame @ twist[3:]])
        self._inputs[arm] = TeleopInput(arrival_ns=time.monotonic_ns(), twist_world=twist_world)

    def _take_pose(self, arm: str, message: PoseStamped) -> None:
        T_world_hand = self._T_world(message.header.frame_id) @ matrix_from_pose(message.pose)
        self._inputs[arm] = TeleopInput(arrival_ns=time.monotonic_ns(), T_world_hand=T_world_hand)

    def _take_open(self, arm: str, message: Bool) -> None:
        self._open[arm] = message.data

    def _T_world(self, frame: str) -> Float[Array, "4 4"]:
        return self._frames.lookup(WORLD, frame or WORLD)
