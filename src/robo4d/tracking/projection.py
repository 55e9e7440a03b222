"""Masks of a gripper whose pose is known: its model projected into the image, where the depth agrees.

In the first image the robot's state tells the pose exactly, so that no segmentation has to be learnt; what is before
the gripper is left out. A segmenter of video takes this mask as its prompt.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.gripper import Part
from robo4d.tracking.rendering import GripperRenderer

_AGREEMENT_M = 0.025
"""Difference of depth [m] up to which a pixel shows the gripper: noise and calibration are good to a centimetre."""


def projected_mask(
    renderer: GripperRenderer, T_world_hand: Float[Array, "4 4"], opening_m: float, frame: RgbdFrame
) -> Bool[Array, "h w"]:
    """Pixels of hand and fingers, without the wrist.

    Args:
        renderer: Renderer of the gripper.
        T_world_hand: Pose of the hand.
        opening_m: Distance between the fingers [m].
        frame: The image. Pixels without depth are taken to show the gripper.

    Raises:
        ValueError: the pose of the camera is unknown.
    """
    if frame.T_world_camera is None:
        raise ValueError(f"{frame.camera}: a projection needs the camera's pose")
    rendering = renderer.render(se3.inverse(frame.T_world_camera) @ T_world_hand, opening_m, frame.intrinsics)
    gripper = (rendering.part != Part.NONE) & (rendering.part != Part.WRIST)
    unmeasured = frame.depth <= 0
    return gripper & (unmeasured | (np.abs(frame.depth - rendering.depth) < _AGREEMENT_M))
