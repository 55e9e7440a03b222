"""Scene coordinates at work: the pose of a camera from them, and how right both are."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array
from torch import Tensor

from robo4d import RgbdFrame
from robo4d.geometry import Pointmap, se3
from robo4d.geometry.procrustes import fit_robust
from robo4d.geometry.registration import Surface, register
from robo4d_models.video4d.coding import middle_square
from robo4d_models.video4d.scene_coordinates import (
    SceneCoordinates,
    SceneNetwork,
    SceneSample,
    SceneView,
    encode_view,
    true_places,
)

_PLACE_NOISE_M = 0.02
"""Expected error of good scene coordinates [m]."""


class Places(NamedTuple):
    """Scene coordinates of a view."""

    world: Float[Array, "n 3"]
    """Points in the world [m]."""
    camera: Float[Array, "n 3"]
    """The same points in the camera's frame [m]."""
    scale: Float[Array, " n"]
    """Expected distance of the former from the truth [m]."""

    def solve(self) -> Float[Array, "4 4"]:
        """T_world_camera, by robust Procrustes."""
        return fit_robust(self.world, self.camera, weights=1 / self.scale, noise_m=_PLACE_NOISE_M).T_a_b

    def joined(self, other: "Places", T_camera_other: Float[Array, "4 4"]) -> "Places":
        """Those of two views, as of this one's camera."""
        moved = other._replace(camera=se3.apply(T_camera_other, other.camera))
        return Places(*(np.concatenate(both) for both in zip(self, moved, strict=True)))


FindPlaces = Callable[[RgbdFrame], Places]
"""Tells scene coordinates."""


def places_by(network: SceneNetwork) -> FindPlaces:
    """Scene coordinates by a trained network."""

    @torch.no_grad()
    def find(frame: RgbdFrame) -> Places:
        seen = middle_square(frame)
        view = encode_view(seen.rgb, seen.depth, seen.intrinsics)
        return _places(view, network(view), 0)

    return find


@torch.no_grad()
def localiser_errors(network: SceneNetwork, sample: SceneSample) -> dict[str, Tensor]:
    """Distances from the truth: of places, of cameras as solved from them, and of registered ones.

    The last are of the second camera in the frame of the first, for each two views that follow each other.
    """
    found, truth = network(sample.view), sample.T_world_camera.double().cpu().numpy()
    distances = (found.points - true_places(sample)).norm(dim=1)
    places = [_places(sample.view, found, i) for i in range(len(truth))]
    Ts = np.stack([seen.solve() for seen in places])
    position, angle = se3.distance(Ts, truth)
    surfaces = [Surface.of_pointmap(pointmap) for pointmap in _pointmaps(sample.view)]
    relative = [
        se3.distance(
            register(surfaces[i], surfaces[i + 1], se3.inverse(Ts[i]) @ Ts[i + 1]).T_a_b,
            se3.inverse(truth[i]) @ truth[i + 1],
        )
        for i in range(0, len(Ts) - 1, 2)
    ]
    relative_position, relative_angle = np.array(relative).T
    return {
        "place_m": distances[sample.view.valid > 0],
        "camera_m": torch.from_numpy(position),
        "camera_deg": torch.from_numpy(np.rad2deg(angle)),
        "registered_m": torch.from_numpy(relative_position),
        "registered_deg": torch.from_numpy(np.rad2deg(relative_angle)),
    }


def _places(view: SceneView, found: SceneCoordinates, index: int) -> Places:
    """Those of one view of a batch."""
    seen = view.valid[index] > 0
    world, camera = (
        points[index].permute(1, 2, 0)[seen].double().cpu().numpy() for points in (found.points, view.points)
    )
    return Places(world, camera, found.scale[index][seen].double().cpu().numpy())


def _pointmaps(view: SceneView) -> list[Pointmap]:
    """What the network reads, as pointmaps."""
    points, valid = view.points.permute(0, 2, 3, 1).cpu().numpy(), view.valid.cpu().numpy() > 0
    return [Pointmap(points=p, valid=v, frame="camera") for p, v in zip(points, valid, strict=True)]
