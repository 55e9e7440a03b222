"""How long the demonstrator takes from keyframe to keyframe: the way at a constant speed, and a pause.

A network that is to tell the whole time must learn to divide a distance by a speed, and is a fifth of a second off.
So the speeds are two numbers that are learned, and what is left for the network is what a way does not tell: waiting
for a gripper, or for the other arm.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def duration_s(
    before: Float[Tensor, "*b a 4 4"],
    after: Float[Tensor, "*b a 4 4"],
    *,
    log_speed: Float[Tensor, "*#b 2"],
    pause_s: Float[Tensor, "*b"],
) -> Float[Tensor, "*b"]:
    """Time from one keyframe to another [s]: that of the arm whose way is longer, and the pause.

    Args:
        before: T_world_tcp of each arm at the one ...
        after: ... and at the other.
        log_speed: Log of the speeds of translation [m/s] and rotation [rad/s], of which the slower one counts.
        pause_s: [s]; negative where the arms are on their way already.
    """
    distance = (after[..., :3, 3] - before[..., :3, 3]).norm(dim=-1)
    turn = before[..., :3, :3].transpose(-1, -2) @ after[..., :3, :3]
    angle = torch.arccos(((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    way = torch.stack([distance, angle], dim=-1) / log_speed.exp()[..., None, :]
    return way.amax(dim=(-1, -2)) + pause_s


def previous(known: Float[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """The row from which each slot is reached: the last known one before it, or else the last row, which is now.

    Now itself is reached from now.
    """
    rows = torch.arange(known.shape[1], device=known.device)
    last = torch.where(known > 0, rows, -1).cummax(dim=1).values.roll(1, dims=1)
    last[:, [0, -1]] = -1
    return torch.where(last < 0, rows[-1], last)
