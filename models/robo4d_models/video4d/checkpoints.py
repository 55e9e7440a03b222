"""Checkpoints that survive being killed at any moment: every file is written under another name, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

HASHES = "SHA256SUMS"
"""File of the hashes of weights that are passed on; `sha256sum *.safetensors > SHA256SUMS` makes it."""
KEPT = 2
"""Checkpoints that stay; older ones are deleted."""


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the checkpoint of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "checkpoint.partial"
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / f"checkpoint-{step:09d}.pt")
    for path in sorted(folder.glob("checkpoint-*.pt"))[:-KEPT]:
        path.unlink()


def newest(folder: Path) -> Path | None:
    """The last complete checkpoint of a run, if there is one."""
    return max(folder.glob("checkpoint-*.pt"), default=None)


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights for use, with the configuration of their network beside them in the same file."""
    partial = path.with_suffix(".partial")
    contiguous = {name: value.detach().contiguous() for name, value in weights.items()}
    save_file(contiguous, str(partial), metadata={"config": json.dumps(config)})
    partial.replace(path)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and configuration as `save_weights` wrote them.

    Raises:
        ValueError: the file is not there, is damaged, or holds no configuration, so it is not one of ours.
    """
    if not path.is_file():
        raise ValueError(
            f"no weights at {path}; train them with `robo4d train`, or give the path of a .safetensors file"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            config = (file.metadata() or {}).get("config")
            if config is None:
                raise ValueError(f"{path} holds no configuration: it was not written by `robo4d train`")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(config)  # noqa: SIM118  no dict
    except SafetensorError as error:
        raise ValueError(f"{path} is cut off or damaged ({error}): get it anew, for example `git checkout`") from error


def copy_missing(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of some weights into a folder that it lacks, if the source has them."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (f"{name}.safetensors" for name in names):
        if (source / name).is_file() and not (target / name).exists():
            partial = (target / name).with_suffix(".partial")
            shutil.copyfile(source / name, partial)
            partial.replace(target / name)


def verify(folder: Path) -> None:
    """Hold the files of a folder against the hashes in its SHA256SUMS, if it has one, as `sha256sum --check` does.

    Raises:
        ValueError: a file is missing or has another content.
    """
    sums = folder / HASHES
    for line in sums.read_text().splitlines() if sums.exists() else ():
        expected, name = line.split()
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} is not the one that {sums} names: get it anew, for example `git checkout`")


class Curve:
    """Measurements over the steps of a run, one JSON object a line.

    Args:
        path: The file; it is appended to.
        resumed_at: Lines of later steps are dropped: the run goes back there and makes them anew.
    """

    def __init__(self, path: Path, *, resumed_at: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        if path.exists():
            rows = [row for row in read_curve(path) if row["step"] <= resumed_at]
            partial = path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
            partial.replace(path)

    def add(self, row: dict[str, Any]) -> None:
        """Append a measurement, which must have a `step`."""
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a curve; a last line that was cut off by a kill is left out."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
