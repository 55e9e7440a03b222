"""FoundationPose (Wen et al. 2024) as a `PoseTracker`, by NVIDIA's inference library or the authors' own code.

What must be right for it, and is easily wrong:

- CAD in metres, about its centre: we centre it, whatever the library does, and `GripperModel` refuses millimetres.
- Depth enlarged at least three times by nearest neighbour: both libraries first drop each pixel whose neighbours differ
  by more than a millimetre, which at 128 x 128 leaves 7 % of a gripper.
- The calibration matrix for pixel centres at integers, enlarged with the images.
- A mask with at least four measured pixels where there is no pose to start from; with fewer, the library returns the
  identity without an error.

Its scores are not used: they are constant while tracking, and not comparable between images. See
`robo4d.tracking.judge`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.gripper import GripperModel, Part
from robo4d.tracking.mechanism import Mechanism
from robo4d.tracking.projection import projected_mask
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.search import GeometricTrackerConfig
from robo4d_models.tracking.engine import Engine, EngineConfig

_LEAST_ENLARGEMENT = 3
"""With 9 of the 25 neighbours of a pixel equal to it, the libraries' filter drops none."""
_FEWEST_PIXELS = 4
_COLOURS = {Part.HAND: (230, 230, 230), Part.LEFT_FINGER: (70, 70, 70), Part.RIGHT_FINGER: (70, 70, 70)}
"""Of a Franka hand: the networks look at colour, too."""


@dataclass(frozen=True, kw_only=True)
class FoundationPoseConfig:
    """How the library is used."""

    engine: EngineConfig
    seeded: bool
    """Whether it refines a pose that it is given (NVlabs), or finds the object in a mask (NVIDIA)."""
    enlargement: int = 4
    """Factor by which images are enlarged; 128 px become 512."""

    def __post_init__(self) -> None:
        """Refuse an enlargement that the libraries' filter does not survive."""
        if self.enlargement < _LEAST_ENLARGEMENT:
            raise ValueError(
                f"enlargement must be at least {_LEAST_ENLARGEMENT}, or the library's filter erases predicted depth; "
                f"got {self.enlargement}"
            )


class FoundationPose:
    """One process of the library, which all trackers of all videos share. Close it when done, or use `with`.

    Args:
        config: How the library is used.
    """

    def __init__(self, config: FoundationPoseConfig) -> None:
        self.config, self.engine = config, Engine(config.engine)
        self._folder = tempfile.TemporaryDirectory(prefix="robo4d-cad-")

    def __enter__(self) -> "FoundationPose":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self.engine.close()
        self._folder.cleanup()

    def make_tracker(
        self,
        mechanism: Mechanism,
        backgrounds: Sequence[Float32[Array, "h w"]],
        search: GeometricTrackerConfig,
    ) -> "FoundationPoseTracker":
        """As `track_video` asks for it; with `fusion="best_view"`, as the library looks through one camera."""
        cad = Path(self._folder.name) / "gripper.ply"
        if not cad.exists():
            write_cad(mechanism.renderer.model, cad)
        return FoundationPoseTracker(mechanism.renderer, self, cad)


