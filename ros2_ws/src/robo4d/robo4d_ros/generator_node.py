"""Imagines the future, on request: from the newest pair of RGB-D images, or from the predicted end of a plan."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from robo4d_models.generators import is_svd, weights_folder
from robo4d_models.video4d.svd.options import SvdOptions

from robo4d.foresight import foreseen_pair
from robo4d.health import Health
from robo4d.interfaces import Cancelled, PlacesCameras, TellsMotion, VideoGenerator
from robo4d.rgbd import RgbdPair
from robo4d.tracking.degrade import Degradation
from robo4d.video import PointmapVideo
from robo4d_ros import frames, parameters
from robo4d_ros.conversions import header, ns_from_time, postures_from_messages
from robo4d_ros.generator import models
from robo4d_ros.generator.action import GenerateAction, Goal, WhenBusy
from robo4d_ros.generator.views import VideoViews
from robo4d_ros.process import Jobs, run
from robo4d_ros.robot_history import RobotHistory
from robo4d_ros.sync import RgbdPairSource, RgbdPairSourceConfig, status_from_health

_LOOK_PERIOD_S = 0.1
"""A goal that waits for images looks this often whether it is still wanted [s]."""


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The generator."""

    generator: str = "tiny"
    """tiny (the model that ships), oracle (of the simulated cell), or a folder of weights of the preset tiny or svd."""
    task: str = "store_cereal_box_under_shelf"
    """What the robot shall do. Weights of svd are of one task and are not told."""
    when_busy: WhenBusy = "refuse"
    """What happens to a goal while a video is made: it waits, replaces the other one, or is refused."""
    max_age_s: float = field(default=1.0, metadata={"range": (0.05, 60.0)})
    """Older pairs of images are not used [s]."""
    max_wait_s: float = field(default=5.0, metadata={"range": (0.0, 60.0)})
    """A goal waits this long for a pair of images that may be used [s]."""
    oracle_noise_m: float = field(default=0.0, metadata={"range": (0.0, 0.1)})
    """Depth noise of the oracle [m], with the bias, mixed edges and holes that go with it; 0 for a perfect video."""
    oracle_blur_px: float = field(default=0.0, metadata={"range": (0.0, 20.0)})
    """Blur of the oracle's colours and depth, as its standard deviation [px]."""
    oracle_misalignment_m: float = field(default=0.0, metadata={"range": (0.0, 1.0)})
    """How far the oracle's view m as a whole is from where it should be [m] ..."""
    oracle_misalignment_deg: float = field(default=0.0, metadata={"range": (0.0, 90.0)})
    """... and how far it is turned about the middle of its points [deg]."""
    show_period_s: float = field(default=0.5, metadata={"range": (0.02, 10.0)})
    """From frame to frame when the video is shown [s]."""
    arms: tuple[str, ...] = ("left", "right")
    """Names of the arms, in the order that the model was trained with."""
    robot: str = "fer"
    """Model by which the joint states give the grippers' poses: fer (Panda) or fr3."""
    cameras: RgbdPairSourceConfig = field(default_factory=RgbdPairSourceConfig)
    svd: SvdOptions = field(default_factory=SvdOptions)
    """How the svd preset makes a video."""

    def __post_init__(self) -> None:
        """Refuse what is no generator."""
        if self.generator not in ("oracle", "tiny") and not Path(self.generator).is_dir():
            raise ValueError(f"generator must be oracle, tiny or a folder of weights, got {self.generator!r}")

    @property
    def degradation(self) -> Degradation:
        """What is done to the oracle's video."""
        return Degradation.typical(
            self.oracle_noise_m,
            blur_px=self.oracle_blur_px,
            misalignment_m=self.oracle_misalignment_m,
            misalignment_deg=self.oracle_misalignment_deg,
        )


