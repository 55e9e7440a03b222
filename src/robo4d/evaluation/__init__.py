"""How good a predicted 4D video is, measured against the true one: the paper's metrics (section 4.2), and ours."""

from robo4d.evaluation.depth import DepthErrors, depth_errors
from robo4d.evaluation.overlap import box_of, cross_view_iou
from robo4d.evaluation.score import ClipScore, Truth, score_video, still_video

__all__ = [
    "ClipScore",
    "DepthErrors",
    "Truth",
    "box_of",
    "cross_view_iou",
    "depth_errors",
    "score_video",
    "still_video",
]
