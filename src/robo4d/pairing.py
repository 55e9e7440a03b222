"""Which messages of two streams belong together, when their time stamps agree only approximately."""

from collections import deque
from typing import Generic, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Pairing(Protocol[T]):
    """Finds the pairs of two streams (0 and 1) of stamped items.

    Every item is used at most once, pairs come in the order of their stamps in both streams, and the stamps of a pair
    differ by no more than the slop. The stamps of each stream must increase; after a jump back, call `reset`.
    """

    def add(self, stream: int, stamp_ns: int, item: T) -> list[tuple[T, T]]:
        """Take the next item of stream 0 or 1, and give the pairs that are now complete."""
        ...

    def reset(self) -> None:
        """Forget all items that wait."""
        ...


class ApproximateTime(Generic[T]):
    """Pairs each item with the nearest in time of the other stream.

    A pair is given as soon as nothing that can still come fits better. So streams with equal stamps, or free-running
    cameras less than half a period apart, are paired at once; a pair waits only where the next item of the earlier
    stream, expected one interval after its last, would be nearer. One lost message therefore costs one pair, and never
    shifts the partners of all later ones.
    """

    def __init__(self, slop_ns: int, queue_size: int) -> None:
        """Allow stamps to differ by `slop_ns` [ns], and `queue_size` items of each stream to wait."""
        self._slop_ns = slop_ns
        self._queues: tuple[deque[tuple[int, T]], ...] = (deque(maxlen=queue_size), deque(maxlen=queue_size))
        self._newest_ns: list[int | None] = [None, None]
        self._interval_ns: list[int | None] = [None, None]

    def add(self, stream: int, stamp_ns: int, item: T) -> list[tuple[T, T]]:
        """See `Pairing.add`."""
        newest_ns = self._newest_ns[stream]
        self._interval_ns[stream] = None if newest_ns is None else stamp_ns - newest_ns
        self._newest_ns[stream] = stamp_ns
        self._queues[stream].append((stamp_ns, item))
        pairs: list[tuple[T, T]] = []
        while all(self._queues):
            (stamp_0, item_0), (stamp_1, item_1) = (queue[0] for queue in self._queues)
            early, late_ns = (0, stamp_1) if stamp_0 <= stamp_1 else (1, stamp_0)
            queue = self._queues[early]
            follower_ns = queue[1][0] if len(queue) > 1 else self._expected_ns(early)
            distance_ns = abs(stamp_0 - stamp_1)
            follower_is_nearer = follower_ns is not None and abs(follower_ns - late_ns) < distance_ns
            if distance_ns > self._slop_ns or (follower_is_nearer and len(queue) > 1):
                queue.popleft()
            elif follower_is_nearer:
                break
            else:
                pairs.append((item_0, item_1))
                for queue in self._queues:
                    queue.popleft()
        return pairs

    def reset(self) -> None:
        """See `Pairing.reset`."""
        for stream, queue in enumerate(self._queues):
            queue.clear()
            self._newest_ns[stream] = self._interval_ns[stream] = None

    def _expected_ns(self, stream: int) -> int | None:
        """When the next item of a stream is due [ns], as far as its last interval tells."""
        newest_ns, interval_ns = self._newest_ns[stream], self._interval_ns[stream]
        return None if newest_ns is None or interval_ns is None else newest_ns + interval_ns
