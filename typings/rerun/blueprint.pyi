"""rerun loads its names lazily, out of sight of a type checker: every name of it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
