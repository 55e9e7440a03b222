"""`robo4d export-states`: a data set without its images, small enough to be sent anywhere and drawn there."""

import json
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from robo4d.episodes.format import Episode, EpisodeInfo
from robo4d.episodes.storage import open_dataset, read_episode

_INFO = "info"


def export_states(dataset: Path, out: Path, /) -> None:
    """Write the states of all episodes of a data set to one compressed .npz file; `robo4d render` draws them again.

    Args:
        dataset: Folder of the data set.
        out: The file.
    """
    if out.suffix != ".npz":
        raise ValueError(f"the states are written to one .npz file, got {out}")
    contents: dict[str, Array] = {}
    for folder in open_dataset(dataset):
        episode = read_episode(folder)
        contents[f"{folder.name}/{_INFO}"] = np.array(json.dumps(episode.info.to_attributes()))
        contents |= {f"{folder.name}/{name}": values for name, values in episode.arrays().items()}
    partial = out.with_name(f".{out.name}.partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **contents)
    partial.replace(out)


def read_states(source: Path) -> dict[str, Episode]:
    """All episodes of a data set or of a file of `export_states`, by name, without images.

    Raises:
        ValueError: it is neither.
    """
    if source.is_dir():
        return {folder.name: read_episode(folder) for folder in open_dataset(source)}
    if source.suffix != ".npz" or not source.exists():
        raise ValueError(f"states are a data set or an .npz file of `robo4d export-states`; there is none at {source}")
    episodes: dict[str, dict[str, Array]] = {}
    with np.load(source, allow_pickle=False) as contents:
        for key in contents.files:
            episode, name = key.split("/", 1)
            episodes.setdefault(episode, {})[name] = contents[key]
    return {
        name: Episode.from_arrays(EpisodeInfo.from_attributes(json.loads(str(arrays.pop(_INFO)))), arrays)
        for name, arrays in episodes.items()
    }
