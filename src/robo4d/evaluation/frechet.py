"""Distance of two sets of videos by the features of a network: the Fréchet distance, and one of pairs.

The Fréchet video distance (Unterthiner et al. 2018, arXiv:1812.01717) is that of the Gaussians fitted to the features
of two SETS of videos. The paper's released evaluation gives it sets of one predicted and one true clip, whose
covariances are not defined and left out, and takes the mean over the clips. That is the mean squared distance of the
features of pairs: another measure, whose numbers must not be compared with those of sets.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array


def frechet_distance(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> float:
    """Squared Fréchet distance of the Gaussians with the means and covariances of two sets.

    |mean_a - mean_b|² + tr(A + B - 2 (A B)^½). It is biased upwards for sets that are not much larger than d: compare
    only numbers of as many clips.

    Raises:
        ValueError: a set has fewer than two members.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs at least 2 videos, got {len(a)} and {len(b)}: evaluate more clips")
    centred_a, centred_b = (
        (features - features.mean(axis=0)).astype(float) / np.sqrt(len(features) - 1) for features in (a, b)
    )
    # With A = X'X and B = Y'Y, the trace of (A B)^½ is the sum of the singular values of X Y': no root of a matrix of
    # d x d, which has no full rank for fewer than d videos.
    shared = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    spread = np.square(centred_a).sum() + np.square(centred_b).sum() - 2 * shared
    return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + max(spread, 0.0))


def paired_distance(predicted: Float[Array, "n d"], true: Float[Array, "n d"]) -> float:
    """Mean squared distance of the features of each predicted clip from those of its true one."""
    return float(np.square(predicted.astype(float) - true).sum(axis=-1).mean())
