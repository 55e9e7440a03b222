"""How far images bear out a gripper's pose: render the CAD there, and compare. For every tracker alike.

Fit errors of registration and logits of pose networks do not tell right poses from wrong ones; a rendering does
(0.98 area under the ROC curve, against 0.65 of ICP's inlier share). Every pixel of the rendered gripper is a test:
the image shows a surface there (agreement), something behind it, where the gripper should have blocked the view
(violation), or something before it, which may hide the gripper (occlusion).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int
from numpy import ndarray as Array

from robo4d.track import Reason
from robo4d.tracking.arm import ArmSight
from robo4d.tracking.gripper import Part
from robo4d.tracking.rendering import Rendering, Window, enclosing

STILL_WEIGHT = 0.3
"""What agreement with the background counts: a pose sunk into table or shelf agrees with them. Not zero, for a finger
that touches the table is as near to it as that."""
UNSEEN_WEIGHT = 0.5
"""How much a hidden or unmeasured pixel counts against a pose, where a violated one counts 1. One outside the image
counts fully: a gripper that is cut off there by half slides along the border, without any contradiction."""
_LEAST_IN_IMAGE = 0.05
"""Share of the gripper's front in the image that is reckoned with, at least."""
_LINK_WEIGHTS = np.array([0, 0, 0, 0, 0, 0.1, 0.3, 0])
"""What a pixel of each link counts, where one of the gripper counts 1: the farther from it, the less it tells."""
_HELD = 0.7
"""Share of what is not seen of a gripper that is no loss where its arm is seen, which says where it is."""
_TOUCHING_M = 0.005
"""A link nearer to the gripper's surface than this [m] does not hide it: it is the one that it is mounted on."""
_ENOUGH_PIXELS = 30
"""Agreeing pixels from which on their number no longer limits the confidence."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The comparison of a pose with images, in pixels."""

    agreeing: float
    """Rendered pixels where the image has the same depth."""
    still: float
    """Those of them that show the background."""
    violated: float
    """Where the image has something behind."""
    hidden: float
    """Where the image has something before."""
    unmeasured: float
    """Where the image has no depth."""
    outside: float
    """Pixels that the gripper would have outside the image, if it is partly inside."""
    masked: float = 0.0
    """Pixels of the mask of hand and fingers, where there is a mask; 0 without one."""
    masked_rendered: float = 0.0
    """Rendered pixels of hand and fingers, where there is a mask, and nothing before them."""
    masked_both: float = 0.0
    """Their intersection."""
    masked_agreeing: float = 0.0
    """Pixels of the intersection that agree in depth."""

    @classmethod
    def example(cls) -> "Evidence":
        """A gripper in full view, a tenth of it hidden."""
        return cls(agreeing=450, still=0, violated=0, hidden=50, unmeasured=0, outside=0)

    @property
    def confidence(self) -> float:
        """Trust in the pose, 0 to 1.

        With a mask: F1 score of the depth (precision over rendered pixels, recall over the mask) times intersection
        over union of the silhouettes, with what is outside the image in the union. Without one: agreement minus
        violation, relative to all that was tested.
        """
        if self.masked > 0:
            total = self.masked + self.masked_rendered
            return 2 * self.masked_agreeing / total * self.masked_both / (total - self.masked_both + self.outside)
        support = self.agreeing - (1 - STILL_WEIGHT) * self.still
        tested = self.agreeing + self.violated + self._unseen
        return max(support - self.violated, 0) / max(tested, 1) * min(1, support / _ENOUGH_PIXELS)

    @property
    def attainable(self) -> float:
        """The confidence of a pose that all pixels of the mask bear out, 0 to 1: the less, the more of it is cut off.

        1 without a mask.
        """
        return self.masked_rendered / (self.masked_rendered + self.outside) if self.masked_rendered > 0 else 1.0

    @property
    def missed_share(self) -> float:
        """How much of the gripper is not seen, 0 to 1; 1 where nothing of it is in the image."""
        return (self._unseen + 1) / (self.agreeing + self.violated + self.hidden + self.unmeasured + self.outside + 1)

    @property
    def _unseen(self) -> float:
        """What is not seen, weighted, in pixels."""
        return UNSEEN_WEIGHT * (self.hidden + self.unmeasured) + self.outside

    @property
    def seen(self) -> "Evidence":
        """The part of the gripper that is seen: no more than that can contradict a pose known from elsewhere."""
        return replace(self, hidden=0.0, unmeasured=0.0, outside=0.0)

    @property
    def weakness(self) -> Reason:
        """What speaks most against the pose."""
        in_image = self.agreeing + self.violated + self.hidden + self.unmeasured
        if self.outside >= in_image:
            return Reason.OUT_OF_VIEW
        if self.unmeasured > in_image / 2:
            return Reason.NO_DEPTH
        return Reason.OCCLUDED if self.hidden > 2 * (self.violated + self.still) else Reason.LOST


