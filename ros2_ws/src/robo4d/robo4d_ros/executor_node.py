"""The only node that commands the arms: it executes approved plans and teleoperation, and stops when it must."""

import time
from dataclasses import dataclass, field
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robo4d.execution.admission import Refused
from robo4d.execution.executor import Executor, ExecutorConfig
from robo4d.execution.targets import Inputs
from robo4d_ros import frames, parameters
from robo4d_ros.execution.arm_listener import ArmListener
from robo4d_ros.execution.controllers import ControllerConfig, make_controller
from robo4d_ros.execution.grippers import GripperConfig, make_gripper
from robo4d_ros.execution.kinematics import forward_kinematics
from robo4d_ros.execution.operator import Operator, OperatorConfig
from robo4d_ros.execution.plan_action import PlanAction
from robo4d_ros.execution.reporter import Reporter
from robo4d_ros.process import run
from robo4d_ros.services import answer

_GRAPH_PERIOD_S = 0.2
"""How often other publishers are looked for."""
_LAST_STOP_S = 1.0
"""A stop takes 0.4 s; the process ends after this time at the latest."""


@dataclass(frozen=True, kw_only=True)
class ExecutorNodeConfig:
    """The executor."""

    arms: tuple[str, ...] = ("left", "right")
    """Names of the arms; each has its topics below its name."""
    robot: str = "fer"
    """Model by which the arms' kinematics are checked before the first command: fer (Panda), fr3, or empty for none."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    gripper: GripperConfig = field(default_factory=GripperConfig)
    operator: OperatorConfig = field(default_factory=OperatorConfig)


@dataclass(frozen=True, kw_only=True)
class Override:
    """What the operator may turn while a plan is executed."""

    speed_scale: float = field(default=1.0, metadata={"range": (0.1, 1.0)})
    """Share of its speed at which every plan is executed."""


class ExecutorNode(Node):
    """Steps the executor on a steady clock; callbacks only keep what they are told for the next tick."""

    def __init__(self, **options: Any) -> None:
        super().__init__("executor", **options)
        self._config = config = parameters.declare(self, ExecutorNodeConfig())
        tf = frames.listen(self)
        self._listeners = {arm: ArmListener(self, arm, tf) for arm in config.arms}
        self._operator = Operator(self, config.arms, config.operator, tf)
        self._controller = make_controller(self, config.arms, config.controller, tf)
        self._grippers = {
            arm: make_gripper(self, arm, config.gripper, lambda listener=listener: listener.width)
            for arm, listener in self._listeners.items()
        }
        self._executor = Executor(
            config.arms,
            config.executor,
            forward={arm: forward_kinematics(config.robot, arm, tf) for arm in config.arms if config.robot},
            with_courses=config.controller.kind == "follow_joint_trajectory",
        )
        override = parameters.declare(self, Override(), on_change=lambda o: self._executor.set_speed(o.speed_scale))
        self._executor.set_speed(override.speed_scale)
        self._heartbeats_ns: dict[str, int] = {}
        self._other_publishers: tuple[str, ...] = ()
        self._reporter = Reporter(self)
        self._action = PlanAction(self, self._executor)
        self.create_subscription(String, "heartbeat", self._take_heartbeat, 10)
        for name in ("pause", "resume", "stop", "reset"):
            self.create_service(Trigger, f"executor/{name}", answer(getattr(self._executor, name), Refused))
        # A jump of the messages' clock must be seen, and never hold up a tick.
        self.create_timer(config.executor.period_s, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_timer(_GRAPH_PERIOD_S, self._look_for_others)

    def close(self) -> None:
        """Come to rest before the process ends."""
        self._executor.stop("shutdown", "the executor is shut down")
        deadline_s = time.monotonic() + _LAST_STOP_S
        while self._executor.busy and time.monotonic() < deadline_s:
            self._tick()
            time.sleep(self._config.executor.period_s)
        self._action.close()

    def _take_heartbeat(self, message: String) -> None:
        self._heartbeats_ns[message.data] = time.monotonic_ns()

    def _look_for_others(self) -> None:
        self._other_publishers = self._controller.other_publishers()

    def _tick(self) -> None:
        faults = self._controller.faults()
        readings = {arm: listener.reading(faults.get(arm, "")) for arm, listener in self._listeners.items()}
        now_ns = time.monotonic_ns()
        outputs = self._executor.step(
            now_ns,
            Inputs(
                ros_now_ns=self.get_clock().now().nanoseconds,
                readings={arm: reading for arm, reading in readings.items() if reading},
                heartbeats_ns=self._heartbeats_ns,
                switches=self._operator.switches,
                teleop=self._operator.inputs,
                gripper_outcomes=tuple(o for gripper in self._grippers.values() for o in gripper.outcomes()),
                other_publishers=self._other_publishers,
            ),
        )
        self._controller.command(outputs.targets, outputs.courses)
        for command in outputs.gripper_commands:
            self._grippers[command.arm].command(command)
        self._action.tick(outputs)
        self._reporter.tick(now_ns, outputs)


def main() -> None:
    """Run the node."""
    run(ExecutorNode)


if __name__ == "__main__":
    main()
