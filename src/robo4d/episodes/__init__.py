"""Demonstrations on disk. The format: docs/episodes.md. Reading needs no simulator."""

from robo4d.episodes.format import DEPTH_UNIT, Episode, EpisodeInfo, Images, Motion, SceneStates
from robo4d.episodes.storage import EpisodeWriter, open_dataset, read_episode

__all__ = [
    "DEPTH_UNIT",
    "Episode",
    "EpisodeInfo",
    "EpisodeWriter",
    "Images",
    "Motion",
    "SceneStates",
    "open_dataset",
    "read_episode",
]
