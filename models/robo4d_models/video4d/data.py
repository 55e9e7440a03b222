"""Training samples: a folder of recorded attempts, to draw from while it still grows.

One file `<task>-<start>-<branch>.npy` is one attempt: a structured array with one record per moment, memory-mapped, so
that a batch touches only what it uses. A file appears complete or not at all: it is written under another name first.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from robo4d.geometry import Camera, Intrinsics
from robo4d_models.video4d.coding import ARMS, TASKS
from robo4d_models.video4d.draft import View
from robo4d_models.video4d.keyframes import SLOTS

DEPTH_UNIT = 1e-4
"""Length of one step of stored depth [m]; 16 bits reach 6.5 m, further is not measured."""

VALIDATION_SHARE = 20
"""Every 20th start is kept for validation, with all its attempts."""


def moment_dtype(views: int, size: int) -> np.dtype[np.void]:
    """What is recorded of one moment, seen by some cameras with square images of `size` pixels."""
    arms = len(ARMS)
    return np.dtype(
        [
            ("rgb", "u1", (views, size, size, 3)),
            ("depth", "u2", (views, size, size)),  # [DEPTH_UNIT], 0: none
            ("label", "u1", (views, size, size)),  # robo4d.sim.render's labels
            ("camera_matrix", "f4", (views, 3, 3)),  # pixel centres at +0.5
            ("T_world_camera", "f4", (views, 4, 4)),
            ("time_s", "f4"),
            ("T_world_tcp", "f4", (arms, 4, 4)),
            ("gripper_width", "f4", (arms,)),
            ("joints", "f4", (arms, 7)),
            ("keyframe_T_world_tcp", "f4", (SLOTS, arms, 4, 4)),
            ("keyframe_closed", "?", (SLOTS, arms)),
            ("keyframe_duration_s", "f4", (SLOTS,)),  # since the keyframe before, or since this moment
            ("keyframe_known", "?", (SLOTS,)),
            ("next_slot", "i4"),  # SLOTS when done
        ]
    )


class NoSamples(ValueError):
    """A folder without a sample of the wanted split and tasks."""


class SampleFolder:
    """All attempts of a folder, of one split. Those that come in later are taken up while it is drawn from."""

    REFRESH = 1000
    """Attempts that are drawn until the folder is looked through again; each process that draws counts its own."""

    def __init__(
        self,
        folder: Path,
        *,
        tasks: tuple[str, ...] = TASKS,
        validation: bool = False,
        only: Collection[str] | None = None,
    ) -> None:
        """Open the folder.

        Args:
            folder: Of `robo4d make-samples`.
            tasks: Whose attempts are used.
            validation: Whether those are used that are kept for validation, or the others.
            only: Names of the files that are used; None for all, be they there already or not.

        Raises:
            NoSamples: there is no attempt in it.
            ValueError: there is a damaged one.
        """
        self.folder, self.tasks, self.validation, self._only = folder, tasks, validation, only
        self.attempts: dict[str, list[Array]] = {task: [] for task in tasks}
        self.names: list[str] = []
        """Files of the attempts."""
        self._seen: set[str] = set()
        self._drawn = 0
        self._refresh()
        if not self.names:
            kind = "validation " if validation else ""
            raise NoSamples(f"no {kind}samples of {', '.join(tasks)} in {folder}; make them with `robo4d make-samples`")

    def _refresh(self) -> None:
        """Take up attempts that came in since."""
        for path in sorted(self.folder.glob("*.npy")):
            task, start, _ = path.stem.rsplit("-", 2)
            if path.name in self._seen or task not in self.attempts:
                continue
            self._seen.add(path.name)
            wanted = self._only is None or path.name in self._only
            if wanted and (int(start) % VALIDATION_SHARE == 0) == self.validation:
                self.attempts[task].append(_attempt(path))
                self.names.append(path.name)

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[str, np.void]]:
        """Random (task, moment): tasks in equal shares, then attempts, then moments."""
        attempts = [self.draw_attempt(rng) for _ in range(count)]
        return [(task, attempt[rng.integers(len(attempt))]) for task, attempt in attempts]

    def draw_attempt(self, rng: np.random.Generator) -> tuple[str, Array]:
        """A random attempt, and its task."""
        self._drawn += 1
        if self._drawn % self.REFRESH == 0:
            self._refresh()
        tasks = [task for task in self.tasks if self.attempts[task]]
        task = tasks[rng.integers(len(tasks))]
        return task, self.attempts[task][rng.integers(len(self.attempts[task]))]


def _attempt(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is cut off or damaged ({error}): delete it; `robo4d make-samples` makes it again"
        ) from error


def stored_view(moment: np.void, view: int) -> View:
    """What one camera saw at a recorded moment."""
    height, width = moment["depth"].shape[1:]
    (fx, _, cx), (_, fy, cy), _ = moment["camera_matrix"][view].tolist()
    intrinsics = Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height)
    return View(
        rgb=moment["rgb"][view].astype(np.float32) / 255,
        depth=moment["depth"][view].astype(np.float32) * np.float32(DEPTH_UNIT),
        camera=Camera(intrinsics=intrinsics, T_world_camera=moment["T_world_camera"][view].astype(float)),
    )
