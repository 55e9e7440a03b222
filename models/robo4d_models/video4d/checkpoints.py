"""Checkpoints that survive being killed at any moment: every file is written under another name, then renamed.

A checkpoint is a small file, which makes it complete, and parts with the tensors, small enough for machines that return
small files only.
"""

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
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from robo4d import shipped

HASHES = "SHA256SUMS"
"""File of the hashes of weights that are passed on; `sha256sum *.safetensors > SHA256SUMS` makes it."""
KEPT = 2
"""Checkpoints that stay; older ones are deleted."""
_PART_BYTES = 15 * 2**20
"""Tensors of a part are together no larger, unless there is but one ..."""
_MOST_PARTS = 64
"""... or the parts would be more than these."""


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the checkpoint of a step: nested dictionaries and lists of tensors and plain values."""
    folder.mkdir(parents=True, exist_ok=True)
    leaves, structure = pytree.tree_flatten(state)
    tensors = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    parts = _parts({i: tensor.nbytes for i, tensor in tensors.items()})
    head = folder / f"checkpoint-{step:09d}.pt"
    for number, indices in enumerate(parts):
        _write(_part(head, number), {i: tensors[i] for i in indices})
    rest = pytree.tree_unflatten([None if i in tensors else leaf for i, leaf in enumerate(leaves)], structure)
    _write(head, {"parts": len(parts), "rest": rest})
    heads = sorted(folder.glob("checkpoint-*.pt"))
    for path in heads[:-KEPT]:
        path.unlink()
    kept = {path.stem for path in heads[-KEPT:]}
    for path in folder.glob("checkpoint-*.part*"):
        if path.stem not in kept:  # also of one whose writing was cut off
            path.unlink()


def newest(folder: Path) -> Path | None:
    """The last complete checkpoint of a run, if there is one, for `load`."""
    for head in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
        parts = torch.load(head, map_location="cpu", weights_only=True, mmap=True).get("parts", 0)
        if all(_part(head, number).is_file() for number in range(parts)):
            return head
    return None


def load(head: Path, device: torch.device | str) -> dict[str, Any]:
    """The state as `save` wrote it, its tensors on a device."""
    stored: dict[str, Any] = torch.load(head, map_location=device, weights_only=True)
    if "parts" not in stored:  # in one file, as they were before there were parts
        return stored
    leaves, structure = pytree.tree_flatten(stored["rest"])
    for number in range(stored["parts"]):
        for i, tensor in torch.load(_part(head, number), map_location=device, weights_only=True).items():
            leaves[i] = tensor
    return pytree.tree_unflatten(leaves, structure)


def _part(head: Path, number: int) -> Path:
    return head.with_suffix(f".part{number:02d}")


def _parts(sizes: dict[int, int]) -> list[list[int]]:
    """What is written together, of things with these sizes [bytes]."""
    limit, parts, filled = max(_PART_BYTES, sum(sizes.values()) // _MOST_PARTS), list[list[int]](), 0
    for i, size in sizes.items():
        if not parts or filled + size > limit:
            parts.append([])
            filled = 0
        parts[-1].append(i)
        filled += size
    return parts


def _write(path: Path, content: Any) -> None:
    partial = path.parent / "checkpoint.partial"
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def fill(model: nn.Module, values: dict[str, Tensor], file: Path) -> None:
    """Give a network the weights that `load_weights` read from a file.

    Raises:
        ValueError: they are of another model.
    """
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        raise ValueError(f"{file} holds the weights of another model: {error}") from error


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
    """Hold the weights of a folder against its SHA256SUMS, as `sha256sum --check` does.

    A folder of one's own need not have one; the weights that ship must.

    Raises:
        ValueError: a file is missing, has another content, or is not named there.
    """
    sums = folder / HASHES
    if not sums.is_file():
        if folder.resolve() == shipped.TINY.resolve():
            raise ValueError(f"{sums} of the weights that ship is missing: get it anew, for example `git checkout`")
        return
    named = {name: expected for expected, name in map(str.split, sums.read_text().splitlines())}
    for name, expected in named.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} is not the one that {sums} names: get it anew, for example `git checkout`")
    if unnamed := sorted({path.name for path in folder.glob("*.safetensors")} - named.keys()):
        raise ValueError(
            f"{folder}: {', '.join(unnamed)} not named in {HASHES}: delete what does not belong there, or write it "
            "anew with `sha256sum *.safetensors > SHA256SUMS`"
        )


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
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

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
