"""Values by time, for whoever must know later what was measured at a moment."""

from bisect import bisect_left
from typing import Generic, TypeVar

T = TypeVar("T")


class History(Generic[T]):
    """The values of the last while.

    Args:
        span_s: How long values are kept [s].
        period_s: Values that follow one another faster than this are thinned out [s], except for the newest.
    """

    def __init__(self, *, span_s: float, period_s: float = 0.0) -> None:
        if span_s <= 0 or not 0 <= period_s < span_s:
            raise ValueError(f"span_s must be positive and 0 <= period_s < span_s, got {span_s} and {period_s}")
        self._span_ns, self._period_ns = round(1e9 * span_s), round(1e9 * period_s)
        self._stamps_ns: list[int] = []
        self._values: list[T] = []

    def add(self, stamp_ns: int, value: T) -> None:
        """Keep a value measured at a time [ns]. After a jump back of the clock, all that was known is forgotten."""
        stamps_ns, values = self._stamps_ns, self._values
        if stamps_ns and stamp_ns < stamps_ns[-1]:
            stamps_ns.clear()
            values.clear()
        if len(stamps_ns) > 1 and stamp_ns - stamps_ns[-2] < self._period_ns:
            stamps_ns.pop()
            values.pop()
        stamps_ns.append(stamp_ns)
        values.append(value)
        old = bisect_left(stamps_ns, stamp_ns - self._span_ns)
        if 2 * old > len(stamps_ns):  # not at every call, since it moves all that is left
            del stamps_ns[:old], values[:old]

    def newest(self) -> tuple[int, T] | None:
        """Time [ns] and value; None where there is none."""
        return (self._stamps_ns[-1], self._values[-1]) if self._stamps_ns else None

    def nearest(self, stamp_ns: int) -> tuple[int, T] | None:
        """Time [ns] and value that were measured next to a time [ns], however far; None where there is none."""
        if not self._stamps_ns:
            return None
        after = bisect_left(self._stamps_ns, stamp_ns)
        around = [i for i in (after - 1, after) if 0 <= i < len(self._stamps_ns)]
        best = min(around, key=lambda i: abs(self._stamps_ns[i] - stamp_ns))
        return self._stamps_ns[best], self._values[best]
