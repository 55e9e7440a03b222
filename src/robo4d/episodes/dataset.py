"""A data set as a whole: who may write to it, and with what settings."""

import fcntl
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robo4d.episodes.storage import read_attributes, remove_partial_episodes, write_group


@contextmanager
def open_for_writing(folder: Path, settings: dict[str, Any]) -> Generator[None]:
    """Make the data set, or go on with it, as the only process that writes to it.

    What a killed process left half done is removed first.

    Args:
        folder: The data set.
        settings: What all its episodes must have in common, JSON values only.

    Raises:
        ValueError: another process is writing, or the data set was begun with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system unlocks it when the process ends, however
        except BlockingIOError as error:
            raise ValueError(f"another process is writing to {folder}: wait for it, or choose another --out") from error
        if (folder / "zarr.json").exists():
            begun = read_attributes(folder).get("robo4d_dataset", {})
            if different := [name for name in settings if begun.get(name) != settings[name]]:
                listed = ", ".join(f"{name} {begun.get(name)} (now {settings[name]})" for name in different)
                raise ValueError(f"{folder} was begun with {listed}: use the same, or choose another --out")
        else:
            write_group(folder, {"robo4d_dataset": settings})
        remove_partial_episodes(folder)
        try:
            yield
        finally:
            remove_partial_episodes(folder)


def common_settings(*, views: int, size: tuple[int, int], rate_hz: float) -> dict[str, Any]:
    """What all episodes of a data set have in common: a batch of them must stack."""
    return {"views": views, "size": list(size), "rate_hz": rate_hz}


@contextmanager
def progress_bar(what: str, total: int) -> Generator[Callable[[float], None]]:
    """A progress bar with the time that remains; yields a function to tell how many are done, fractions included."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
    )
    with Progress(*columns, TimeRemainingColumn()) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda done: bars.update(bar, completed=done)


def parse_size(size: str) -> tuple[int, int]:
    """Height and width [px] from text such as `256x320`.

    Raises:
        ValueError: it is no such text.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size)
    if not match:
        raise ValueError(f"a size is HEIGHTxWIDTH in pixels, such as 256x320; got `{size}`")
    return int(match[1]), int(match[2])
