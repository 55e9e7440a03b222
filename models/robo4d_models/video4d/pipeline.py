"""The tiny preset at work: from one RGB-D frame per view to a 4D video. The file to read first.

observation -> plan model -> keyframes -> aim -> poses of every frame -> draft -> refiner -> PointmapVideo

Of images that are wider than high, or higher than wide, the middle square is read, and the video shows it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d import PointmapVideo, RgbdFrame, RgbdPair
from robo4d.geometry import se3
from robo4d.health import Health
from robo4d.interfaces import ToldVideo
from robo4d.track import GripperTrack
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.aim import Aim, aimed
from robo4d_models.video4d.coding import ARMS, HELD_WIDTH, OPEN_WIDTH, RobotState, middle_square
from robo4d_models.video4d.keyframes import KeyframePlan
from robo4d_models.video4d.localiser import Localiser
from robo4d_models.video4d.planning import FLOW_STEPS, KeyframePlanner
from robo4d_models.video4d.refiner import Refiner, RefinerConfig
from robo4d_models.video4d.rendering import Motion, PlanRenderer, square_view
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.segmenter import Segmenter

WITNESSES = 15
"""Further plans that are drawn with each one, to see how sure the model is."""
_SAME_M, _SAME_RAD = 0.025, math.radians(15)
"""Poses within this of each other are the same: the limits of a right one."""

_OPEN = np.full(len(ARMS), OPEN_WIDTH)
"""Openings of grippers whose state is unknown [m]."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """What is generated."""

    frames: int = 10
    """Predicted frames, as in the paper."""
    period_s: float = 0.5
    """Time between them [s]: 2 Hz, as in the paper."""
    size: int = 96
    """Height and width of the video [px]; a multiple of 8."""
    flow_steps: int = FLOW_STEPS
    """Euler steps in which plans are sampled; weights of `robo4d train --part few_step` need one or two."""
    temperature: float = 0.25
    """Scale of the noise that the plan of a video begins with: near the middle of what the model believes in, where the
    errors are smallest, and yet another plan for each seed. Those that it is held against are drawn with 1."""


StateSource = Callable[[int], RobotState | None]
"""Tells the robot's state at a time [ns], or None where it is not known."""


