"""Commands to the grippers that a plan waits for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robo4d.execution.targets import GripperCommand, GripperOutcome
from robo4d.execution.watchdog import Alarm, Condition


@dataclass(frozen=True, kw_only=True)
class _Pending:
    arm: str
    deadline_ns: int


class Grippers:
    """Numbers commands, and matches them with their outcomes."""

    def __init__(self, timeout_s: float) -> None:
        """Wait this long for each outcome [s]."""
        self._timeout_s = timeout_s
        self._number = 0
        self._pending: dict[int, _Pending] = {}

    @property
    def busy(self) -> bool:
        """Whether an outcome is waited for."""
        return bool(self._pending)

    def command(self, arm: str, *, to_open: bool, now_ns: int, awaited: bool) -> GripperCommand:
        """A new command, whose outcome is awaited or not."""
        self._number += 1
        if awaited:
            self._pending[self._number] = _Pending(arm=arm, deadline_ns=now_ns + round(1e9 * self._timeout_s))
        return GripperCommand(arm=arm, open=to_open, number=self._number)

    def forget(self) -> None:
        """Wait for nothing any more."""
        self._pending.clear()

    def check(self, now_ns: int, outcomes: Iterable[GripperOutcome]) -> Sequence[Alarm]:
        """Take outcomes, and tell of failures and of those that take too long; neither is waited for any longer."""
        alarms: list[Alarm] = []
        for outcome in outcomes:
            pending = self._pending.pop(outcome.number, None)
            if pending and not outcome.success:
                alarms.append(Alarm(Condition.GRIPPER_FAILED, f"{pending.arm}: {outcome.message or 'no reason given'}"))
        for number in [n for n, pending in self._pending.items() if now_ns > pending.deadline_ns]:
            arm = self._pending.pop(number).arm
            alarms.append(Alarm(Condition.GRIPPER_TIMEOUT, f"{arm}: nothing within {self._timeout_s:g} s"))
        return alarms
