"""From six camera streams (two cameras, each colour, depth and camera_info) to pairs of RGB-D frames.

Colour and depth of each camera are paired by time, then the frames of the two cameras. Calibration does not depend
on time: each camera's newest is used, so that a lost camera_info costs no frame. What must not be used is dropped and
counted under its name (`robo4d.observation.Problem`), and never reaches the caller.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.health import Health, Level
from robo4d.observation import BadObservation, CameraInfo, ColourImage, DepthImage, Problem, rgbd_frame
from robo4d.pairing import ApproximateTime, Pairing
from robo4d.rgbd import RgbdFrame, RgbdPair

T = TypeVar("T")
View = Literal["n", "m"]
PoseLookup = Callable[[str, int], Float[Array, "4 4"] | None]
"""T_world_camera of an optical frame at a time [ns]; None where it is not known."""
PairingFactory = Callable[[int, int], Pairing[Any]]
"""Makes a pairing from its slop [ns] and queue size."""


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """What belongs together, and when to complain."""

    camera_slop_s: float = 0.02
    """Largest time between the exposures of the two cameras [s]. Free-running 30 Hz cameras are up to 0.0167 apart."""
    depth_slop_s: float = 0.01
    """Largest time between colour and depth of one camera [s]."""
    queue_size: int = 10
    """Messages of each stream that may wait for their partner."""
    timeout_s: float = 1.0
    """A stream without messages for this long counts as stopped [s]."""
    plausible_depth_m: tuple[float, float] = (0.05, 50.0)
    """Range of the median depth of an image [m]; outside of it the unit of depth is doubtful."""

    def __post_init__(self) -> None:
        """Refuse values that would pair nothing."""
        if min(self.camera_slop_s, self.depth_slop_s) < 0 or self.timeout_s <= 0 or self.queue_size < 1:
            raise ValueError(f"slops must be >= 0, timeout_s > 0 and queue_size >= 1, got {self}")
        if len(self.plausible_depth_m) != 2 or not 0 < self.plausible_depth_m[0] < self.plausible_depth_m[1]:
            raise ValueError(f"plausible_depth_m must be (near, far) with 0 < near < far, got {self.plausible_depth_m}")


class RgbdPairSync:
    """Makes pairs of RGB-D frames from the messages of two cameras, and tells what keeps it from doing so.

    `now_ns` is always a clock that never jumps [ns], such as `time.monotonic_ns()`: by it streams count as stopped,
    even when the clock of the stamps stands still.
    """

    def __init__(
        self,
        config: SyncConfig,
        *,
        now_ns: int,
        T_world_camera: PoseLookup = lambda camera, stamp_ns: None,
        pairing: PairingFactory = ApproximateTime,
    ) -> None:
        """Prepare to take messages.

        Args:
            config: Tolerances.
            now_ns: The present, from which the first report counts [ns].
            T_world_camera: Looks a camera's pose up, such as in tf; ValueError where what it finds is no pose.
            pairing: How streams are paired by time.
        """
        self._config = config
        self._T_world_camera = T_world_camera
        timeout_ns, size = round(1e9 * config.timeout_s), config.queue_size
        self._cameras = {
            view: _Joint[Any](
                f"camera {view}",
                ("colour", "depth"),
                pairing(round(1e9 * config.depth_slop_s), size),
                stopped=Problem.STREAM_STOPPED,
                apart=Problem.DEPTH_AND_COLOUR_APART,
                timeout_ns=timeout_ns,
                now_ns=now_ns,
            )
            for view in ("n", "m")
        }
        self._both = _Joint[RgbdFrame](
            "pair",
            ("camera n", "camera m"),
            pairing(round(1e9 * config.camera_slop_s), size),
            stopped=Problem.CAMERA_WITHOUT_FRAMES,
            apart=Problem.CAMERAS_APART,
            timeout_ns=timeout_ns,
            now_ns=now_ns,
        )
        self._camera_infos: dict[View, CameraInfo] = {}
        self._latest: RgbdPair | None = None

    def latest(self) -> RgbdPair | None:
        """The newest pair, or None before the first and after the stamps jumped back."""
        return self._latest

    def add_colour(self, view: View, image: ColourImage, *, now_ns: int) -> RgbdPair | None:
        """Take a colour image that arrived now; gives the pair that it completes."""
        return self._add(view, 0, image, now_ns)

    def add_depth(self, view: View, image: DepthImage, *, now_ns: int) -> RgbdPair | None:
        """Take a depth image that arrived now; gives the pair that it completes."""
        return self._add(view, 1, image, now_ns)

    def add_camera_info(self, view: View, camera_info: CameraInfo) -> None:
        """Take a camera's calibration, which holds until the next."""
        self._camera_infos[view] = camera_info

    def report(self, now_ns: int) -> list[Health]:
        """How each camera and the pairing of both did since the last report."""
        return [joint.report(now_ns) for joint in (*self._cameras.values(), self._both)]

    def _add(self, view: View, stream: int, image: ColourImage | DepthImage, now_ns: int) -> RgbdPair | None:
        camera, pair = self._cameras[view], None
        if camera.jumps_back(stream, image.stamp_ns):
            camera.reset()
            self._both.reset()
            self._latest = None
        for colour, depth in camera.add(stream, image.stamp_ns, image, now_ns):
            try:
                frame = rgbd_frame(
                    colour, depth, self._camera_infos.get(view), plausible_depth_m=self._config.plausible_depth_m
                )
            except BadObservation as refusal:
                camera.refuse(refusal.problem, refusal.detail)
                continue
            camera.delivered += 1
            for n, m in self._both.add(0 if view == "n" else 1, frame.stamp_ns, frame, now_ns):
                try:
                    pair = RgbdPair(n=self._placed(n), m=self._placed(m))
                except BadObservation as refusal:
                    self._both.refuse(refusal.problem, refusal.detail)
                    continue
                self._both.delivered += 1
                self._latest = pair
        return pair

    def _placed(self, frame: RgbdFrame) -> RgbdFrame:
        """The frame with its camera's pose, as far as that is known."""
        try:
            T_world_camera = self._T_world_camera(frame.camera, frame.stamp_ns)
        except ValueError as error:
            raise BadObservation(Problem.INVALID_POSE, f"{frame.camera}: {error}") from error
        if T_world_camera is not None and not se3.is_valid(T_world_camera):
            raise BadObservation(Problem.INVALID_POSE, f"{frame.camera}: {T_world_camera.tolist()}")
        return dataclasses.replace(frame, T_world_camera=T_world_camera)


