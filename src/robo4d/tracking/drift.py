"""Whether camera m is still where its calibration has it, and whether a video agrees with itself across both views.

A video implies one T_n_m (`Clip.calibration`). A model that is told no poses, as the paper's, takes it from the images:
a camera that was moved shows as a difference from tf. One that is told them, as tiny and the oracle, repeats them.
"""

import math
from dataclasses import dataclass, field

from robo4d.geometry import se3
from robo4d.geometry.procrustes import Alignment
from robo4d.health import Health, Level
from robo4d.rgbd import RgbdPair
from robo4d.tracking.clip import places


@dataclass(frozen=True, kw_only=True)
class DriftLimits:
    """What a video may differ by before somebody is told."""

    residual_m: float = field(default=0.03, metadata={"range": (0.001, 1.0)})
    """Median distance between the points that camera m measured and those predicted for its pixels [m]; on good
    predictions 1 to 3 cm."""
    position_m: float = field(default=0.03, metadata={"range": (0.001, 1.0)})
    """Between the places of camera m by the video and by tf, as seen from camera n [m]."""
    rotation_deg: float = field(default=2.0, metadata={"range": (0.1, 90.0)})
    """The same of its orientations [deg]: half of it moves a point at 1 m by 17 mm."""


def drift(calibration: Alignment | None, pair: RgbdPair, limits: DriftLimits) -> Health:
    """What the two views say of each other, and of the calibration.

    Args:
        calibration: T_n_m as the video implies it; None if its points fix none.
        pair: The observation, with the poses of the cameras as far as they are known.
        limits: When to warn.
    """
    name, m = "views", pair.m.camera
    if calibration is None:
        message = f"the points of {m} fix no pose of it, so that it is not used: check its depth, and generate again"
        return Health(name=name, level=Level.WARN, message=message, values={})
    values = {
        "cross_view_residual_m": calibration.residual_m,
        "inlier_share": calibration.inlier_share,
    }
    problems: list[str] = []
    if not places(calibration):
        problems.append(
            f"only {calibration.inlier_share:.0%} of the points of {m} agree on one pose of it, so that it is not used"
        )
    elif calibration.residual_m > limits.residual_m:
        problems.append(
            f"the points predicted for {m} are {1e3 * calibration.residual_m:.0f} mm off those that it measures, "
            f"allowed are {1e3 * limits.residual_m:.0f} mm"
        )
    if pair.n.T_world_camera is not None and pair.m.T_world_camera is not None:
        T_n_m = se3.inverse(pair.n.T_world_camera) @ pair.m.T_world_camera
        distance, angle = se3.distance(calibration.T_a_b, T_n_m)
        position_m, rotation_deg = float(distance), math.degrees(float(angle))
        values |= {"difference_from_tf_m": position_m, "difference_from_tf_deg": rotation_deg}
        if position_m > limits.position_m or rotation_deg > limits.rotation_deg:
            problems.append(
                f"the video has {m} {1e3 * position_m:.0f} mm and {rotation_deg:.1f} deg from where tf has it"
            )
    if not problems:
        return Health(name=name, level=Level.OK, message="ok", values=values)
    fix = f"generate again; if it stays, recalibrate {m} against {pair.n.camera}, or check its depth"
    return Health(name=name, level=Level.WARN, message=f"{'; '.join(problems)}: {fix}", values=values)
