"""How long the demonstrator takes from keyframe to keyframe: the way at a constant speed, and a pause.

A network that is to tell the whole time must learn to divide a distance by a speed, which a small one hardly does.
So the speeds are two numbers that are learned, and what is left for the network is what a way does not tell: waiting
for a gripper, or for the other arm.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def duration_s(
    T_world_before: Float[Tensor, "*b a 4 4"],
    T_world_after: Float[Tensor, "*b a 4 4"],
    *,
    log_speed: Float[Tensor, "*#b 2"],
    pause_s: Float[Tensor, "*b"],
) -> Float[Tensor, "*b"]:
    """Time from one keyframe to another [s]: that of the arm whose way is longer, and the pause.

    Args:
        T_world_before: Pose of each arm's TCP at the one ...
        T_world_after: ... and at the other.
        log_speed: Log of the speeds of translation [m/s] and rotation [rad/s], of which the slower one counts.
        pause_s: [s]; negative where the arms are on their way already.
    """
    distance = (T_world_after[..., :3, 3] - T_world_before[..., :3, 3]).norm(dim=-1)
    R_before_after = T_world_before[..., :3, :3].transpose(-1, -2) @ T_world_after[..., :3, :3]
    angle = torch.arccos(((R_before_after.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
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