class _Joint(Generic[T]):
    """Pairs two streams, keeps count, and notices when they stop, stand still, jump back or never meet."""

    def __init__(
        self,
        name: str,
        streams: tuple[str, str],
        pairing: Pairing[T],
        *,
        stopped: Problem,
        apart: Problem,
        timeout_ns: int,
        now_ns: int,
    ) -> None:
        self._name, self._streams, self._pairing = name, streams, pairing
        self._stopped, self._apart, self._timeout_ns = stopped, apart, timeout_ns
        self._stamp_ns: list[int | None] = [None, None]
        self._arrival_ns: list[int | None] = [None, None]
        self._met_ns: int | None = None
        self._problems: dict[Problem, str] = {}
        self._counts: Counter[str] = Counter()
        self.delivered = 0
        """Results since the start; the owner counts them."""
        self._reported = (0, now_ns)

    def add(self, stream: int, stamp_ns: int, item: T, now_ns: int) -> list[tuple[T, T]]:
        """Take an item, and give the pairs that it completes."""
        self._counts[f"{self._streams[stream].replace(' ', '_')}_count"] += 1
        self._arrival_ns[stream] = now_ns
        if stamp_ns == self._stamp_ns[stream]:
            self.refuse(Problem.STREAM_FROZEN, f"{self._streams[stream]} at {1e-9 * stamp_ns:.3f} s")
            return []
        self._stamp_ns[stream] = stamp_ns
        pairs = self._pairing.add(stream, stamp_ns, item)
        if pairs or self._met_ns is None:
            self._met_ns = now_ns
        return pairs

    def jumps_back(self, stream: int, stamp_ns: int) -> bool:
        """Whether the stamp is older than the stream's newest, which is noted as a problem."""
        newest_ns = self._stamp_ns[stream]
        if newest_ns is None or stamp_ns >= newest_ns:
            return False
        self.refuse(Problem.CLOCK_JUMPED_BACK, f"{self._streams[stream]} by {1e-9 * (newest_ns - stamp_ns):.3f} s")
        return True

    def reset(self) -> None:
        """Forget what waits and the stamps seen, as after a jump of the clock."""
        self._pairing.reset()
        self._stamp_ns = [None, None]

    def refuse(self, problem: Problem, detail: str) -> None:
        """Count a problem, and keep it for the next report."""
        self._problems[problem] = detail
        self._counts[f"{problem.name.lower()}_count"] += 1

    def report(self, now_ns: int) -> Health:
        """How it did since the last report, which this one ends."""
        self._check_streams(now_ns)
        delivered_before, before_ns = self._reported
        fresh, elapsed_s = self.delivered - delivered_before, 1e-9 * max(1, now_ns - before_ns)
        health = Health(
            name=self._name,
            level=Level.OK if not self._problems else Level.WARN if fresh else Level.ERROR,
            message="; ".join(f"{p.name}: {p.value} ({detail})" for p, detail in self._problems.items()) or "ok",
            values={"rate_hz": fresh / elapsed_s, "delivered_count": float(self.delivered), **self._counts},
        )
        self._reported, self._problems = (self.delivered, now_ns), {}
        return health

    def _check_streams(self, now_ns: int) -> None:
        silent: list[str] = []
        for name, arrival_ns in zip(self._streams, self._arrival_ns, strict=True):
            if arrival_ns is None:
                silent.append(f"{name}: nothing so far")
            elif now_ns - arrival_ns > self._timeout_ns:
                silent.append(f"{name}: nothing for {1e-9 * (now_ns - arrival_ns):.1f} s")
        stamp_0, stamp_1 = self._stamp_ns
        if silent:
            self.refuse(self._stopped, ", ".join(silent))
        elif self._problems or stamp_0 is None or stamp_1 is None or self._met_ns is None:
            return
        elif now_ns - self._met_ns > self._timeout_ns:
            self.refuse(self._apart, f"the newest stamps are {1e-6 * abs(stamp_0 - stamp_1):.1f} ms apart")
