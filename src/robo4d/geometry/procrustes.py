"""Orthogonal Procrustes: the rigid motion between two lists of corresponding points, with and without outliers.

Its use here is pose-free multi-view geometry. The generator gives view m's points in the camera frame of view n
(paper, section 3.2) and never its extrinsics. The cameras stand still, so ONE T_n_m carries all of view m's own
points onto the predicted ones: `calibrate` recovers it from the input pointmap of m and the prediction. Its
residual says how consistent the prediction is across the views; its distance from the calibrated T_n_m, that a camera
was moved (`robo4d.tracking.drift`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.geometry.pointmap import Pointmap

_DEGENERATE = 1e-6
"""Width of a cloud relative to its length [m, or m/m] below which it counts as one point or one line."""
_SHARPENING = 1.4
"""Factor by which the loss loses convexity per step; the value of Yang et al. 2020."""
_CONVERGED = 1e-6
"""Change of the motion [m, rad] below which the sharpened fit has settled."""
_MOST_POINTS = 4096
"""Correspondences used of an image: more do not move the result by a tenth of a millimetre."""


class DegenerateAlignment(ValueError):
    """The points do not fix a rigid motion: fewer than three, not finite, or all on one line."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """A rigid motion fitted to corresponding points."""

    T_a_b: Float[Array, "4 4"]
    """Carries the points of b onto those of a."""
    residual_m: float
    """Median distance of ALL correspondences after the fit, outliers included [m]."""
    inlier_share: float
    """Share of the correspondences that agree with the motion."""
    inlier_rms_m: float
    """Root mean square distance of those [m]."""

    @classmethod
    def example(cls) -> "Alignment":
        """A perfect agreement of two identical frames."""
        return cls(T_a_b=np.eye(4), residual_m=0.0, inlier_share=1.0, inlier_rms_m=0.0)


def fit(
    points_a: Float[Array, "n 3"], points_b: Float[Array, "n 3"], weights: Float[Array, " n"] | None = None
) -> Float[Array, "4 4"]:
    """T_a_b of the least weighted squared distance between points_a and T_a_b points_b (Kabsch 1976, Umeyama 1991).

    Raises:
        DegenerateAlignment: fewer than three points carry weight, a value is not finite, or they lie on one line.
    """
    w = np.ones(len(points_a)) if weights is None else weights
    if (count := np.count_nonzero(w > 0)) < 3:
        raise DegenerateAlignment(f"a motion needs at least 3 corresponding points, got {count}; all pixels invalid?")
    if not (np.isfinite(points_a).all() and np.isfinite(points_b).all()):
        raise DegenerateAlignment("points must be finite; leave invalid pixels out")
    w = (w / w.sum())[:, None]
    centre_a, centre_b = (w * points_a).sum(axis=0), (w * points_b).sum(axis=0)
    a, b = (points_a - centre_a).astype(float), (points_b - centre_b).astype(float)
    for name, centred in (("a", a), ("b", b)):
        _, width, length = np.sqrt(np.maximum(np.linalg.eigvalsh((w * centred).T @ centred), 0))
        if width <= _DEGENERATE * max(length, 1):
            raise DegenerateAlignment(f"the points of {name} lie on one line or in one point; any turn about it fits")
    U, _, Vt = np.linalg.svd((w * a).T @ b)
    handedness = np.diag([1.0, 1.0, np.linalg.det(U @ Vt)])
    R_a_b = U @ handedness @ Vt
    return se3.pose(R_a_b, centre_a - R_a_b @ centre_b)


def fit_robust(
    points_a: Float[Array, "n 3"],
    points_b: Float[Array, "n 3"],
    weights: Float[Array, " n"] | None = None,
    *,
    noise_m: float = 0.005,
) -> Alignment:
    """T_a_b in spite of wrong correspondences: graduated non-convexity with the Geman-McClure loss.

    The loss starts convex and is sharpened step by step (Yang et al. 2020, Graduated Non-Convexity), so that no
    starting guess is needed.

    Args:
        points_a: Points in frame a [m].
        points_b: The same points in frame b [m].
        weights: How much each correspondence is worth if it is right; all the same unless told otherwise.
        noise_m: Expected standard deviation of a right correspondence [m]; three times that is still an inlier.

    Raises:
        DegenerateAlignment: as `fit`. Correspondences that agree on no motion are no error: their `inlier_share` tells.
    """
    worth = 1.0 if weights is None else weights
    T_a_b = fit(points_a, points_b, weights)
    squared = _squared_distances(T_a_b, points_a, points_b)
    bound = (3 * noise_m) ** 2
    convexity = max(1.0, 2 * float(squared.max()) / bound)
    while True:
        trust = worth * (convexity * bound / (squared + convexity * bound)) ** 2
        T_last, T_a_b = T_a_b, fit(points_a, points_b, trust)
        squared = _squared_distances(T_a_b, points_a, points_b)
        if convexity == 1 and np.abs(T_a_b - T_last).max() < _CONVERGED:
            break
        convexity = max(1.0, convexity / _SHARPENING)
    distances = np.sqrt(squared)
    inliers = distances < 3 * noise_m
    return Alignment(
        T_a_b=T_a_b,
        residual_m=float(np.median(distances)),
        inlier_share=float(inliers.mean()),
        inlier_rms_m=float(np.sqrt(squared[inliers].mean())) if inliers.any() else float("inf"),
    )


def calibrate(
    own: Pointmap,
    points_n: Float[Array, "h w 3"],
    valid_n: Bool[Array, "h w"],
    *,
    noise_m: float = 0.005,
) -> Alignment:
    """T_n_m of a camera m from its own pointmap and the points that the generator predicts for its pixels in frame n.

    What moved between the observation and the predicted frame counts as outliers.

    Args:
        own: View m's pointmap in its own optical frame.
        points_n: Predicted point of each pixel of view m, in frame n [m].
        valid_n: Pixels of the prediction that have a point.
        noise_m: Expected standard deviation of a predicted static point [m].

    Raises:
        DegenerateAlignment: as `fit_robust`.
    """
    v, u = np.nonzero(own.valid & valid_n)
    every = max(1, -(-len(v) // _MOST_POINTS))
    v, u = v[::every], u[::every]
    return fit_robust(points_n[v, u].astype(float), own.points[v, u].astype(float), noise_m=noise_m)


def _squared_distances(
    T_a_b: Float[Array, "4 4"], points_a: Float[Array, "n 3"], points_b: Float[Array, "n 3"]
) -> Float[Array, " n"]:
    return np.square(points_a - se3.apply(T_a_b, points_b)).sum(axis=1)