def pooled(evidences: Sequence[Evidence]) -> Evidence:
    """What several views say together: their support and contradiction, and what the view that sees most misses."""
    best = min(evidences, key=lambda evidence: evidence.missed_share)
    unseen = {name: getattr(best, name) for name in ("hidden", "unmeasured", "outside")}
    added = [field.name for field in fields(Evidence) if field.name not in unseen]
    return Evidence(**{name: sum(getattr(evidence, name) for evidence in evidences) for name in added}, **unseen)


def compare(
    rendering: Rendering,
    depth: Float32[Array, "h w"],
    *,
    tolerance_m: float,
    in_image: float,
    still: Bool[Array, "h w"] | None = None,
    mask: Bool[Array, "h w"] | None = None,
    arm: ArmSight | None = None,
) -> Evidence:
    """Test every pixel of the gripper rendered at a pose.

    Args:
        rendering: The gripper alone.
        depth: The observed depth [m], 0 where there is none.
        tolerance_m: Difference of depth up to which a pixel agrees; 15 mm separates best at 5 to 10 mm of noise.
        in_image: Share of the gripper's front that is inside the image.
        still: Pixels that show the background.
        mask: Pixels of hand and fingers, without the wrist.
        arm: The arm behind the gripper. Where it hides the gripper, nothing is expected of that, and the links are
            evidence as well, the nearer to the gripper the more.
    """
    window = rendering.window if arm is None else enclosing(rendering.window, arm.window)
    masked_pixels = _count(mask) if mask is not None else 0.0
    depth, still, mask = depth[window], _cut(still, window), _cut(mask, window)
    gripper_depth, gripper_part = rendering.depth[window], rendering.part[window]
    drawn = gripper_depth > 0
    rendered = drawn if arm is None else drawn & (arm.depth[window] > gripper_depth - _TOUCHING_M)
    measured = rendered & (depth > 0)
    behind = depth - gripper_depth
    agreeing, before = measured & (np.abs(behind) < tolerance_m), measured & (behind <= -tolerance_m)
    masked = dict[str, float]()
    if mask is not None and masked_pixels:
        gripper = rendered & (gripper_part != Part.WRIST) & ~(before & ~mask)
        masked = {
            "masked": masked_pixels,
            "masked_rendered": _count(gripper),
            "masked_both": _count(gripper & mask),
            "masked_agreeing": _count(gripper & mask & agreeing),
        }
    links = _Links(0.0, 0.0, 0.0)
    if arm is not None:
        links = _compare_arm(arm.depth[window], arm.link[window], rendered, depth, tolerance_m, still)
    held = min(max((links.agreeing - links.violated) / _ENOUGH_PIXELS, 0), 1)
    missing = 1 - _HELD * held
    return Evidence(
        agreeing=_count(agreeing) + links.agreeing,
        still=(0.0 if still is None else _count(agreeing & still)) + links.still,
        violated=_count(measured & (behind >= tolerance_m)) + links.violated,
        hidden=missing * (_count(before) + _count(drawn & ~rendered)),
        unmeasured=_count(rendered & ~measured),
        outside=missing * _count(rendered) * (1 / max(in_image, _LEAST_IN_IMAGE) - 1),
        **masked,
    )


class _Links(NamedTuple):
    agreeing: float
    still: float
    violated: float


def _count(pixels: Bool[Array, "h w"]) -> float:
    return float(np.count_nonzero(pixels))


def _cut(pixels: Bool[Array, "h w"] | None, window: Window) -> Bool[Array, "a b"] | None:
    return None if pixels is None else pixels[window]


def _compare_arm(
    arm_depth: Float32[Array, "h w"],
    link: Int[Array, "h w"],
    gripper: Bool[Array, "h w"],
    depth: Float32[Array, "h w"],
    tolerance_m: float,
    still: Bool[Array, "h w"] | None,
) -> _Links:
    """Test the pixels of the arm beside the gripper, weighted by link."""
    weights = _LINK_WEIGHTS[np.where(gripper | (depth <= 0), 0, link)]
    with np.errstate(invalid="ignore"):
        behind = depth - arm_depth
    agreeing = weights * (np.abs(behind) < tolerance_m)
    return _Links(
        agreeing=float(agreeing.sum()),
        still=0.0 if still is None else float(agreeing[still].sum()),
        violated=float((weights * (behind >= tolerance_m)).sum()),
    )
