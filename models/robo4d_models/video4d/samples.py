"""`robo4d make-samples`: attempts of the simulated expert from disturbed states, seen by fresh cameras.

A policy that only ever saw good attempts does not know how to go on from a bad moment. So each attempt after the first
of a start begins somewhere on the way of the one before it, with a disturbance: an arm pushed away, a gripper opened
or closed at the wrong time, the object moved. From there the expert runs undisturbed to the end, which labels every
moment on the way with exactly what the demonstrator does next.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from rich.console import Console

from robo4d.episodes.simulate import simulate
from robo4d.geometry import Camera, se3
from robo4d.sim.cell import Cell
from robo4d.sim.playback import Stage, stage
from robo4d.sim.render import Renderer
from robo4d.sim.snapshot import Snapshot
from robo4d.sim.state import CONTROL_PERIOD_S, ArmCommand, CellState
from robo4d_models.video4d.coding import ARMS, FARTHEST, HELD_WIDTH, OPEN_WIDTH, TASKS
from robo4d_models.video4d.data import DEPTH_UNIT, moment_dtype
from robo4d_models.video4d.keyframes import NOW, Keyframe, slots

FIRST_SEED = 5_000_000
"""Of the cell's starts: those of rollouts and of data sets are elsewhere, so that no test start is trained on."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What the attempts look like."""

    views: int = 3
    size: int = 96
    """Height and width of the images [px]."""
    period_s: float = 0.5
    """Time between recorded moments, that of the generated video."""
    start_views: int = 12
    """Cameras that see each start: every session begins with such a look, and an attempt has only one."""
    branches: int = 3
    """Attempts from one start: the undisturbed one and those that begin on its way."""
    wide_share: float = 0.7
    """Share of starts from the wide distribution; the rest are like those of the evaluation."""
    wide_lens_share: float = 0.3
    """Share of cameras with a wider lens than the paper's views have."""
    widest_lens: float = 0.6
    """Their least focal length, as a multiple of that."""
    longest_s: float = 50.0
    """An attempt that takes longer is dropped."""
    push_m: float = 0.10
    """Largest disturbance of a TCP along each axis."""
    push_rad: float = 0.35
    """Largest disturbance of its rotation about each axis."""
    flip_share: float = 0.12
    """Share of disturbances in which a gripper also opens or closes."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An undisturbed run of the expert to the end of the task."""

    times_s: list[float]
    """Of all control ticks."""
    targets: list[Float[Array, "a 4 4"]]
    """T_world_tcp that each arm was told at each tick."""
    closed: list[Bool[Array, " a"]]
    """Whether each gripper was told to be closed at each tick."""
    corners: list[tuple[int, str, Float[Array, "4 4"]]]
    """Corners of the paths: the tick at which each was passed, the arm, the pose."""
    snapshots: list[tuple[int, Snapshot]]
    """The recorded moments: tick, and everything about it; the first one is the start."""


def make_samples(
    *,
    out: Path,
    tasks: tuple[str, ...] = TASKS,
    starts: int = 1000,
    first_seed: int = 0,
    config: SampleConfig = SampleConfig(),
) -> None:
    """Make training samples, task by task in turn; starts that are in the folder already are left alone.

    What a start becomes depends on its seed, its task and `config` alone, not on what was made before.

    Args:
        out: Folder of the samples.
        tasks: Which tasks.
        starts: Number of starts of each task; each gives `config.branches` attempts, and a look at the start.
        first_seed: Seed of the first start. Several processes share the work with ranges of seeds that do not overlap.
        config: What the attempts look like.
    """
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    stages = {task: stage(task) for task in tasks}
    renderers = {task: Renderer(s.cell.model, objects=s.cell.task.objects) for task, s in stages.items()}
    for seed in range(first_seed, first_seed + starts):
        for task, scenery in stages.items():
            # The last file of a start tells that it is done; it is written even when an attempt in between failed.
            done = out / f"{task}-{seed}.done"
            if done.exists():
                continue
            kept = 0
            for kept, moments in enumerate(_recordings(scenery, renderers[task], seed, config)):
                partial = out / f"{task}-{seed}.partial"
                with partial.open("wb") as file:
                    np.save(file, moments)
                partial.replace(out / f"{task}-{seed}-{kept}.npy")
            done.touch()
            console.print(f"{task} start {seed}: {kept} of {config.branches} attempts")


