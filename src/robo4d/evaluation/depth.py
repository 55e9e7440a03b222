"""Errors of predicted depth: AbsRel and delta_1, as the literature on monocular depth has them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

_RATIO = 1.25
"""Of delta_1."""


@dataclass(frozen=True, kw_only=True)
class DepthErrors:
    """Of one or more images."""

    abs_rel: float
    """Mean of |predicted - true| / true."""
    delta1: float
    """Share of pixels whose ratio to the truth, whichever way round, is below 1.25."""
    missing: float
    """Share of the truly measured pixels for which nothing is predicted."""

    @classmethod
    def example(cls) -> "DepthErrors":
        """A decent prediction."""
        return cls(abs_rel=0.05, delta1=0.96, missing=0.0)


def depth_errors(
    predicted: Float[Array, "*b"],
    true: Float[Array, "*b"],
    *,
    of: Bool[Array, "*b"] | None = None,
    count_missing: bool = False,
) -> DepthErrors:
    """Compare depths [m] along one axis; 0 or less means that there is none.

    Args:
        predicted: What the model says.
        true: What is so.
        of: Pixels to look at; all if left out.
        count_missing: The paper's evaluation leaves pixels out where nothing (or a negative depth) is predicted, which
            rewards a model for silence. With this, each of them counts as a relative error of 1, and not for delta_1.

    Returns:
        NaN where no pixel is left to compare, as in a video that is colours only.
    """
    measured = true > 0 if of is None else (true > 0) & of
    both = measured & (predicted > 0)
    counted = measured if count_missing else both
    if not counted.any():
        return DepthErrors(abs_rel=float("nan"), delta1=float("nan"), missing=float("nan"))
    t, p = true[both], predicted[both]
    relative, within = np.abs(p - t) / t, np.maximum(p / t, t / p) < _RATIO
    silent = int(counted.sum()) - len(t)
    return DepthErrors(
        abs_rel=float((relative.sum() + silent) / counted.sum()),
        delta1=float(within.sum() / counted.sum()),
        missing=float(1 - both.sum() / measured.sum()),
    )
