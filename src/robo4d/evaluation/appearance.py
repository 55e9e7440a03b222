"""Likeness of images: PSNR, and the structural similarity of Wang et al. 2004 (IEEE TIP 13-4)."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from scipy.ndimage import gaussian_filter

_SSIM_SIGMA_PX = 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def psnr(predicted: UInt8[Array, "*b h w 3"], true: UInt8[Array, "*b h w 3"]) -> float:
    """Peak signal-to-noise ratio [dB] over all pixels together; infinite where they are equal."""
    error = np.mean((predicted.astype(float) - true.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(predicted: UInt8[Array, "t h w 3"], true: UInt8[Array, "t h w 3"]) -> float:
    """Mean structural similarity, 1 where they are equal; Gaussian windows of 1.5 px, each colour by itself."""
    x, y = predicted / 255.0, true / 255.0
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
    return float(np.mean(luminance * structure))


def _smooth(images: Float[Array, "t h w 3"]) -> Float[Array, "t h w 3"]:
    return gaussian_filter(images, (0, _SSIM_SIGMA_PX, _SSIM_SIGMA_PX, 0), truncate=3.5)
