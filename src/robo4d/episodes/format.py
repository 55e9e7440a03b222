"""What an episode holds: one demonstration, seen by several cameras. On disk: docs/episodes.md."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt16
from numpy import ndarray as Array

from robo4d.geometry import Camera, Intrinsics
from robo4d.rgbd import RgbdFrame

FORMAT_VERSION = 1
"""Raised when a reader of the present version would misread the files."""
DEPTH_UNIT = 1e-4
"""Metres of one unit of stored depth. A u16 then reaches 6.55 m at a tenth of a millimetre."""

_SCENE = "scene/"
"""Group of the arrays of `SceneStates`."""


@dataclass(frozen=True, kw_only=True)
class EpisodeInfo:
    """What a reader must know to make sense of the arrays, and to filter a data set."""

    task: str
    seed: int
    """The start of the episode: with the task and the distribution it repeats the simulation."""
    distribution: str
    """Where starts are drawn from: `standard` or `wide`; `real` for recordings of a robot."""
    success: bool
    rate_hz: float
    """Frames per second; the stamps tell the exact times."""
    arms: tuple[str, ...]
    """Names along the axis `a` of the arrays."""
    bodies: tuple[str, ...]
    """Objects and furniture, the names along the axis `b`."""
    test_views: int
    """The last views, which are never trained on."""
    perturbed: bool
    """Whether start and commands were disturbed to show how to recover."""
    size: tuple[int, int]
    """Height and width of the images [px]."""
    robo4d_version: str = field(default_factory=lambda: metadata.version("robo4d"))
    """Of the robo4d that recorded the episode; `unknown` where the files do not tell."""

    def to_attributes(self) -> dict[str, Any]:
        """Values for JSON."""
        return {"format": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "EpisodeInfo":
        """The inverse of `to_attributes`, after JSON made lists of the tuples.

        Raises:
            ValueError: they are of another version of the format.
        """
        if (version := attributes["format"]) != FORMAT_VERSION:
            raise ValueError(f"the episode has format {version}, this version of robo4d reads format {FORMAT_VERSION}")
        values: dict[str, Any] = {"robo4d_version": "unknown", **attributes}
        del values["format"]
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the robot and its surroundings did, at the time of each frame."""

    stamps_ns: Int64[Array, " t"]
    """Time of each frame [ns]."""
    joints: Float32[Array, "t a 7"]
    """Joint angles [rad]."""
    T_world_tcp: Float32[Array, "t a 4 4"]
    """Measured poses of the tool centre points."""
    gripper_width: Float32[Array, "t a"]
    """Measured openings [m]."""
    external_wrench: Float32[Array, "t a 6"]
    """Force [N] and torque [Nm] on each gripper, world axes."""
    T_world_target: Float32[Array, "t a 4 4"]
    """Commanded poses, as they were executed."""
    target_width: Float32[Array, "t a"]
    """Commanded openings [m]."""
    T_world_expert: Float32[Array, "t a 4 4"]
    """Poses that the demonstrator asked for: the label to learn. Differs from the target when `perturbed`."""
    expert_width: Float32[Array, "t a"]
    """Openings that the demonstrator asked for [m]."""
    T_world_body: Float32[Array, "t b 4 4"]
    """Poses of objects and furniture."""

    @classmethod
    def example(cls) -> "Motion":
        """Two arms and one object that stand still for two frames."""
        times, arms = 2, 2
        poses = np.broadcast_to(np.eye(4, dtype=np.float32), (times, arms, 4, 4))
        widths = np.full((times, arms), 0.08, np.float32)
        return cls(
            stamps_ns=np.array([0, 100_000_000]),
            joints=np.zeros((times, arms, 7), np.float32),
            T_world_tcp=poses,
            gripper_width=widths,
            external_wrench=np.zeros((times, arms, 6), np.float32),
            T_world_target=poses,
            target_width=widths,
            T_world_expert=poses,
            expert_width=widths,
            T_world_body=poses[:, :1],
        )


@dataclass(frozen=True, kw_only=True)
class SceneStates:
    """State of the simulator, from which the images are drawn: in the precision of the files, so all draw the same."""

    qpos: Float32[Array, "t nq"]
    """MuJoCo's generalized positions at each frame."""
    mocap_pos: Float32[Array, "m 3"]
    """Where the furniture stands in this episode [m]."""
    mocap_quat: Float32[Array, "m 4"]
    """... and how it is turned (w, x, y, z)."""
    geom_rgba: Float32[Array, "g 4"]
    mat_rgba: Float32[Array, "n 4"]
    light_dir: Float32[Array, "l 3"]
    light_diffuse: Float32[Array, "l 3"]


