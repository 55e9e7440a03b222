"""Learned segmentation of videos."""

from robo4d_models.segmentation.sam2 import Sam2Config, Sam2Segmenter

__all__ = ["Sam2Config", "Sam2Segmenter"]
