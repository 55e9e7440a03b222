"""What is broken in the simulated cell, and until when."""

import threading
import time
from collections.abc import Sequence

from robo4d_msgs.srv import InjectFault

from robo4d.sim.state import ARMS

F = InjectFault.Request


class Faults:
    """The faults in force. Used from several threads."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._targets = {
            F.FREEZE_CAMERA: cameras,
            F.DROP_CAMERA: cameras,
            F.DELAY_STATE: ARMS,
            F.NAN_STATE: ARMS,
            F.COLLISION_REFLEX: ARMS,
            F.GRIPPER_HANG: ARMS,
            F.GRIPPER_ABORT: ARMS,
            F.SECOND_PUBLISHER: ARMS,
        }
        self._active: dict[tuple[str, str], tuple[float, float | None]] = {}
        self._lock = threading.Lock()

    def inject(self, request: InjectFault.Request) -> None:
        """Put a fault in force, or end all.

        Raises:
            ValueError: an unknown fault or target, or a number that makes no sense.
        """
        if request.fault == F.CLEAR:
            with self._lock:
                self._active.clear()
            return
        if request.fault not in self._targets:
            raise ValueError(f"no fault `{request.fault}`; faults: {', '.join(self._targets)}, {F.CLEAR}")
        targets = self._targets[request.fault]
        if request.target not in targets:
            raise ValueError(f"{request.fault} happens to {' or '.join(targets)}, got `{request.target}`")
        if not (0 <= request.value < 60 and request.duration >= 0):
            raise ValueError(f"value must be in [0, 60) s and duration >= 0, got {request.value}, {request.duration}")
        end = time.monotonic() + request.duration if request.duration > 0 else None
        with self._lock:
            self._active[request.fault, request.target] = (request.value, end)

    def active(self, fault: str, target: str) -> bool:
        """Whether that is broken now."""
        with self._lock:
            _, end = self._active.get((fault, target), (0.0, 0.0))
        return end is None or time.monotonic() < end

    def value(self, fault: str, target: str) -> float:
        """The value of the fault; 0 where it is not in force."""
        with self._lock:
            value, _ = self._active.get((fault, target), (0.0, None))
        return value if self.active(fault, target) else 0.0
