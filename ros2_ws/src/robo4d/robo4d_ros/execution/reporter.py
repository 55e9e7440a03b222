"""What the executor tells about itself: `executor/state` on every change, `/diagnostics` once a second."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from robo4d_msgs.msg import ExecutorState

from robo4d.execution.outputs import Outputs, State, Transition
from robo4d.execution.watchdog import Condition, Reaction
from robo4d.health import Health, Level
from robo4d_ros.conversions import header
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.sync import status_from_health

_DIAGNOSTICS_PERIOD_S = 1.0
"""As diagnostic_updater has it."""
_ALARMS = {condition.name.lower() for condition in Condition}


class Reporter:
    """Publishes, and logs changes of state."""

    def __init__(self, node: Node) -> None:
        """Tell that nothing was commanded yet."""
        self._node = node
        self._state = node.create_publisher(ExecutorState, "executor/state", LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._outputs: Outputs | None = None
        self._ticks_ns: list[int] = []
        node.create_timer(_DIAGNOSTICS_PERIOD_S, self._diagnose)
        idle = Transition(
            previous=State.IDLE, state=State.IDLE, code="start", reason="waiting for a plan or an operator"
        )
        self._tell(idle, plan_id="")

    def tick(self, now_ns: int, outputs: Outputs) -> None:
        """Tell what happened in a tick at this time of the steady clock [ns]."""
        self._ticks_ns.append(now_ns)
        self._outputs = outputs
        for transition in outputs.transitions:
            self._tell(transition, outputs.plan_id)

    def _tell(self, transition: Transition, plan_id: str) -> None:
        self._state.publish(
            ExecutorState(
                header=header(self._node.get_clock().now().nanoseconds, ""),
                state=transition.state.value,
                previous=transition.previous.value,
                code=transition.code,
                reason=transition.reason,
                plan_id=plan_id,
            )
        )
        logger = self._node.get_logger()
        line = f"{transition.previous.value} -> {transition.state.value}: {transition.reason}"
        if transition.code in _ALARMS or transition.state is State.FAULT:
            logger.warning(line)
        else:
            logger.info(line)

    def _diagnose(self) -> None:
        if self._outputs is None:
            return
        alarms = self._outputs.alarms
        grave = any(alarm.condition.reaction >= Reaction.HOLD for alarm in alarms)
        periods_ms = 1e-6 * np.diff(self._ticks_ns) if len(self._ticks_ns) > 1 else np.zeros(1)
        self._ticks_ns = self._ticks_ns[-1:]
        health = Health(
            name=f"executor {self._outputs.state.value}",
            level=Level.ERROR if grave else Level.WARN if alarms else Level.OK,
            message="; ".join(alarm.message for alarm in alarms) or "ok",
            values={"tick_period_p50_ms": float(np.median(periods_ms)), "tick_period_max_ms": float(periods_ms.max())},
        )
        status = status_from_health(health, node_name=self._node.get_fully_qualified_name())
        self._diagnostics.publish(
            DiagnosticArray(header=header(self._node.get_clock().now().nanoseconds, ""), status=[status])
        )
