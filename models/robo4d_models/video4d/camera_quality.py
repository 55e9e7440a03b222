"""How right the cameras are that nobody told the pose of: the table of `robo4d eval --cameras`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo4d import RgbdFrame, RgbdPair
from robo4d.geometry import se3
from robo4d.health import Level
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import WORKSPACE_CENTRE, RobotState
from robo4d_models.video4d.data import SampleFolder, stored_view
from robo4d_models.video4d.localiser import Localiser
from robo4d_models.video4d.pipeline import load_refiner

COLUMNS = ("accepted", "camera_mm", "camera_deg", "work_mm", "second_mm", "second_right", "accepted_right")
_RIGHT_MM = 10.0
"""A second camera that is off by less is right."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the localiser is told besides two images."""

    name: str
    joints: bool
    """Whether the robot tells its joints."""
    noise_m: float = 0.0
    """Standard deviation of independent errors of each pixel's depth [m]."""


CASES = (
    Case(name="joints unknown", joints=False),
    Case(name="joints known", joints=True),
    Case(name="joints known, 2 mm of noise", joints=True, noise_m=0.002),
)


def localiser_quality(folder: Path, data: Path, *, pairs: int) -> list[dict[str, object]]:
    """How right a localiser is on random pairs of views, each of another moment.

    Args:
        folder: Of weights.
        data: Of samples, from `robo4d make-samples`; those kept for validation are used.
        pairs: How many.

    Returns:
        For each of `CASES`: `accepted`, the share of the pairs with which a video would be made; medians over all pairs
        of the error of camera n, `camera_mm` and `camera_deg`, of how far off that puts the middle of the workspace,
        `work_mm`, and of the latter for camera m in the frame of n, `second_mm`; and the share of all pairs and of the
        accepted ones in which that is less than 10 mm, `second_right` and `accepted_right`. A pair that shows too
        little counts as infinitely wrong.

    Raises:
        ValueError: there are no weights, or no samples.
    """
    checkpoints.verify(folder)
    _, robot = load_refiner(folder)
    localiser = Localiser.load(folder / "localiser.safetensors", robot)
    kept, rng = SampleFolder(data, validation=True), np.random.default_rng(0)
    moments = [moment for _, moment in kept.draw(rng, pairs)]
    views: list[list[int]] = [rng.choice(len(moment["rgb"]), 2, replace=False).tolist() for moment in moments]
    rows: list[dict[str, object]] = []
    for case in CASES:
        noise = np.random.default_rng(1)
        found = [_measured(localiser, moment, seen, case, noise) for moment, seen in zip(moments, views, strict=True)]
        columns = dict(
            zip(("accepted", "camera_mm", "camera_deg", "work_mm", "second_mm"), np.array(found).T, strict=True)
        )
        accepted, right = columns.pop("accepted") > 0, columns["second_mm"] < _RIGHT_MM
        rows.append(
            {
                "row": case.name,
                "pairs": pairs,
                "accepted": float(accepted.mean()),
                **{name: float(np.median(values)) for name, values in columns.items()},
                "second_right": float(right.mean()),
                "accepted_right": float(right[accepted].mean()) if accepted.any() else float("nan"),
            }
        )
    return rows


def _measured(
    localiser: Localiser, moment: np.void, views: list[int], case: Case, noise: np.random.Generator
) -> tuple[float, float, float, float, float]:
    """Whether a pair is accepted, and the errors of its cameras, as in the columns."""
    n, m = (_frame(moment, view, case.noise_m, noise) for view in views)
    truth = [moment["T_world_camera"][view].astype(float) for view in views]
    state = RobotState(
        T_world_tcp=moment["T_world_tcp"].astype(float),
        gripper_width=moment["gripper_width"].astype(float),
        joints=moment["joints"].astype(float) if case.joints else None,
    )
    try:
        found = localiser.localise(RgbdPair(n=n, m=m), state)
    except ValueError:
        return 0.0, np.inf, np.inf, np.inf, np.inf
    accepted = found.health(RgbdPair(n=n, m=m)).level is not Level.ERROR
    metres, radians = se3.distance(found.T_world_n, truth[0])
    work = np.array(WORKSPACE_CENTRE)
    in_n, in_m = (se3.apply(se3.inverse(T), work) for T in truth)
    at_work = np.linalg.norm(se3.apply(found.T_world_n, in_n) - work)
    second = np.linalg.norm(se3.apply(se3.inverse(found.T_world_n) @ found.T_world_m, in_m) - in_n)
    return float(accepted), 1e3 * float(metres), float(np.degrees(radians)), 1e3 * float(at_work), 1e3 * float(second)


def _frame(moment: np.void, view: int, noise_m: float, rng: np.random.Generator) -> RgbdFrame:
    seen = stored_view(moment, view)
    errors = noise_m * rng.standard_normal(seen.depth.shape, dtype=np.float32)
    return RgbdFrame(
        rgb=moment["rgb"][view],
        depth=np.where(seen.depth > 0, seen.depth + errors, 0).astype(np.float32),
        intrinsics=seen.camera.intrinsics,
        camera=f"camera_{view}",
        stamp_ns=0,
    )