class GeneratorNode(Node):
    """Offers the action `generate`. Videos are made in a thread of their own, from what both cameras saw last."""

    def __init__(self, **options: Any) -> None:
        super().__init__("generator", **options)
        self._config = config = parameters.declare(self, GeneratorConfig())
        tf = frames.listen(self)
        self._pair_came = threading.Event()
        self._source = RgbdPairSource(self, config.cameras, on_pair=lambda _: self._pair_came.set(), frames=tf)
        self._views = VideoViews(self, config.show_period_s, config.arms)
        self._history: RobotHistory | None = None
        self._last: tuple[PointmapVideo, RgbdPair] | None = None
        """The last video, and what it starts from."""
        self._placement: Health | None = None
        """How sure the poses of the last pair's cameras are, where nobody told them."""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(config.cameras.diagnostics_period_s, self._diagnose)
        self._make = self._maker(tf)
        self._generator: VideoGenerator | None = None
        self._jobs = Jobs(self, "generation")
        self._jobs.submit(self._load)
        self._action = GenerateAction(self, self._jobs, self._generate, config.when_busy)

    def close(self) -> None:
        """End the thread."""
        self._action.close()
        self._jobs.close()

    def _maker(self, tf: frames.Frames) -> models.MakeGenerator:
        config = self._config
        if config.generator == "oracle":
            return models.oracle(self, config.task, config.degradation)
        folder = weights_folder(config.generator)
        if is_svd(folder):  # which is told nothing but the images
            return models.weights(self, folder, config.task, svd=config.svd)
        self._history = RobotHistory(self, config.arms)
        state = models.robot_state(self._history, arms=config.arms, robot=config.robot, tf=tf)
        return models.weights(self, folder, config.task, state=state)

    def _load(self) -> None:
        self._generator = self._make()
        self.get_logger().info(f"{self._config.generator}: ready to generate")

    def _generate(self, goal: Goal) -> int:
        """One video."""
        assert self._generator is not None  # `_load` came before
        continued_ns = ns_from_time(goal.request.continued)
        pair = self._foreseen_pair(goal, continued_ns) if continued_ns else self._fresh_pair(goal)
        if isinstance(self._generator, PlacesCameras):
            pair = self._place(self._generator, pair)  # those who follow the video need the poses too
        video = self._generator.generate(pair, seed=goal.request.seed, progress=goal.progress)
        self._last = video, pair
        goal.progress(goal.steps, goal.steps)
        self._views.publish(video, pair, self._generator.told if isinstance(self._generator, TellsMotion) else {})
        return pair.stamp_ns

    def _place(self, generator: PlacesCameras, pair: RgbdPair) -> RgbdPair:
        try:
            return generator.place(pair)
        finally:
            self._placement = generator.placement

    def _diagnose(self) -> None:
        if self._placement is not None:
            status = status_from_health(self._placement, node_name=self.get_fully_qualified_name())
            now_ns = self.get_clock().now().nanoseconds
            self._diagnostics.publish(DiagnosticArray(header=header(now_ns, ""), status=[status]))

    def _foreseen_pair(self, goal: Goal, continued_ns: int) -> RgbdPair:
        """What the end of a plan will look like, as the last video shows it."""
        if self._last is None or self._last[0].stamp_ns != continued_ns:
            raise ValueError(
                f"the predicted end of a video from images of {1e-9 * continued_ns:.3f} s is not known: it is not the "
                "last one that was made here; start from the newest images (continued: 0)"
            )
        arms = postures_from_messages(goal.request.arms)
        pair = foreseen_pair(*self._last, time_s=goal.request.continued_at, arms=arms)
        if self._history:
            self._history.foresee(pair.stamp_ns, arms)
        return pair

    def _fresh_pair(self, goal: Goal) -> RgbdPair:
        """The newest pair, as soon as it may be used."""
        deadline_s = time.monotonic() + self._config.max_wait_s
        while (pair := self._source.latest()) is None or not self._is_fresh(pair):
            if goal.is_over:
                raise Cancelled
            if time.monotonic() >= deadline_s:
                newest = "no pair of images yet" if pair is None else self._too_old(pair)
                raise ValueError(f"{newest}: {self._source.problem}")
            self._pair_came.clear()
            self._pair_came.wait(_LOOK_PERIOD_S)
        return pair

    def _is_fresh(self, pair: RgbdPair) -> bool:
        return abs(self._age_s(pair)) <= self._config.max_age_s

    def _too_old(self, pair: RgbdPair) -> str:
        allowed = self._config.max_age_s
        return f"the newest pair of images is {self._age_s(pair):.1f} s old, allowed are {allowed:g} s"

    def _age_s(self, pair: RgbdPair) -> float:
        return 1e-9 * (self.get_clock().now().nanoseconds - pair.stamp_ns)


def main() -> None:
    """Run the node."""
    run(GeneratorNode)


if __name__ == "__main__":
    main()
