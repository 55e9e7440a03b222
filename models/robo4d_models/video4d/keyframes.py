"""A task as keyframes: the poses between which both arms move, and what the grippers do there.

Each keyframe has a slot. A task is cut into segments at its gripper events, and slots are counted backwards: segments
from the end of the task, keyframes from the end of their segment. Slot SLOTS - 1 is the last pose of all, the last
slot of each segment the one at which a gripper closes or opens, and what a short segment does not need stays empty.
So an episode that began half way, or took a detour, has its grasp and its release in the same slots as any other,
without anybody labelling phases.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d_models.video4d.coding import HELD_WIDTH, OPEN_WIDTH, RobotState

SEGMENTS = 5
"""The longest task, the bimanual one, has four gripper events, and ends once after them."""
SEGMENT_SLOTS = 5
"""Corners of the path between two gripper events, its end included."""
SLOTS = SEGMENTS * SEGMENT_SLOTS
NOW = SLOTS
"""Row after the slots in the networks' tables: the moment of the images. As the next slot, it means "done"."""

CLOSED_WIDTH = 0.04
"""Opening at which a gripper that is about to close on something is drawn [m]: half open, for want of better."""

_ACTING_S, _ACTING_SHARE = 0.9, 0.6
"""How long the hands stand still while a gripper acts, as the demonstrator's do [s], and at most, of the time to the
next keyframe: a video that passes a grasp between two frames never shows it."""
_LAG_S = 0.1
"""How far an arm is behind what it is told [s], as those of the cell are."""
_AT_ONCE_S = 0.05
"""When grippers act that should have done so already [s]."""
_DROP_M = 0.008
"""How far above where a plan puts it a thing is let go [m]: plans are good to about a centimetre, and what touches down
before it is let go pushes the arm away."""


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """A corner of a demonstrated path, or the end of one."""

    time_s: float
    """When it was passed."""
    T_world_tcp: Float[Array, "a 4 4"]
    closed: Bool[Array, " a"]
    """Whether each gripper is closed, or closing, afterwards."""


def slots(keyframes: list[Keyframe], closed: Bool[Array, " a"]) -> list[int]:
    """The slot of each keyframe of a demonstration up to its end.

    Args:
        keyframes: In the order of time.
        closed: State of the grippers before the first one.

    Returns:
        One slot each; -1 for keyframes that are too far from the end of the task or of their segment to have one.
    """
    segments: list[list[int]] = [[]]
    for i, keyframe in enumerate(keyframes):
        segments[-1].append(i)
        if np.any(keyframe.closed != closed):
            segments.append([])
        closed = keyframe.closed
    if not segments[-1]:
        segments.pop()  # the task ended with the gripper event itself
    result = [-1] * len(keyframes)
    for from_end, segment in enumerate(reversed(segments[-SEGMENTS:])):
        end = SLOTS - from_end * SEGMENT_SLOTS
        for i, keyframe in enumerate(reversed(segment[-SEGMENT_SLOTS:])):
            result[keyframe] = end - 1 - i
    return result


@dataclass(frozen=True, kw_only=True)
class KeyframePlan:
    """The keyframes that are still to come."""

    T_world_tcp: Float[Array, "s a 4 4"]
    """Poses of both TCPs; s may be 0 when the task is done."""
    closed: Bool[Array, "s a"]
    """Whether each gripper is closed after the keyframe; it changes when the pose is reached."""
    times_s: Float[Array, " s"]
    """When each pose is reached, after the observation [s]; increasing."""
    slots: Int[Array, " s"]
    """The slot of each keyframe; -1 of one that makes up for what is behind by its slots, see `made_up_for`."""
    next_probability: Float[Array, " n"]
    """Probability of each slot being the next one; the last one, `NOW`, means that the task is done."""
    T_world_tcp_now: Float[Array, "a 4 4"]
    """Where the model sees the arms at the time of the observation."""

    @property
    def progress(self) -> float:
        """Expected share of the slots that lie behind, in [0, 1]."""
        return float(self.next_probability @ np.linspace(0, 1, len(self.next_probability)))

    def made_up_for(self, start: RobotState) -> "KeyframePlan":
        """The plan that first does what the model takes for done: grippers that are not as they must be act at once.

        Grippers act in the last slot of a segment. If they differ from the first keyframe to come, and that has no such
        slot, then they should have acted already, as where something is being let go.
        """
        ends = self.slots[:1] % SEGMENT_SLOTS == SEGMENT_SLOTS - 1
        if np.all(ends) or np.array_equal(self.closed[0], start.gripper_width < HELD_WIDTH):
            return self
        return replace(
            self,
            T_world_tcp=np.concatenate([start.T_world_tcp[None], self.T_world_tcp]),
            closed=np.concatenate([self.closed[:1], self.closed]),
            times_s=np.concatenate([[_AT_ONCE_S], self.times_s + _AT_ONCE_S + _ACTING_S]),
            slots=np.concatenate([[-1], self.slots]),
        )

    def letting_go_above(self, gripper_width: Float[Array, " a"]) -> "KeyframePlan":
        """The plan with the hands a little higher where they let something go.

        Args:
            gripper_width: Opening of each gripper now [m].
        """
        before = np.concatenate([gripper_width[None] < HELD_WIDTH, self.closed[:-1]])
        poses = self.T_world_tcp.copy()
        poses[..., 2, 3] += np.where(before & ~self.closed, _DROP_M, 0.0)
        return replace(self, T_world_tcp=poses)

    def at(self, times_s: Float[Array, " t"], start: RobotState) -> tuple[Float[Array, "t a 4 4"], Float[Array, "t a"]]:
        """Poses and gripper openings [m] at given times after the observation [s].

        From keyframe to keyframe along straight lines at constant speed, beginning where the arms are, which follow a
        little later than told; where a gripper acts, they stand still before they go on, and after the last one for
        good. A gripper takes the width of its new state when the keyframe is passed; one that stays closed keeps the
        width that it has at the start, which is that of the held object.
        """
        knots = np.concatenate([start.T_world_tcp[None], self.T_world_tcp])
        knot_times = np.concatenate([[0.0], self.times_s])
        poses = np.empty((len(times_s), *knots.shape[1:]))
        widths = np.empty((len(times_s), knots.shape[1]))
        held = start.gripper_width < 0.9 * OPEN_WIDTH
        for i, time in enumerate(np.maximum(times_s - _LAG_S, 0)):
            j = int(np.searchsorted(knot_times, time, side="right")) - 1
            closed = self.closed[j - 1] if j > 0 else held
            widths[i] = np.where(closed, np.where(held, start.gripper_width, CLOSED_WIDTH), OPEN_WIDTH)
            if j == len(knots) - 1:
                poses[i] = knots[-1]
                continue
            before = held if j < 2 else self.closed[j - 2]
            lasts_s = knot_times[j + 1] - knot_times[j]
            acts_s = min(_ACTING_S, _ACTING_SHARE * lasts_s) if j and np.any(closed != before) else 0.0
            s = max(time - knot_times[j] - acts_s, 0.0) / max(lasts_s - acts_s, 1e-6)
            for arm in range(knots.shape[1]):
                poses[i, arm] = se3.interpolate(knots[j, arm], knots[j + 1, arm], s)
        return poses, widths
