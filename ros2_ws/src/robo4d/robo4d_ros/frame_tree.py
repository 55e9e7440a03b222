"""A tree of coordinate frames over time, as tf keeps it: for machines without tf2. Knows nothing of ROS."""

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3


class FrameError(ValueError):
    """A transform that is not known, or not at that time."""


@dataclass
class _Edge:
    """The poses of one frame in its parent."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    Ts_parent_child: dict[int, Float[Array, "4 4"]] = field(default_factory=dict)

    def add(self, stamp_ns: int, T_parent_child: Float[Array, "4 4"], history_ns: int) -> None:
        if self.static:
            self.stamps_ns, self.Ts_parent_child = [stamp_ns], {stamp_ns: T_parent_child}
            return
        if stamp_ns not in self.Ts_parent_child:
            insort(self.stamps_ns, stamp_ns)
        self.Ts_parent_child[stamp_ns] = T_parent_child
        while self.stamps_ns[-1] - self.stamps_ns[0] > history_ns:
            del self.Ts_parent_child[self.stamps_ns.pop(0)]

    def at(self, stamp_ns: int | None) -> Float[Array, "4 4"]:
        """The pose at a time within the history, interpolated between its neighbours."""
        if self.static or stamp_ns is None:
            return self.Ts_parent_child[self.stamps_ns[-1]]
        after = bisect_left(self.stamps_ns, stamp_ns)
        if after == len(self.stamps_ns) or (after == 0 and self.stamps_ns[0] != stamp_ns):
            first, last = self.stamps_ns[0], self.stamps_ns[-1]
            where = f"{1e-9 * (stamp_ns - last):.3f} s after the newest" if after else "before the oldest"
            raise FrameError(f"{1e-9 * stamp_ns:.3f} s is {where} of [{1e-9 * first:.3f}, {1e-9 * last:.3f}] s")
        if self.stamps_ns[after] == stamp_ns:
            return self.Ts_parent_child[stamp_ns]
        earlier, later = self.stamps_ns[after - 1], self.stamps_ns[after]
        share = (stamp_ns - earlier) / (later - earlier)
        return se3.interpolate(self.Ts_parent_child[earlier], self.Ts_parent_child[later], share)


class FrameTree:
    """Poses of frames in their parents, by time. May be used from several threads."""

    def __init__(self, history_s: float = 10.0) -> None:
        """Remember moving frames for so long [s]; tf2 does so for 10 s."""
        self._history_ns = round(1e9 * history_s)
        self._edges: dict[str, _Edge] = {}
        self._lock = threading.Lock()

    def learn(
        self,
        frames: Sequence[tuple[str, str]],
        Ts_parent_child: Float[Array, "n 4 4"],
        *,
        stamps_ns: Sequence[int],
        static: bool = False,
    ) -> None:
        """Take poses of frames, given as (parent, child). A frame that moves to another parent forgets its past.

        Raises:
            ValueError: a pose is no rigid motion, or a frame would be its own parent; the others have been learned.
        """
        valid = se3.is_valid(Ts_parent_child)
        wrong = ""
        with self._lock:
            for (parent, child), T_parent_child, stamp_ns, rigid in zip(
                frames, Ts_parent_child, stamps_ns, valid, strict=True
            ):
                if parent == child or not child or not parent:
                    wrong = f"{child!r} cannot be a child of {parent!r}"
                elif not rigid:
                    wrong = f"the pose of {child} in {parent} is no rigid motion:\n{T_parent_child}"
                else:
                    edge = self._edges.get(child)
                    if edge is None or (edge.parent, edge.static) != (parent, static):
                        edge = self._edges[child] = _Edge(parent, static)
                    edge.add(stamp_ns, T_parent_child, self._history_ns)
        if wrong:
            raise ValueError(wrong)

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Float[Array, "4 4"]:
        """T_target_source at a time [ns], or at the newest time that all frames between them know.

        Raises:
            FrameError: the frames are not connected, or not at that time.
        """
        with self._lock:
            up, down = self._chain(source), self._chain(target)
            common = next((frame for frame in up if frame in down), None)
            if common is None:
                known = ", ".join(sorted({*self._edges, *(edge.parent for edge in self._edges.values())}))
                raise FrameError(f"no transform from {source} to {target}; known frames: {known or 'none'}")
            up, down = up[: up.index(common)], down[: down.index(common)]
            if stamp_ns is None:
                moving = [self._edges[frame].stamps_ns[-1] for frame in (*up, *down) if not self._edges[frame].static]
                stamp_ns = min(moving, default=None)
            try:
                T_common_source = self._product(up, stamp_ns)
                return se3.inverse(self._product(down, stamp_ns)) @ T_common_source
            except FrameError as error:
                raise FrameError(f"transform from {source} to {target}: {error}") from None

    def _chain(self, frame: str) -> list[str]:
        """The frame and all its ancestors."""
        chain = [frame]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise FrameError(f"the frames {', '.join(chain)} are each other's parents")
            chain.append(parent)
        return chain

    def _product(self, frames: list[str], stamp_ns: int | None) -> Float[Array, "4 4"]:
        """The pose of the first frame in the parent of the last."""
        T = np.eye(4)
        for frame in frames:
            T = self._edges[frame].at(stamp_ns) @ T
        return T