def _recordings(scenery: Stage, renderer: Renderer, seed: int, config: SampleConfig) -> Iterator[Array]:
    """The look at one start, and the recorded moments of each attempt from it that succeeded."""
    cell = scenery.cell
    rng = np.random.default_rng([seed, zlib.crc32(cell.task.name.encode())])
    start, distribution = FIRST_SEED + seed, "wide" if rng.random() < config.wide_share else "standard"
    # It tells where the work will be, which cameras must see, as those of data sets and rollouts do.
    demonstration = simulate(cell, seed=start, distribution=distribution, rate_hz=1 / config.period_s)
    cell.reset(seed=start, distribution=distribution)
    previous: Attempt | None = None
    for _ in range(config.branches):
        if previous is not None:
            _, snapshot = previous.snapshots[rng.integers(len(previous.snapshots))]
            cell.restore(snapshot)
            _disturb(cell, rng, config)
        attempt = _run_expert(cell, rng, config)
        if attempt is None and previous is None:
            return  # a start that the expert does not master
        if attempt is None:
            continue
        shown = [(attempt.snapshots, config.views)]
        if previous is None:
            previous = attempt
            shown.insert(0, (attempt.snapshots[:1], config.start_views))
        for snapshots, views in shown:
            cameras = scenery.sample_cameras(
                rng,
                views,
                width=config.size,
                height=config.size,
                motion=demonstration.motion,
                scene=demonstration.scene,
            )
            cameras = [_widened(camera, rng, config) for camera in cameras]
            moments = _record(cell, renderer, attempt, snapshots, cameras)
            if len(moments):
                yield moments


def _widened(camera: Camera, rng: np.random.Generator, config: SampleConfig) -> Camera:
    """The camera with a wider lens, as labs mount them, or as it is."""
    if rng.random() >= config.wide_lens_share:
        return camera
    k, factor = camera.intrinsics, rng.uniform(config.widest_lens, 1.0)
    return replace(camera, intrinsics=replace(k, fx=factor * k.fx, fy=factor * k.fy))


def _run_expert(cell: Cell, rng: np.random.Generator, config: SampleConfig) -> Attempt | None:
    """Run to the end of the task and a little longer; None where the expert does not reach it."""
    expert = cell.task.expert()
    state = cell.state()
    attempt = Attempt(times_s=[], targets=[], closed=[], corners=[], snapshots=[])
    held = {
        arm: ArmCommand(T_world_tcp=state.arms[arm].T_world_tcp, gripper_width=_commanded_width(state, arm))
        for arm in ARMS
    }
    vias: dict[str, list[Array]] = {}
    ticks = round(config.longest_s / CONTROL_PERIOD_S)
    period = round(config.period_s / CONTROL_PERIOD_S)
    offset = int(rng.integers(period))
    rest = period  # the end looks much like the start: not more often than that
    for tick in range(ticks):
        done = expert.done(state)
        commands = {} if done else expert.command(state)
        held |= commands
        ahead = {} if done else expert.vias(state)
        for arm in ARMS:
            passed = len(vias.get(arm, [])) - len(ahead.get(arm, []))
            if passed > 0 and _continues(vias[arm], ahead.get(arm, [])):
                attempt.corners.extend((tick, arm, T) for T in vias[arm][:passed])
        vias = ahead
        attempt.times_s.append(state.time_s)
        attempt.targets.append(np.stack([held[arm].T_world_tcp for arm in ARMS]))
        attempt.closed.append(np.array([held[arm].gripper_width < HELD_WIDTH for arm in ARMS]))
        if tick == 0 or tick % period == offset:
            attempt.snapshots.append((tick, cell.snapshot()))
        if done:
            rest -= 1
            if rest == 0:
                return attempt if cell.success() else None
        state = cell.step(commands)
    return None


def _continues(before: list[Float[Array, "4 4"]], after: list[Float[Array, "4 4"]]) -> bool:
    """Whether a list of corners is the rest of another one: the path was followed, not given up for a new one."""
    return not after or np.allclose(before[-1], after[-1], atol=1e-3)


def _commanded_width(state: CellState, arm: str) -> float:
    return OPEN_WIDTH if state.arms[arm].gripper_width > HELD_WIDTH else 0.0


