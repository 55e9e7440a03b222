"""How good a predicted 4D video is, measured against the true one: the paper's metrics (section 4.2), and ours."""

from robo4d.evaluation.depth import DepthErrors, depth_errors
from robo4d.evaluation.overlap import cross_view_iou, mask_iou, mean_cross_view_iou, split_by_arm
from robo4d.evaluation.score import ClipScore, Truth, score_video, still_video

__all__ = [
    "ClipScore",
    "DepthErrors",
    "Truth",
    "cross_view_iou",
    "depth_errors",
    "mask_iou",
    "mean_cross_view_iou",
    "score_video",
    "split_by_arm",
    "still_video",
]
