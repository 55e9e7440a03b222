"""Whether a pose is true to the images: what of them is background, and the verdict over all views."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.ndimage import binary_dilation, grey_opening, maximum_filter, minimum_filter

from robo4d.geometry import Intrinsics, se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.evidence import Evidence, compare, pooled
from robo4d.tracking.hypotheses import share_in_image
from robo4d.tracking.mechanism import HandOnArm
from robo4d.tracking.rendering import NOWHERE, GripperRenderer, Window
from robo4d.tracking.view import DepthView

_STILL_M = 0.02
"""Difference of depth [m] below which a pixel shows the background."""
_STILL_SHARE = 0.75
"""Share of a clip in which a pixel shows its background; where a slow arm is before it all the time, the farthest link
that passes is no background, nor is a hand that comes early and rests."""
_PATCH_PX = 3
"""Width of what a pixel counts with; single holes are missing measurements."""
_GRIPPER_GATE_M = 0.03
"""Distance from the rendered gripper [m] up to which a pixel of the first image counts as showing it ..."""
_UNCOVERED_M = 0.06
"""How far the background must be behind the gripper of the first image [m]; nearer, it may be the gripper all along."""
_GRIPPER_RIM_PX = 2
"""... with so much of its surroundings, where flying pixels are."""
_STAYS_M, _STAYS_RAD = 0.005, 0.05
"""A pose nearer than this to the known one is the same."""
_CHANGED_M = 0.03
"""Difference of depth from all that was about a pixel [m] from which it shows something else than it did."""
_CHANGED_SHARE = 0.05
"""Share of such pixels in and around a hand that stands still, at most: flying pixels are up to 3 %, and a motion by a
pixel changes 10 % of the largest."""
_AROUND_PX = 5
"""Its surroundings: where more of it would appear if it moved."""
_SURROUNDINGS = 16
"""Of different openings and views, that are kept."""


def background(depths: Float32[Array, "t h w"]) -> Float32[Array, "h w"]:
    """The farthest that each pixel shows in a clip of a camera that stands still [m]: what moves is in front of that.

    A pixel counts with those around it, so that no flying one does; 0 where it is not shown most of the time. Where
    a whole patch has no depth, what is there is too far to be measured, and farther than all that is.
    """
    patches = grey_opening(np.where(depths > 0, depths, np.float32(np.inf)), (1, _PATCH_PX, _PATCH_PX))
    far = patches.max(axis=0)
    far = np.where(np.isfinite(far), far, np.float32(0))
    told = (depths > 0) | np.isinf(patches)
    shown = (np.abs(depths - far) < _STILL_M).sum(axis=0)
    return np.where(shown >= _STILL_SHARE * np.maximum(told.sum(axis=0), 1), far, np.float32(0))


class _Surroundings(NamedTuple):
    """The part of an image in which a hand is, or would appear if it moved."""

    window: Window
    hand: Bool[Array, "a b"]
    """Its own pixels there."""
    farthest_m: float
    """Depth of the farthest of its points [m]."""


class Judge:
    """Judges poses of one gripper in images of cameras that stand still.

    A pose that agrees with the background alone has not found a gripper: one that is half sunk into the table fits
    the table top very well.

    Args:
        renderer: Renderer of the gripper.
        tolerance_m: Difference of depth up to which a pixel agrees with the rendering [m].
        backgrounds: Depth of each view's background [m], 0 where it is unknown; unknown everywhere if left out.
        mechanism: The hand and the arm behind it, where the joints are known.
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        tolerance_m: float,
        backgrounds: Sequence[Float32[Array, "h w"]] | None = None,
        mechanism: HandOnArm | None = None,
    ) -> None:
        self._renderer, self.tolerance_m, self._backgrounds = renderer, tolerance_m, backgrounds
        self._mechanism = mechanism
        self.T_world_known: Float[Array, "4 4"] | None = None
        """Where the hand was when it was spared."""
        self._known_depths: list[tuple[Float32[Array, "h w"], Float32[Array, "h w"]]] = []
        self._surroundings = lru_cache(maxsize=_SURROUNDINGS)(self._find_surroundings)

    def spare(self, frames: Sequence[RgbdFrame], T_world_hand: Float[Array, "4 4"], opening_m: float) -> None:
        """Take a gripper at a known pose out of the background, in case it rests there during the whole clip."""
        self.T_world_known = T_world_hand
        self._known_depths = [(minimum_filter(f.depth, 3), maximum_filter(f.depth, 3)) for f in frames]
        if self._backgrounds is None:
            return
        spared: list[Float32[Array, "h w"]] = []
        for view, far in zip(self.views(frames), self._backgrounds, strict=True):
            rendered = self._renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics).depth
            shown = (rendered > 0) & (np.abs(view.depth - rendered) < _GRIPPER_GATE_M)
            shown = binary_dilation(shown, iterations=_GRIPPER_RIM_PX).astype(bool)
            spared.append(np.where(shown & (far - view.depth < _UNCOVERED_M), np.float32(0), far))
        self._backgrounds = spared

    def views(
        self, frames: Sequence[RgbdFrame], masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> tuple[DepthView, ...]:
        """Prepare the images of one moment.

        Raises:
            ValueError: the pose of a camera is unknown, or there are not as many images as backgrounds or masks.
        """
        for name, others in (("backgrounds", self._backgrounds), ("masks", masks)):
            if others is not None and len(others) != len(frames):
                raise ValueError(f"{len(frames)} images need as many {name}, there are {len(others)}")
        views: list[DepthView] = []
        for i, frame in enumerate(frames):
            if frame.T_world_camera is None:
                raise ValueError(f"{frame.camera}: tracking needs the camera's pose; identity will do for a single one")
            far = self._backgrounds[i] if self._backgrounds else np.zeros_like(frame.depth)
            views.append(
                DepthView(
                    intrinsics=frame.intrinsics,
                    T_camera_world=se3.inverse(frame.T_world_camera),
                    depth=frame.depth,
                    still=(far > 0) & (frame.depth > far - _STILL_M),
                    mask=None if masks is None else masks[i],
                )
            )
        return tuple(views)

    def judge(
        self,
        T_world_hand: Float[Array, "4 4"],
        opening_m: float,
        views: tuple[DepthView, ...],
        *,
        joints: Float[Array, "7"] | None = None,
    ) -> Evidence:
        """The evidence of all views together.

        Where a hand stands still at the known pose, what is not seen of it says nothing against it, but it takes
        the hand itself to bear that out: links that stand still with it are background.

        Args:
            T_world_hand: The pose.
            opening_m: Distance between the fingers [m].
            views: The images.
            joints: Of the arm that holds the hand there [rad], if they are known: then its links are evidence, too.
        """
        links = self._mechanism.links(joints[None])[0] if self._mechanism and joints is not None else None
        masked = any(view.beside is not None for view in views)
        evidence = pooled([self._judge_view(T_world_hand, opening_m, view, links, masked=masked) for view in views])
        if self.T_world_known is None:
            return evidence
        metres, radians = se3.distance(self.T_world_known, T_world_hand)
        if metres > _STAYS_M or radians > _STAYS_RAD or not self.unchanged(opening_m, views):
            return evidence
        hand = pooled([self._judge_view(T_world_hand, opening_m, view, None) for view in views]).seen
        return max(evidence, hand, key=lambda one: one.confidence)

    def unchanged(self, opening_m: float, views: tuple[DepthView, ...]) -> bool:
        """Whether the images show the same as before in and around the hand at the known pose: it has not moved.

        What changes behind it, beside it, says nothing of it.
        """
        if self.T_world_known is None:
            return False
        changed = compared = 0
        for view, (near, far) in zip(views, self._known_depths, strict=True):
            T_camera_hand = view.T_camera_world @ self.T_world_known
            around = self._surroundings(T_camera_hand.tobytes(), opening_m, view.intrinsics)
            depth, low, high = view.depth[around.window], near[around.window], far[around.window]
            measured = (depth > 0) & (low > 0) & (around.hand | (depth < around.farthest_m + _CHANGED_M))
            changed += np.count_nonzero(measured & ((depth < low - _CHANGED_M) | (depth > high + _CHANGED_M)))
            compared += np.count_nonzero(measured)
        return bool(compared > 0 and changed <= _CHANGED_SHARE * compared)

    def _find_surroundings(
        self, T_camera_hand_bytes: bytes, opening_m: float, intrinsics: Intrinsics
    ) -> "_Surroundings":
        """Of a hand, with arguments that can be looked up, as the same is asked for in every frame."""
        T_camera_hand = np.frombuffer(T_camera_hand_bytes).reshape(4, 4)
        depth = self._renderer.render(T_camera_hand, opening_m, intrinsics).depth
        rows, columns = np.nonzero(depth)
        if not len(rows):
            return _Surroundings(NOWHERE, depth[NOWHERE] > 0, 0.0)
        rows, columns = (slice(max(i.min() - _AROUND_PX, 0), i.max() + _AROUND_PX + 1) for i in (rows, columns))
        return _Surroundings((rows, columns), depth[rows, columns] > 0, float(depth.max()))

    def _judge_view(
        self,
        T_world_hand: Float[Array, "4 4"],
        opening_m: float,
        view: DepthView,
        Ts_world_link: Float[Array, "7 4 4"] | None,
        *,
        masked: bool = False,
    ) -> Evidence:
        rendering = self._renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics)
        arm = None
        if self._mechanism and Ts_world_link is not None:
            # Masks outdo what links say of a gripper that is not cut off: then they only matter where they hide it.
            within = rendering.window if masked and rendering.whole else None
            arm = self._mechanism.arm.see(Ts_world_link, view, within)
        return compare(
            rendering,
            view.depth,
            tolerance_m=self.tolerance_m,
            in_image=1.0
            if rendering.whole or not rendering.depth.any()
            else share_in_image(self._renderer, T_world_hand, opening_m, view),
            still=view.still,
            mask=view.mask,
            arm=arm,
        )
