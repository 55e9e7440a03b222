"""`robo4d render`: images of recorded states. The same states give the same pixels, whenever they are drawn."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robo4d.episodes.dataset import common_settings, open_for_writing, parse_size, progress_bar
from robo4d.episodes.format import Episode
from robo4d.episodes.states import read_states
from robo4d.episodes.storage import EpisodeWriter
from robo4d.episodes.workers import Workers
from robo4d.sim.cameras import at_size
from robo4d.sim.playback import stage


@dataclass(frozen=True)
class _Job:
    folder: Path
    episode: Episode
    """Without images: it travels to the worker."""


def render(states: Path, /, *, out: Path, size: str | None = None, workers: int = 2) -> None:
    """Draw the images of recorded states as a data set. Called again, it goes on where it stopped.

    Args:
        states: A data set, with or without images, or a file of `robo4d export-states`.
        out: Folder of the new data set.
        size: Height x width of the images [px], such as 128x128; as recorded when left out.
        workers: Processes.
    """
    episodes = read_states(states)
    if not episodes:
        raise ValueError(f"{states} holds no episode")
    height, width = parse_size(size) if size else next(iter(episodes.values())).info.size
    episodes = {name: _at_size(episode, height, width) for name, episode in episodes.items()}
    first = next(iter(episodes.values()))
    settings = common_settings(views=len(first.cameras), size=first.info.size, rate_hz=first.info.rate_hz)
    with open_for_writing(out, settings), progress_bar("episodes", len(episodes)) as show:
        finished = [name for name in episodes if (out / name).exists()]
        jobs = [_Job(out / name, episode) for name, episode in episodes.items() if name not in finished]
        Workers(workers, _draw).run(
            next_job=lambda: jobs.pop(0) if jobs else None,
            finished=lambda job, _: finished.append(job.folder.name),
            progress=lambda shares: show(len(finished) + shares),
        )


def write_images(writer: EpisodeWriter, episode: Episode, progress: Callable[[float], None]) -> None:
    """Draw all views of an episode from its states; `progress` is told the share that is done (0 to 1).

    Raises:
        ValueError: the episode has no states of the simulator.
    """
    if episode.scene is None:
        raise ValueError("the episode was not simulated: there is nothing to draw its images from")
    frames, total = itertools.count(1), len(episode.cameras) * len(episode)
    for view, camera in enumerate(episode.cameras):
        images = stage(episode.info.task).draw(episode.scene, camera, lambda: progress(next(frames) / total))
        writer.write_view(view, *images)


def _at_size(episode: Episode, height: int, width: int) -> Episode:
    return dataclasses.replace(
        episode,
        images=None,
        info=dataclasses.replace(episode.info, size=(height, width)),
        cameras=tuple(at_size(camera, width=width, height=height) for camera in episode.cameras),
    )


def _draw(job: _Job, report: Callable[[float], None]) -> None:
    with EpisodeWriter(job.folder, job.episode) as writer:
        write_images(writer, job.episode, report)
