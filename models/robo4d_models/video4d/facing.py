"""Which way the surfaces face that an observation shows."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

FACING = 7
"""Channels of `facings`."""


def surface_normals(points: Float[Tensor, "*b 3 h w"], valid: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Unit normals of the surface at each pixel, from the points around it; 0 where one is not valid.

    They are in the frame of the points. All look the same way as seen from the camera, be it to it or from it.
    """
    batch = valid.shape[:-2]
    points = functional.pad(points.flatten(0, -4), (1, 1, 1, 1), mode="replicate")
    right = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    down = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    around = functional.pad(valid.flatten(0, -3), (1, 1, 1, 1))
    usable = around[..., 1:-1, 2:] * around[..., 1:-1, :-2] * around[..., 2:, 1:-1] * around[..., :-2, 1:-1]
    across = torch.linalg.cross(right, down, dim=1)
    length = across.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
    return (across / length * usable[:, None]).unflatten(0, batch)


def facings(normals: Float[Tensor, "b v 3 h w"]) -> Float[Tensor, "b v g h w"]:
    """Normals, and the second and fourth harmonic of their azimuth, as long as the normal is level.

    Opposite faces of an upright box share the second one, all four the fourth: averages over whatever is seen of a box
    tell how it is turned.
    """
    x, y = normals[:, :, 0], normals[:, :, 1]
    level = torch.sqrt(x**2 + y**2).clamp(min=1e-6)
    x2, y2 = (x**2 - y**2) / level, 2 * x * y / level
    x4, y4 = (x2**2 - y2**2) / level, 2 * x2 * y2 / level
    return torch.cat([normals, torch.stack([x2, y2, x4, y4], dim=2)], dim=2)
