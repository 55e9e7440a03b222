"""What is followed, and how it may move: a hand that floats, or a hand on an arm whose joints turn.

A state is one entry of an array: a pose of the hand, or the positions of the joints. Many states are treated at once.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.rendering import GripperRenderer, Surface

_STIFFNESS_M = 0.05
"""What a rotation counts beside a translation [m]; a gripper's parts lie so far from its middle."""
_REACH_ITERATIONS = 2
_REACH_DAMPING = 1e-3
"""Added to J J^T: a hand that is out of reach is reached as nearly as can be, without leaps."""


@runtime_checkable
class Mechanism(Protocol):
    """One or more bodies, the hand being the first, whose placement follows from a state."""

    renderer: GripperRenderer
    """Of the hand."""
    start: Float[Array, "..."]
    """A state to begin with."""
    damping: Float[Array, "d"]
    """What each coordinate of a step weighs beside a translation of the hand [m^2]."""

    def surfaces(self, opening_m: float) -> tuple[Surface, ...]:
        """Points on each body, the gripper being opened by a distance [m]."""
        ...

    def placements(self, states: Float[Array, "n ..."]) -> tuple[Float[Array, "n 4 4"], ...]:
        """T_world_body of each body."""
        ...

    def motions(self, states: Float[Array, "n ..."]) -> tuple[Float[Array, "k n 4 4"], Float[Array, "k n 6 d"]]:
        """The same in one array, and the twist of each body, in its own axes, per step."""
        ...

    def stepped(self, states: Float[Array, "n ..."], steps: Float[Array, "n d"]) -> Float[Array, "n ..."]:
        """The states after a small step each."""
        ...

    def reached(self, states: Float[Array, "n ..."], Ts_world_hand: Float[Array, "n 4 4"]) -> Float[Array, "n ..."]:
        """States near the given ones that have the hand at these poses, or as near to them as can be."""
        ...


class FreeHand:
    """A hand of which nobody knows what holds it; its state is T_world_hand.

    Args:
        renderer: Renderer of the gripper.
    """

    def __init__(self, renderer: GripperRenderer) -> None:
        self.renderer, self.start = renderer, np.eye(4)
        self.damping = np.array([1.0] * 3 + [_STIFFNESS_M**2] * 3)
        self._T_hand_middle = se3.translation(*renderer.centre_hand)
        # A step is a twist about the middle of the gripper.
        x, y, z = renderer.centre_hand
        self._jacobian = np.eye(6)
        self._jacobian[:3, 3:] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])

    def surfaces(self, opening_m: float) -> tuple[Surface, ...]:
        """See `Mechanism`."""
        return (self.renderer.surface(opening_m),)

    def placements(self, states: Float[Array, "n 4 4"]) -> tuple[Float[Array, "n 4 4"], ...]:
        """See `Mechanism`."""
        return (states,)

    def motions(self, states: Float[Array, "n 4 4"]) -> tuple[Float[Array, "1 n 4 4"], Float[Array, "1 n 6 6"]]:
        """See `Mechanism`."""
        return states[None], np.broadcast_to(self._jacobian, (1, len(states), 6, 6))

    def stepped(self, states: Float[Array, "n 4 4"], steps: Float[Array, "n 6"]) -> Float[Array, "n 4 4"]:
        """See `Mechanism`."""
        return states @ self._T_hand_middle @ se3.exp(steps) @ se3.inverse(self._T_hand_middle)

    def reached(self, states: Float[Array, "n 4 4"], Ts_world_hand: Float[Array, "n 4 4"]) -> Float[Array, "n 4 4"]:
        """See `Mechanism`."""
        return Ts_world_hand


