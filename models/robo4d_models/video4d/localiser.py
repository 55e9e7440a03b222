"""Where the cameras are, from what they see: generation without calibrated cameras.

scene coordinates -> pose of each view, robustly -> both views laid on each other -> both laid on the robot's CAD

The network knows the cell, to centimetres. The surfaces of both views, registered, agree to less than a millimetre.
And where the robot tells its joints, its own arms are a calibration body that is always in the picture.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d import RgbdFrame, RgbdPair
from robo4d.geometry import Camera, Intrinsics, Pointmap, se3
from robo4d.geometry.registration import Surface, overlap, register
from robo4d.health import Health, Level
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import RobotState, resize_nearest
from robo4d_models.video4d.places import FindPlaces, places_by
from robo4d_models.video4d.robot_model import ARM_PARTS, RobotModel, gripper_poses
from robo4d_models.video4d.scene_coordinates import FARTHEST_M, SceneConfig, SceneNetwork

LEAST_OVERLAP = 0.5
"""Share of view m's points that must have a partner in view n, where the robot does not tell its joints."""
LEAST_ROBOT_OVERLAP = 0.9
"""Share of the robot's points that must have a partner in each view; of right poses, nearly all have."""
_HEALTH = "places of the cameras"
_SURFACE_SIZE = 96
"""Shorter side of the images whose points are registered [px]; closer pixels give noisier normals."""
_FEWEST_POINTS = 150
"""Of a scene or a robot that counts as seen."""
_LOOKS = 2
"""Times that the robot is drawn from where the cameras are thought to be, and registered."""


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """Where the cameras are, and how far that may be believed."""

    T_world_n: Float[Array, "4 4"]
    T_world_m: Float[Array, "4 4"]
    overlap: float
    """Share of view m's points that have a partner in view n; see `robo4d.geometry.registration`."""
    robot_overlap: float | None
    """Share of the robot's points, as its joints have them, that have a partner, in the view where it is less: 0
    where it is out of sight. None if it does not tell its joints."""

    def health(self, pair: RgbdPair) -> Health:
        """How far the poses may be believed that were found for a pair; an error where they may not be used."""
        values = {"overlap": self.overlap}
        if self.robot_overlap is None:
            share, least = self.overlap, LEAST_OVERLAP
            what = f"{pair.m.camera}'s points are where {pair.n.camera} sees them"
        else:
            values["robot_overlap"] = self.robot_overlap
            share, least = self.robot_overlap, LEAST_ROBOT_OVERLAP
            what = "the robot's points are seen where its joints have them"
        lost = " and ".join(frame.camera for frame in (pair.n, pair.m) if frame.T_world_camera is None)
        if share >= least:
            message = f"the pose of {lost} is found: {share:.0%} of {what}"
            return Health(name=_HEALTH, level=Level.OK, message=message, values=values)
        message = (
            f"the pose of {lost} is unknown, and the images do not tell it: {share:.0%} of {what}, at least "
            f"{least:.0%} are needed; publish it on tf, or look from where both views show the robot"
        )
        return Health(name=_HEALTH, level=Level.ERROR, message=message, values=values)


