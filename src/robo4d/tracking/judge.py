"""Whether a pose is true to the images: what of them is background, and the verdict over all views."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.ndimage import binary_dilation

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.evidence import Evidence, compare, pooled
from robo4d.tracking.hypotheses import DepthView, SurfaceTest
from robo4d.tracking.rendering import GripperRenderer

_STILL_M = 0.02
"""Difference of depth [m] below which a pixel shows the background."""
_STILL_SHARE = 0.5
"""Share of a clip in which a pixel shows its background; where a slow arm is before it all the time, the farthest link
that passes is no background."""
_GRIPPER_GATE_M = 0.03
"""Distance from the rendered gripper [m] up to which a pixel of the first image counts as showing it ..."""
_UNCOVERED_M = 0.06
"""How far the background must be behind the gripper of the first image [m]; nearer, it may be the gripper all along."""
_GRIPPER_RIM_PX = 2
"""... with so much of its surroundings, where flying pixels are."""


def background(depths: Float32[Array, "t h w"]) -> Float32[Array, "h w"]:
    """The farthest that each pixel shows in a clip of a camera that stands still [m]: what moves is in front of that.

    The second farthest, in fact, so that a single flying pixel does not count; 0 where it is not shown half the time.
    """
    far = np.sort(depths, axis=0)[-2] if len(depths) > 2 else depths.max(axis=0)
    shown = np.mean(np.abs(depths - far) < _STILL_M, axis=0)
    return np.where(shown >= _STILL_SHARE, far, np.float32(0))


class Judge:
    """Judges poses of one gripper in images of cameras that stand still.

    A pose that agrees with the background alone has not found a gripper: one that is half sunk into the table fits
    the table top very well.

    Args:
        renderer: Renderer of the gripper.
        tolerance_m: Difference of depth up to which a pixel agrees with the rendering [m].
        backgrounds: Depth of each view's background [m], 0 where it is unknown; unknown everywhere if left out.
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        tolerance_m: float,
        backgrounds: Sequence[Float32[Array, "h w"]] | None = None,
    ) -> None:
        self._renderer, self._tolerance_m, self._backgrounds = renderer, tolerance_m, backgrounds
        self._test = SurfaceTest(renderer)

    def spare(self, frames: Sequence[RgbdFrame], T_world_hand: Float[Array, "4 4"], opening_m: float) -> None:
        """Take a gripper at a known pose out of the background, in case it rests there during the whole clip."""
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

    def judge(self, T_world_hand: Float[Array, "4 4"], opening_m: float, views: tuple[DepthView, ...]) -> Evidence:
        """The evidence of all views together."""
        return pooled([self._judge_view(T_world_hand, opening_m, view) for view in views])

    def _judge_view(self, T_world_hand: Float[Array, "4 4"], opening_m: float, view: DepthView) -> Evidence:
        return compare(
            self._renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics),
            view.depth,
            tolerance_m=self._tolerance_m,
            in_image=self._test.in_image(T_world_hand, opening_m, view),
            still=view.still,
            mask=view.mask,
        )