@runtime_checkable
class LazyArray(Protocol):
    """An array whose values are loaded when it is indexed; numpy's own arrays are one, too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        ...

    def __getitem__(self, index: Any, /) -> Array:
        """Load the values at integers and slices."""
        ...


@dataclass(frozen=True, kw_only=True)
class Images:
    """What the cameras saw. Nothing is loaded before it is asked for; each frame of each view loads by itself."""

    rgb: LazyArray
    """u8 (v, t, h, w, 3)."""
    depth: LazyArray
    """u16 (v, t, h, w) along the optical axis, in units of `DEPTH_UNIT`; 0 where there is none."""
    labels: LazyArray
    """u8 (v, t, h, w): see `robo4d.sim.labels.Label`."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One demonstration."""

    info: EpisodeInfo
    motion: Motion
    cameras: tuple[Camera, ...]
    """The views; they stand still."""
    scene: SceneStates | None
    """None when recorded from a real robot."""
    images: Images | None
    """None when only states were recorded."""

    @classmethod
    def example(cls) -> "Episode":
        """Two frames of a grey wall, seen by the example camera."""
        k = Intrinsics.example()
        info = EpisodeInfo(
            task="example",
            seed=0,
            distribution="standard",
            success=True,
            rate_hz=10.0,
            arms=("left", "right"),
            bodies=("wall",),
            test_views=0,
            perturbed=False,
            size=(k.height, k.width),
        )
        shape = (1, 2, k.height, k.width)
        images = Images(
            rgb=np.full((*shape, 3), 128, np.uint8),
            depth=np.full(shape, 10_000, np.uint16),
            labels=np.zeros(shape, np.uint8),
        )
        return cls(info=info, motion=Motion.example(), cameras=(Camera.example(),), scene=None, images=images)

    @classmethod
    def from_arrays(cls, info: EpisodeInfo, arrays: Mapping[str, Array], images: Images | None = None) -> "Episode":
        """The inverse of `arrays`."""
        height, width = info.size
        cameras = tuple(
            Camera(
                intrinsics=Intrinsics(fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2], width=width, height=height),
                T_world_camera=T,
            )
            for K, T in zip(arrays["intrinsics"], arrays["T_world_camera"], strict=True)
        )
        scene = {name.removeprefix(_SCENE): values for name, values in arrays.items() if name.startswith(_SCENE)}
        return cls(
            info=info,
            motion=Motion(**{field.name: arrays[field.name] for field in fields(Motion)}),
            cameras=cameras,
            scene=SceneStates(**scene) if scene else None,
            images=images,
        )

    def arrays(self) -> dict[str, Array]:
        """All arrays but the images, by the names they have on disk."""
        arrays = {field.name: getattr(self.motion, field.name) for field in fields(Motion)}
        arrays["intrinsics"] = np.stack([camera.intrinsics.matrix for camera in self.cameras])
        arrays["T_world_camera"] = np.stack([camera.T_world_camera for camera in self.cameras])
        if self.scene:
            arrays |= {_SCENE + field.name: getattr(self.scene, field.name) for field in fields(SceneStates)}
        return arrays

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.motion.stamps_ns)

    @property
    def train_views(self) -> range:
        """Indices of the views to train on; the others are kept for tests."""
        return range(len(self.cameras) - self.info.test_views)

    def frame(self, view: int, time: int) -> RgbdFrame:
        """One RGB-D image.

        Raises:
            ValueError: the episode has no images.
        """
        if self.images is None:
            raise ValueError("the episode holds states only: draw its images with `robo4d render`")
        camera = self.cameras[view]
        return RgbdFrame(
            rgb=self.images.rgb[view, time],
            depth=metres(self.images.depth[view, time]),
            intrinsics=camera.intrinsics,
            camera=f"camera_{view}",
            stamp_ns=int(self.motion.stamps_ns[time]),
            T_world_camera=camera.T_world_camera,
        )


def metres(depth_units: UInt16[Array, "*b"]) -> Float32[Array, "*b"]:
    """Depth [m] from its stored form."""
    return depth_units * np.float32(DEPTH_UNIT)


def depth_units(depth: Float32[Array, "*b"]) -> UInt16[Array, "*b"]:
    """The stored form of depth [m]; what is farther than it can hold (6.55 m) counts as none."""
    units = np.rint(depth / np.float32(DEPTH_UNIT))
    return np.where(units <= np.iinfo(np.uint16).max, units, 0).astype(np.uint16)