class HandOnArm:
    """A hand at the end of an arm that stands still; its state are the joints' positions [rad].

    Args:
        renderer: Renderer of the gripper.
        arm: Renderer of the links behind it.
        T_world_base: Where the arm stands.
        joints: The positions of its joints [rad] in the beginning.
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        arm: ArmRenderer,
        *,
        T_world_base: Float[Array, "4 4"],
        joints: Float[Array, "7"],
    ) -> None:
        self.renderer, self.arm, self.T_world_base, self.start = renderer, arm, T_world_base, joints
        self.damping = np.full(7, _STIFFNESS_M**2)
        self._carriers = np.array([7, *arm.surfaces])

    def surfaces(self, opening_m: float) -> tuple[Surface, ...]:
        """See `Mechanism`."""
        return (self.renderer.surface(opening_m), *self.arm.surfaces.values())

    def placements(self, states: Float[Array, "n 7"]) -> tuple[Float[Array, "n 4 4"], ...]:
        """See `Mechanism`."""
        links = self.links(states)
        hands = links[:, 6] @ self.arm.model.T_link7_hand
        return (hands, *(links[:, number - 1] for number in self.arm.surfaces))

    def links(self, states: Float[Array, "n 7"]) -> Float[Array, "n 7 4 4"]:
        """T_world_link of all links."""
        return self.T_world_base @ self.arm.model.placements(states)

    def motions(self, states: Float[Array, "n 7"]) -> tuple[Float[Array, "k n 4 4"], Float[Array, "k n 6 7"]]:
        """See `Mechanism`."""
        links = self.links(states)
        bodies = links[:, self._carriers - 1].swapaxes(0, 1)
        bodies[0] = bodies[0] @ self.arm.model.T_link7_hand
        return bodies, _turning(links, bodies, self._carriers)

    def stepped(self, states: Float[Array, "n 7"], steps: Float[Array, "n 7"]) -> Float[Array, "n 7"]:
        """See `Mechanism`."""
        return np.clip(states + steps, self.arm.model.lower, self.arm.model.upper)

    def reached(self, states: Float[Array, "n 7"], Ts_world_hand: Float[Array, "n 4 4"]) -> Float[Array, "n 7"]:
        """See `Mechanism`."""
        for _ in range(_REACH_ITERATIONS):
            links = self.links(states)
            hands = links[:, 6] @ self.arm.model.T_link7_hand
            (J,) = _turning(links, hands[None], self._carriers[:1])
            J_t, error = J.swapaxes(1, 2), _difference(hands, Ts_world_hand)[..., None]
            steps = J_t @ np.linalg.solve(J @ J_t + _REACH_DAMPING * np.eye(6), error)
            states = self.stepped(states, steps[..., 0])
        return states


def _difference(Ts_world_a: Float[Array, "n 4 4"], Ts_world_b: Float[Array, "n 4 4"]) -> Float[Array, "n 6"]:
    """The twist from a to b in the axes of a, as long as the rotation is small: else less than it."""
    R_world_a = Ts_world_a[:, :3, :3]
    R_a_b = R_world_a.swapaxes(1, 2) @ Ts_world_b[:, :3, :3]
    way = (Ts_world_b[:, None, :3, 3] - Ts_world_a[:, None, :3, 3]) @ R_world_a  # R^T v, for rows
    skew = R_a_b[:, [2, 0, 1], [1, 2, 0]] - R_a_b[:, [1, 2, 0], [2, 0, 1]]
    return np.concatenate([way[:, 0], skew / 2], axis=1)


def _turning(
    Ts_world_link: Float[Array, "n 7 4 4"], Ts_world_body: Float[Array, "k n 4 4"], carriers: Int[Array, " k"]
) -> Float[Array, "k n 6 7"]:
    """Twist of each body, in its own axes, per speed of each joint; each hangs on the link of a number."""
    axes = Ts_world_link[:, :, :3, 2]
    arms = Ts_world_body[:, :, None, :3, 3] - Ts_world_link[:, :, :3, 3]
    twists_world = np.empty((*arms.shape[:3], 2, 3))
    after, before = [1, 2, 0], [2, 0, 1]
    twists_world[..., 0, :] = axes[..., after] * arms[..., before] - axes[..., before] * arms[..., after]
    twists_world[..., 1, :] = axes
    twists = twists_world @ Ts_world_body[:, :, None, :3, :3]  # R^T v, for rows
    moved = np.arange(1, 8) <= carriers[:, None, None, None]
    return twists.reshape(*arms.shape[:3], 6).swapaxes(2, 3) * moved
