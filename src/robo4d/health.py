"""How well a part of the stack does, in the terms of diagnostic_msgs."""

import enum
from dataclasses import dataclass


class Level(enum.IntEnum):
    """Numbered as in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    """It delivers, but not all is well."""
    ERROR = 2
    """It delivers nothing."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What a part has to say about the time since its last report."""

    name: str
    level: Level
    message: str
    """The problems found and how to fix them; "ok" where there are none."""
    values: dict[str, float]
    """Measurements; the unit is in the name."""

    @classmethod
    def example(cls) -> "Health":
        """A camera that works."""
        return cls(name="camera n", level=Level.OK, message="ok", values={"rate_hz": 30.0})