class TinyGenerator:
    """Imagines the future of two or more RGB-D views: a `VideoGenerator` and `GeneratesBatches` of `robo4d.interfaces`.

    Args:
        planner: Makes keyframes; it knows the task.
        refiner: Turns drafts into pictures. Without one, the drafts themselves are the video.
        segmenter: Finds the objects that move as a whole. Without one, only what is between the fingers does.
        localiser: Finds cameras whose poses are unknown. Without one, they must be known.
        aim: Makes grasps exact. Without one, they are as the planner sees them.
        robot: Of each arm and its gripper.
        state: Where the robot's state comes from; without it the arms are read from the images.
        config: What is generated.
    """

    def __init__(
        self,
        planner: KeyframePlanner,
        refiner: Refiner | None,
        robot: RobotModel,
        *,
        segmenter: Segmenter | None = None,
        localiser: Localiser | None = None,
        aim: Aim | None = None,
        state: StateSource = lambda stamp_ns: None,
        config: TinyConfig | None = None,
    ) -> None:
        self.planner, self._localiser, self._aim, self._state = planner, localiser, aim, state
        self._renderer = PlanRenderer(robot, refiner, segmenter)
        self.config = config or TinyConfig()
        self.told: Mapping[str, GripperTrack] = {}
        """Where the grippers are in the last video, by arm: the `plan_head` readout."""

    @classmethod
    def load(
        cls, folder: Path, task: str, *, state: StateSource = lambda stamp_ns: None, config: TinyConfig | None = None
    ) -> "TinyGenerator":
        """The generator with the weights of a folder that `robo4d train` wrote.

        A folder may lack all but the plan model. Without a refiner, the drafts are the video.

        Raises:
            ValueError: the weights are missing, damaged, not those that their hashes name, or not of this model.
        """
        if (folder / "network.safetensors").is_file():
            raise ValueError(
                f"{folder} holds weights of the preset svd, not of tiny: load them with "
                "`robo4d_models.generators.load_generator`, which tells both apart"
            )
        checkpoints.verify(folder)
        planner = KeyframePlanner.load(folder / "plan.safetensors", task)
        objects = folder / "segmenter.safetensors"
        segmenter = Segmenter.load(objects) if objects.exists() else None
        aiming = folder / "aim.safetensors"
        aim = Aim.load(aiming) if aiming.exists() else None
        refiner, robot = load_refiner(folder)
        places = folder / "localiser.safetensors"
        localiser = Localiser.load(places, robot) if places.exists() else None
        return cls(
            planner,
            refiner,
            robot,
            segmenter=segmenter,
            localiser=localiser,
            aim=aim,
            state=state,
            config=config,
        )

    def place(self, pair: RgbdPair) -> RgbdPair:
        """The pair with the poses of both cameras; see `Localiser.place`."""
        return pair if self._localiser is None else self._localiser.place(pair, self._state(pair.stamp_ns))

    @property
    def placement(self) -> Health | None:
        """How sure the poses are that `place` told last; see `PlacesCameras.placement`."""
        return None if self._localiser is None else self._localiser.health

    def generate(
        self, pair: RgbdPair, *, seed: int, progress: Callable[[int, int], bool] = lambda step, steps: True
    ) -> PointmapVideo:
        """The predicted video that follows the pair; see `VideoGenerator.generate`."""
        return self.generate_batch(pair, seeds=[seed], progress=progress)[0].video

    def generate_batch(
        self,
        pair: RgbdPair,
        *,
        seeds: Sequence[int],
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> list[ToldVideo]:
        """A video of each seed, with the observation encoded once; see `GeneratesBatches.generate_batch`."""
        pair = self.place(pair)
        return self._generate(pair, (pair.n, pair.m), seeds, progress)

    def generate_views(
        self,
        pair: RgbdPair,
        further: Sequence[RgbdFrame],
        *,
        seed: int,
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> PointmapVideo:
        """The video of `generate` with further views, each predicted against view n as view m is.

        Args:
            pair: The observation. The plan is made from it alone.
            further: What other cameras see at the same time.
            seed: Selects the sample.
            progress: See `generate`.

        Raises:
            Cancelled: `progress` returned False.
            ValueError: a camera's pose is neither known nor found, or a view does not show the robot where it is.
        """
        pair = self.place(pair)
        others = [self.place(replace(pair, m=frame)).m for frame in further]
        return self._generate(pair, (pair.n, pair.m, *others), [seed], progress)[0].video

    def render(self, pair: RgbdPair, plan: KeyframePlan) -> PointmapVideo:
        """The video of a plan.

        Raises:
            ValueError: a view does not show the robot where its joints, or else the model, have it.
        """
        return self._render(pair, (pair.n, pair.m), [plan], lambda step, steps: True)[0]

    def _generate(
        self,
        pair: RgbdPair,
        frames: Sequence[RgbdFrame],
        seeds: Sequence[int],
        progress: Callable[[int, int], bool],
    ) -> list[ToldVideo]:
        """Plans from the pair, shown in the frames."""
        samples = self.planner.sample(
            pair,
            self._state(pair.stamp_ns),
            temperatures=[self.config.temperature, *[1.0] * WITNESSES],
            seeds=seeds,
            steps=self.config.flow_steps,
        )
        samples = [self._fitted(pair, plans) for plans in samples]
        videos = self._render(pair, frames, [plan for plan, *_ in samples], progress)
        made = [
            ToldVideo(video=video, told=self.tracks(pair, plan, others))
            for video, (plan, *others) in zip(videos, samples, strict=True)
        ]
        self.told = made[-1].told
        return made

    def _fitted(self, pair: RgbdPair, plans: Sequence[KeyframePlan]) -> list[KeyframePlan]:
        """The plans made fit for what is there: for the grippers as they are, and for what they grasp and let go."""
        state = self._state(pair.stamp_ns)
        widths = _OPEN if state is None else state.gripper_width
        plans = [plan if state is None else plan.made_up_for(state) for plan in plans]
        plans = [plan.letting_go_above(widths) for plan in plans]
        if self._aim is None:
            return plans
        views = [square_view(middle_square(frame), self.config.size) for frame in (pair.n, pair.m)]
        return aimed(plans, self._aim, views, widths, self.planner.task)

    def _render(
        self,
        pair: RgbdPair,
        frames: Sequence[RgbdFrame],
        plans: Sequence[KeyframePlan],
        progress: Callable[[int, int], bool],
    ) -> list[PointmapVideo]:
        return self._renderer.render(
            frames,
            [self._motion(pair, plan) for plan in plans],
            times_s=self.times_s,
            size=self.config.size,
            stamp_ns=pair.stamp_ns,
            progress=progress,
        )

    def tracks(
        self, pair: RgbdPair, plan: KeyframePlan, others: Sequence[KeyframePlan] = ()
    ) -> dict[str, GripperTrack]:
        """The motion of each gripper as the plan has it: the `plan_head` readout, without the detour by the video.

        Its confidence is the share of other plans, drawn from the same observation, that have the gripper at the same
        place at the same time (25 mm, 15 deg); 1 without others.
        """
        motion = self._motion(pair, plan)
        start, poses, widths = motion.start, motion.T_world_tcp, motion.gripper_width
        agree = [_same_pose(poses, other.at(self.times_s, start)[0]) for other in others]
        trust = np.mean(agree, axis=0) if agree else np.ones(widths.shape)
        poses = np.concatenate([start.T_world_tcp[None], poses])
        widths = np.concatenate([start.gripper_width[None], widths])
        trust = np.concatenate([np.ones((1, len(ARMS))), trust])
        count = len(poses)
        return {
            arm: GripperTrack(
                arm=arm,
                stamp_ns=pair.stamp_ns,
                times_s=np.concatenate([[0.0], self.times_s]),
                Ts_world_tcp=poses[:, i],
                confidence=trust[:, i],
                inlier=np.ones(count, bool),
                view=np.full(count, -1),
                opening_m=widths[:, i],
                open=widths[:, i] >= HELD_WIDTH,
            )
            for i, arm in enumerate(ARMS)
        }

    @property
    def times_s(self) -> Float[Array, " t"]:
        """Time of each frame after the observation [s]."""
        return self.config.period_s * np.arange(1, self.config.frames + 1)

    def _motion(self, pair: RgbdPair, plan: KeyframePlan) -> Motion:
        """The plan at the times of the video, from where the grippers are: measured, or else as it sees them, open."""
        start = self._state(pair.stamp_ns) or RobotState(T_world_tcp=plan.T_world_tcp_now, gripper_width=_OPEN)
        poses, widths = plan.at(self.times_s, start)
        return Motion(start=start, T_world_tcp=poses, gripper_width=widths)


def load_refiner(folder: Path) -> tuple[Refiner | None, RobotModel]:
    """The refiner of a folder of weights, if there is one, and the robot that its drafts are drawn with."""
    if not (file := folder / "refiner.safetensors").exists():
        return None, RobotModel.of_franka()
    values, sizes = checkpoints.load_weights(file)
    sizes["widths"] = tuple(sizes["widths"])
    refiner = Refiner(RefinerConfig(**sizes))
    trained = {name: value for name, value in values.items() if not name.startswith("robot.")}
    checkpoints.fill(refiner, trained, file)
    return refiner.eval(), RobotModel.from_tensors(values)


def _same_pose(Ts: Float[Array, "t a 4 4"], others: Float[Array, "t a 4 4"]) -> Bool[Array, "t a"]:
    distance, angle = se3.distance(Ts, others)
    return (distance < _SAME_M) & (angle < _SAME_RAD)
