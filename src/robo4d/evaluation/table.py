"""The rows of a table, for people and for files."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

_EQUAL_DB = 100.0
"""PSNR of equal images, which is infinite."""


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each column, over the clips that have something to measure in it; infinite PSNRs count as 100 dB."""
    result: dict[str, float] = {}
    for name in rows[0]:
        values = np.minimum([row[name] for row in rows], _EQUAL_DB if name == "psnr" else np.inf)
        values = values[np.isfinite(values)]
        result[name] = float(values.mean()) if len(values) else float("nan")
    return result


def report(rows: Sequence[Mapping[str, object]], columns: Sequence[str], json_file: Path | None) -> None:
    """Print the columns of all rows, one row beside the other, and write the whole rows as JSON, one object a line.

    Args:
        rows: Each with its name in `row`.
        columns: What is printed.
        json_file: Where to write; nothing is written without one. NaN becomes null, as JSON knows none.
    """
    table = Table("", *[str(row["row"]) for row in rows], box=None, header_style="bold")
    for name in columns:
        table.add_row(name, *[f"{row[name]:.3g}" for row in rows])
    Console().print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text("".join(json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows))


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_finite(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {name: _finite(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
