"""All that a cell remembers at one moment, as values and as bytes that can be sent to another process."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.sim.arm import TrackerState

_TRACKER = ("joints", "twist", "T_world_target")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A cell that is restored to it goes on bit-identically."""

    physics: Float[Array, " n"]
    """MuJoCo's integration state, furniture included."""
    trackers: dict[str, TrackerState]
    """Of each arm."""
    widths: dict[str, float]
    """Commanded gripper openings [m], by arm."""
    grip_forces: dict[str, float]
    """Commanded forces of the grippers [N], by arm."""
    looks: dict[str, Float[Array, "_ _"]]
    """The model's fields that starts vary: see `robo4d.sim.cell.LOOKS`."""

    @classmethod
    def example(cls) -> "Snapshot":
        """Of no cell that exists: one arm at its zero pose, and one grey material."""
        tracker = TrackerState(joints=np.zeros(7), twist=np.zeros(6), T_world_target=np.eye(4))
        return cls(
            physics=np.zeros(3),
            trackers={"left": tracker},
            widths={"left": 0.08},
            grip_forces={"left": 50.0},
            looks={"mat_rgba": np.full((1, 4), 0.5)},
        )

    def to_bytes(self) -> bytes:
        """As a compressed .npz file."""
        contents = {"physics": self.physics}
        for arm, tracker in self.trackers.items():
            contents |= {f"trackers/{arm}/{name}": getattr(tracker, name) for name in _TRACKER}
        contents |= {f"widths/{arm}": np.array(width) for arm, width in self.widths.items()}
        contents |= {f"grip_forces/{arm}": np.array(force) for arm, force in self.grip_forces.items()}
        contents |= {f"looks/{name}": values for name, values in self.looks.items()}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **contents)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Snapshot":
        """What `to_bytes` gave.

        Raises:
            ValueError: these bytes are no snapshot.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                contents = {name: np.asarray(file[name]) for name in file.files}
            widths = {arm: float(width) for arm, width in _below("widths", contents).items()}
            trackers = {
                arm: TrackerState(**{name: contents[f"trackers/{arm}/{name}"] for name in _TRACKER}) for arm in widths
            }
            return cls(
                physics=contents["physics"],
                trackers=trackers,
                widths=widths,
                grip_forces={arm: float(force) for arm, force in _below("grip_forces", contents).items()},
                looks=_below("looks", contents),
            )
        except Exception as error:  # zipfile, zlib and numpy each raise their own
            raise ValueError(f"these {len(data)} bytes are no snapshot of a cell: {error}") from error


def _below(folder: str, contents: dict[str, Array]) -> dict[str, Array]:
    return {key[len(folder) + 1 :]: values for key, values in contents.items() if key.startswith(f"{folder}/")}