class Localiser:
    """Finds the poses of cameras.

    Args:
        find_places: Scene coordinates of a view.
        robot: Of each arm and its gripper.
    """

    def __init__(self, find_places: FindPlaces, robot: RobotModel) -> None:
        self._find_places, self._robot = find_places, robot
        self.health: Health | None = None
        """How sure the poses are that were told last; None where they were known."""

    @classmethod
    def load(cls, weights: Path, robot: RobotModel) -> "Localiser":
        """The localiser with the weights that `robo4d train --part localiser` wrote.

        Raises:
            ValueError: there is no such file, or it is not of this model.
        """
        values, sizes = checkpoints.load_weights(weights)
        network = SceneNetwork(SceneConfig(widths=tuple(sizes["widths"]), layers=sizes["layers"]))
        checkpoints.fill(network, values, weights)
        return cls(places_by(network.eval()), robot)

    def place(self, pair: RgbdPair, state: RobotState | None) -> RgbdPair:
        """The pair with the poses of both cameras; the very same one where they are known.

        Raises:
            ValueError: the views do not show enough to be sure.
        """
        self.health = None
        if pair.n.T_world_camera is not None and pair.m.T_world_camera is not None:
            return pair
        found = self.localise(pair, state)
        self.health = found.health(pair)
        if self.health.level is Level.ERROR:
            raise ValueError(self.health.message)
        n, m = replace(pair.n, T_world_camera=found.T_world_n), replace(pair.m, T_world_camera=found.T_world_m)
        return replace(pair, n=n, m=m)

    def localise(self, pair: RgbdPair, state: RobotState | None) -> Localisation:
        """The poses of both cameras. The one that is known, if there is one, stays.

        Raises:
            ValueError: a view shows too little to fix a pose.
        """
        frames, known = (pair.n, pair.m), (pair.n.T_world_camera, pair.m.T_world_camera)
        arms = _parts(self._robot, state)
        sizes = [_surface_intrinsics(frame.intrinsics) for frame in frames]
        surfaces = [Surface.of_pointmap(_sampled(frame, size)) for frame, size in zip(frames, sizes, strict=True)]
        for frame, surface in zip(frames, surfaces, strict=True):
            if len(surface.points) < _FEWEST_POINTS:
                raise ValueError(
                    f"{frame.camera}: its pose is asked of an image with {len(surface.points)} points up to "
                    f"{FARTHEST_M:g} m away, at least {_FEWEST_POINTS} are needed: check its depth stream"
                )
        places = [self._find_places(frame) for frame in frames]
        (T_world_n, on_robot), (T_world_m, _) = (
            self._on_robot(arms, surface, seen.solve(), [(size, np.eye(4))]) if T is None else (T, 1.0)
            for T, surface, seen, size in zip(known, surfaces, places, sizes, strict=True)
        )
        target = surfaces[0]
        if (
            on_robot is not None and on_robot >= LEAST_ROBOT_OVERLAP
        ):  # then it joins views that have little else in common
            robot = self._drawn(arms, [Camera(intrinsics=sizes[1], T_world_camera=T_world_m)])
            target = target.joined(robot.moved(se3.inverse(T_world_n)))
        T_n_m = register(target, surfaces[1], se3.inverse(T_world_n) @ T_world_m).T_a_b
        if known[0] is None:
            T_world_n = (
                T_world_m @ se3.inverse(T_n_m) if known[1] is not None else places[0].joined(places[1], T_n_m).solve()
            )
        scene, cameras = surfaces[0].joined(surfaces[1].moved(T_n_m)), list(zip(sizes, (np.eye(4), T_n_m), strict=True))
        if known[0] is None and known[1] is None:
            T_world_n, _ = self._on_robot(arms, scene, T_world_n, cameras)
        T_world_m = T_world_n @ T_n_m if known[1] is None else known[1]
        shares: list[float] = []
        for surface, size, T in zip(surfaces, sizes, (T_world_n, T_world_m), strict=True):
            robot = self._drawn(arms, [Camera(intrinsics=size, T_world_camera=T)])
            if len(robot.points) >= _FEWEST_POINTS:
                shares.append(overlap(surface.moved(T), robot, np.eye(4)))
        in_sight = len(shares) == len(frames)
        return Localisation(
            T_world_n=T_world_n,
            T_world_m=T_world_m,
            overlap=overlap(surfaces[0], surfaces[1], T_n_m),
            robot_overlap=(min(shares) if in_sight else 0.0) if arms else None,
        )

    def _on_robot(
        self,
        arms: list[dict[str, Float[Array, "4 4"]]],
        scene: Surface,
        T_world_n: Float[Array, "4 4"],
        cameras: list[tuple[Intrinsics, Float[Array, "4 4"]]],
    ) -> tuple[Float[Array, "4 4"], float | None]:
        """T_world_n by which a scene in frame n, seen by cameras at T_n_camera, shows the robot where it is.

        Returns:
            It, and the share of the robot's points that are seen; the pose as it was where they are too few, and None
            where none should be seen.
        """
        T_found, share = T_world_n, None
        for _ in range(_LOOKS if arms else 0):
            robot = self._drawn(arms, [Camera(intrinsics=k, T_world_camera=T_found @ T) for k, T in cameras])
            if len(robot.points) < _FEWEST_POINTS:
                return T_world_n, None
            found = register(scene.moved(T_found), robot, np.eye(4))
            T_found, share = se3.inverse(found.T_a_b) @ T_found, found.overlap
        return (T_world_n if share is None or share < LEAST_ROBOT_OVERLAP else T_found), share

    def _drawn(self, arms: list[dict[str, Float[Array, "4 4"]]], cameras: list[Camera]) -> Surface:
        """The robot in the world, as far as cameras would see it."""
        robot = Surface.none()
        for camera in cameras:
            drawn = Pointmap.from_depth(self._robot.see(camera, arms).depth, camera.intrinsics, frame="camera")
            robot = robot.joined(Surface.of_pointmap(drawn).moved(camera.T_world_camera))
        return robot


def _parts(robot: RobotModel, state: RobotState | None) -> list[dict[str, Float[Array, "4 4"]]]:
    """T_world_part of each arm; of none where the joints are not known."""
    if state is None or state.joints is None:
        return []
    return [
        gripper_poses(T, float(width)) | dict(zip(ARM_PARTS, robot.follow(T[None], joints)[0], strict=True))
        for T, width, joints in zip(state.T_world_tcp, state.gripper_width, state.joints, strict=True)
    ]


def _surface_intrinsics(k: Intrinsics) -> Intrinsics:
    """Of the images whose points are registered."""
    scale = _SURFACE_SIZE / min(k.width, k.height)
    return k.resized(width=round(scale * k.width), height=round(scale * k.height))


def _sampled(frame: RgbdFrame, k: Intrinsics) -> Pointmap:
    """A frame's points at another size, each where its own pixel saw it."""
    own = frame.pointmap()
    points, valid = (resize_nearest(image, k.height, k.width) for image in (own.points, own.valid))
    return Pointmap(points=points, valid=valid & (points[..., 2] < FARTHEST_M), frame=own.frame)
