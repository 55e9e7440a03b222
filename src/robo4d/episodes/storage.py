"""Episodes on disk: zarr v3, one group an episode, written with tensorstore. The format: docs/episodes.md."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float32, UInt8
from numpy import ndarray as Array

from robo4d.episodes.format import Episode, EpisodeInfo, Images, depth_units

_ZSTD_LEVEL = 5
"""Higher levels cost more time than drawing the image, and save little."""
_IMAGE_AXES = ("view", "time", "height", "width", "channel")
_CONTEXT = ts.Context({"cache_pool": {"total_bytes_limit": 50_000_000}})
"""Keeps the indices of the files that are being read; large enough for some thousand of them."""
_IMAGES = tuple(field.name for field in fields(Images))


class EpisodeWriter:
    """Writes one episode view by view. It appears in the data set, complete, when the `with` block ends.

    Until then it lies in a hidden folder beside its place, so that a process that is killed leaves nothing half done.

    Args:
        folder: Where the episode shall be.
        episode: All but the images, which are ignored.
    """

    def __init__(self, folder: Path, episode: Episode) -> None:
        self._folder, self._episode = folder, episode
        self._partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        self._images: dict[str, Any] = {}
        self._views_written: set[int] = set()

    def __enter__(self) -> "EpisodeWriter":
        write_group(self._partial, {"robo4d": self._episode.info.to_attributes()})
        for name, values in self._episode.arrays().items():
            if "/" in name:
                write_group((self._partial / name).parent, {})
            _write_array(self._partial / name, values)
        return self

    def write_view(
        self,
        view: int,
        rgb: UInt8[Array, "t h w 3"],
        depth: Float32[Array, "t h w"],
        labels: UInt8[Array, "t h w"],
    ) -> None:
        """Everything that one camera saw, depth in metres."""
        shape = (len(self._episode.cameras), *depth.shape)
        for name, values in (("rgb", rgb), ("depth", depth_units(depth)), ("labels", labels)):
            if name not in self._images:
                full_shape = (*shape, 3) if name == "rgb" else shape
                self._images[name] = _create_images(self._partial / name, full_shape, values.dtype)
            self._images[name][view].write(values).result()
        self._views_written.add(view)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        missing = set(range(len(self._episode.cameras))) - self._views_written if self._views_written else set[int]()
        if error is None and not missing:
            try:
                self._partial.rename(self._folder)
                return
            except OSError:
                if not self._folder.exists():
                    raise
                # Another process has written the same episode in the meantime: its own is as good.
        shutil.rmtree(self._partial, ignore_errors=True)
        if error is None and missing:
            raise ValueError(f"write all views or none: {sorted(missing)} are missing in {self._folder}")


@dataclass(frozen=True)
class _DiskArray:
    store: ts.TensorStore

    @property
    def shape(self) -> tuple[int, ...]:
        return self.store.shape

    def __getitem__(self, index: Any, /) -> Array:
        return np.asarray(self.store[index].read().result())


def remove_partial_episodes(dataset: Path) -> None:
    """Delete what killed processes left behind; their workers may be about to do the same."""
    for partial in dataset.glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def read_episode(folder: Path) -> Episode:
    """Open one episode. Images are loaded when they are asked for.

    Raises:
        ValueError: the folder is no episode, or of another version of the format.
    """
    attributes = read_attributes(folder)
    if "robo4d" not in attributes:
        raise ValueError(f"{folder} is no episode: its zarr.json lacks the attribute `robo4d`")
    names = [path.parent.relative_to(folder).as_posix() for path in folder.glob("**/zarr.json")]
    arrays = [name for name in names if name not in (".", "scene", *_IMAGES)]
    opened = [_open(folder / name) for name in arrays]
    reads = [store.result().read() for store in opened]
    images = {name: _DiskArray(_open(folder / name).result()) for name in _IMAGES if name in names}
    return Episode.from_arrays(
        EpisodeInfo.from_attributes(attributes["robo4d"]),
        {name: np.asarray(read.result()) for name, read in zip(arrays, reads, strict=True)},
        Images(**images) if images else None,
    )


def open_dataset(folder: Path) -> list[Path]:
    """The folders of all complete episodes of a data set, by name; open each with `read_episode`.

    Raises:
        ValueError: there is no data set.
    """
    read_attributes(folder)
    return sorted(path.parent for path in folder.glob("[!.]*/zarr.json"))


def write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Make a folder a zarr group. The file appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    partial = folder / ".zarr.json.partial"
    try:
        partial.write_text(text)
        partial.replace(folder / "zarr.json")
    finally:
        partial.unlink(missing_ok=True)


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a zarr group.

    Raises:
        ValueError: there is no group.
    """
    try:
        return json.loads((folder / "zarr.json").read_text())["attributes"]
    except (FileNotFoundError, NotADirectoryError, KeyError) as error:
        raise ValueError(f"{folder} is no zarr group; `robo4d collect --out {folder}` makes a data set") from error


def _write_array(folder: Path, values: Array) -> None:
    """A small array, in one compressed file."""
    metadata = {
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(n, 1) for n in values.shape]}},
        "codecs": _codecs(),
    }
    _create(folder, metadata).write(values).result()


def _create_images(folder: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> ts.TensorStore:
    """An array of images: one file a view, in which each image is compressed by itself and found through an index."""
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, 1, *shape[2:]],
            "codecs": _codecs(),
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        },
    }
    metadata = {
        "shape": shape,
        "data_type": dtype.name,
        "dimension_names": _IMAGE_AXES[: len(shape)],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, *shape[1:]]}},
        "codecs": [sharding],
    }
    return _create(folder, metadata)


def _codecs() -> list[dict[str, Any]]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return [little, {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL}}]


def _create(folder: Path, metadata: dict[str, Any]) -> ts.TensorStore:
    return ts.open({**_spec(folder), "metadata": metadata}, create=True).result()


def _open(folder: Path) -> "ts.Future[ts.TensorStore]":
    return ts.open(_spec(folder), open=True, read=True, context=_CONTEXT)


def _spec(folder: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