def _disturb(cell: Cell, rng: np.random.Generator, config: SampleConfig) -> None:
    """Bring the cell into a state that the expert would not have come to."""
    state = cell.state()
    arms = [arm for arm in ARMS if rng.random() < 0.6] or [ARMS[rng.integers(len(ARMS))]]
    commands: dict[str, ArmCommand] = {}
    for arm in arms:
        T_world_tcp = state.arms[arm].T_world_tcp
        size = rng.uniform(0, 1)
        shift = size * rng.uniform(-config.push_m, config.push_m, 3)
        turn = size * rng.uniform(-config.push_rad, config.push_rad, 3)
        T_pushed = T_world_tcp @ se3.exp(np.concatenate([np.zeros(3), turn]))
        T_pushed[:3, 3] = np.maximum(T_world_tcp[:3, 3] + shift, [0.2, -0.8, 0.03])
        width = _commanded_width(state, arm)
        if rng.random() < config.flip_share:
            width = OPEN_WIDTH - width  # closed on nothing, or dropped what it held
        commands[arm] = ArmCommand(T_world_tcp=T_pushed, gripper_width=width)
    for _ in range(int(rng.uniform(0.4, 2.0) / CONTROL_PERIOD_S)):
        cell.step(commands)


def _record(
    cell: Cell, renderer: Renderer, attempt: Attempt, snapshots: list[tuple[int, Snapshot]], cameras: list[Camera]
) -> Array:
    """Moments of an attempt as the cameras see them, with what comes next; see `data.moment_dtype`."""
    keyframes = _keyframes(attempt)
    moments = np.zeros(len(snapshots), moment_dtype(len(cameras), cameras[0].intrinsics.width))
    kept = 0
    for tick, snapshot in snapshots:
        moment = moments[kept]
        time_s, closed = attempt.times_s[tick], attempt.closed[tick]
        ahead = [keyframe for keyframe in keyframes if keyframe.time_s > time_s]
        if _closings(ahead, closed).max(initial=0) > 1:
            continue  # before a second try: its first one is no example, and has no slots
        state = cell.restore(snapshot)
        renderer.update(cell.data)
        for view, camera in enumerate(cameras):
            rgb, depth = renderer.rgbd(camera)
            moment["rgb"][view] = rgb
            moment["depth"][view] = np.where(depth < FARTHEST, np.round(depth / DEPTH_UNIT), 0)
            moment["label"][view] = renderer.labels(camera)
            moment["camera_matrix"][view] = camera.intrinsics.matrix
            moment["T_world_camera"][view] = camera.T_world_camera
        moment["time_s"] = time_s
        for i, arm in enumerate(ARMS):
            moment["T_world_tcp"][i] = state.arms[arm].T_world_tcp
            moment["gripper_width"][i] = state.arms[arm].gripper_width
            moment["joints"][i] = state.arms[arm].joints
        moment["keyframe_T_world_tcp"] = np.eye(4)
        moment["next_slot"] = NOW
        for slot, keyframe in zip(slots(ahead, closed), ahead, strict=True):
            if slot >= 0:
                moment["keyframe_T_world_tcp"][slot] = keyframe.T_world_tcp
                moment["keyframe_closed"][slot] = keyframe.closed
                moment["keyframe_duration_s"][slot] = keyframe.time_s - time_s
                moment["keyframe_known"][slot] = True
                moment["next_slot"] = min(moment["next_slot"], slot)
            time_s = keyframe.time_s
        kept += 1
    return moments[:kept]


def _keyframes(attempt: Attempt) -> list[Keyframe]:
    """The corners of both arms' paths and the gripper events, in the order of time.

    A gripper acts at the end of a path: the event and that corner are one keyframe.
    """
    keyframes: list[Keyframe] = []
    passed = {tick: (arm, T) for tick, arm, T in attempt.corners}
    for tick in range(1, len(attempt.times_s)):
        poses, closed = attempt.targets[tick].copy(), attempt.closed[tick]
        event = bool(np.any(closed != attempt.closed[tick - 1]))
        if tick in passed:
            arm, T_world_tcp = passed[tick]
            poses[ARMS.index(arm)] = T_world_tcp
        elif not event:
            continue
        keyframe = Keyframe(time_s=attempt.times_s[tick], T_world_tcp=poses, closed=closed)
        if event and keyframes and se3.distance(keyframes[-1].T_world_tcp, poses)[0].max() < _SAME_PLACE:
            keyframes.pop()
        keyframes.append(keyframe)
    return keyframes


_SAME_PLACE = 0.01
"""A gripper event so near to the corner before it [m] happens there."""


def _closings(keyframes: list[Keyframe], closed: Bool[Array, " a"]) -> Array:
    """How often each gripper will close."""
    states = np.stack([closed, *(keyframe.closed for keyframe in keyframes)])
    return (states[1:] & ~states[:-1]).sum(axis=0)