class FoundationPoseTracker:
    """Follows hand and fingers through one view; implements `PoseTracker`. Make it with `FoundationPose.make_tracker`.

    Args:
        renderer: Renderer of the gripper.
        library: The process.
        cad: The gripper's CAD as written by `write_cad`.
    """

    def __init__(self, renderer: GripperRenderer, library: FoundationPose, cad: Path) -> None:
        self._renderer, self._library, self._cad = renderer, library, cad
        self._T_mesh_hand = se3.translation(*-_centre(renderer.model))
        self._T_world_hand: Float[Array, "4 4"] | None = None
        self._number, self._generation = -1, 0
        self._registered = False
        self.joints = None

    def register(
        self,
        frames: Sequence[RgbdFrame],
        *,
        masks: Sequence[Bool[Array, "h w"]] | None = None,
        T_world_object: Float[Array, "4 4"] | None = None,
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`. Without a mask, the projection of the given pose serves as one.

        Where the image shows too little of the gripper, it stays at the given pose until it is seen again.
        """
        frame, mask = _only(frames), None if masks is None else masks[0]
        if T_world_object is None and (mask is None or (mask & (frame.depth > 0)).sum() < _FEWEST_PIXELS):
            raise ValueError(
                f"a start needs the gripper's pose from the robot's state, or a mask with {_FEWEST_PIXELS} pixels of "
                "known depth"
            )
        self._T_world_hand, self._registered = T_world_object, False
        return self._follow(frame, mask)

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`."""
        if self._T_world_hand is None:
            raise ValueError("nothing is followed yet: call register first")
        return self._follow(_only(frames), None if masks is None else masks[0])

    def _follow(self, frame: RgbdFrame, mask: Bool[Array, "h w"] | None) -> Float[Array, "4 4"]:
        """Refine the last pose, register in the mask, or go on, whichever the library can do now."""
        if frame.T_world_camera is None:
            raise ValueError(f"{frame.camera}: tracking needs the camera's pose; identity will do for a single one")
        arrays, op = self._images(frame), "track"
        self._registered &= self._library.engine.generation == self._generation and self._library.engine.running
        if self._library.config.seeded and self._T_world_hand is not None:
            T_camera_hand = se3.inverse(frame.T_world_camera) @ self._T_world_hand
            arrays["T_camera_mesh"] = T_camera_hand @ se3.inverse(self._T_mesh_hand)
        elif not self._registered:
            if mask is None and self._T_world_hand is not None:
                mask = projected_mask(self._renderer, self._T_world_hand, self._renderer.model.max_opening_m, frame)
            if mask is None or (mask & (frame.depth > 0)).sum() < _FEWEST_PIXELS:
                assert self._T_world_hand is not None
                return self._T_world_hand
            arrays["mask"], op = self._enlarged(mask.astype(np.uint8) * np.uint8(255)), "register"
        self._create(arrays["depth"].shape)
        answer = self._library.engine.ask(op, self._number, arrays)["T_camera_mesh"]
        T_world_hand = frame.T_world_camera @ answer @ self._T_mesh_hand
        if se3.is_valid(T_world_hand) or self._T_world_hand is None:
            self._T_world_hand, self._registered = T_world_hand, True
        return self._T_world_hand

    def _create(self, size: tuple[int, ...]) -> None:
        engine = self._library.engine
        if self._number < 0 or self._generation != engine.generation or not engine.running:
            height, width = size
            self._number = engine.create(cad=self._cad, width=width, height=height)
            self._generation = engine.generation

    def _images(self, frame: RgbdFrame) -> dict[str, np.ndarray]:
        scale, k = self._library.config.enlargement, frame.intrinsics
        # Our pixel centres lie at + 0.5, the library's at integers.
        K = [[scale * k.fx, 0, scale * k.cx - 0.5], [0, scale * k.fy, scale * k.cy - 0.5], [0, 0, 1]]
        images = {"rgb": frame.rgb, "depth": frame.depth.astype(np.float32)}
        return {name: self._enlarged(image) for name, image in images.items()} | {"K": np.array(K, np.float32)}

    def _enlarged(self, image: np.ndarray) -> np.ndarray:
        scale = self._library.config.enlargement
        return image.repeat(scale, axis=0).repeat(scale, axis=1)


def write_cad(model: GripperModel, path: Path) -> None:
    """Hand and open fingers as a coloured PLY file [m], about the middle of their bounding box; no wrist, as masks."""
    parts = {part: mesh for part, mesh in model.parts(model.max_opening_m).items() if part in _COLOURS}
    vertices = np.concatenate([mesh.vertices for mesh in parts.values()]) - _centre(model)
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in parts.values())])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(parts.values(), starts, strict=False)])
    colours = np.concatenate([np.tile(_COLOURS[part], (len(mesh.vertices), 1)) for part, mesh in parts.items()])
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"] + [f"property uchar {c}" for c in ("red", "green", "blue")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [
        "{:.7g} {:.7g} {:.7g} {} {} {}".format(*point, *colour) for point, colour in zip(vertices, colours, strict=True)
    ]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n")


def _centre(model: GripperModel) -> Float[Array, "3"]:
    """Middle of the bounding box of hand and open fingers [m], in the frame of the hand."""
    parts = model.parts(model.max_opening_m)
    vertices = np.concatenate([parts[part].vertices for part in _COLOURS])
    return (vertices.min(axis=0) + vertices.max(axis=0)) / 2


def _only(frames: Sequence[RgbdFrame]) -> RgbdFrame:
    if len(frames) != 1:
        raise ValueError(f'this tracker looks through one camera, got {len(frames)} images: set fusion="best_view"')
    return frames[0]
