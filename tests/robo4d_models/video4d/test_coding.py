import dataclasses

import numpy as np
import pytest
import torch
from ball_world import BALL, RADIUS, TASK, pair
from hypothesis import given, settings
from hypothesis import strategies as st
from robo4d_models.video4d.coding import (
    denormalise,
    encode_pair,
    in_workspace,
    normalise,
    resize_nearest,
    rotation_from_6d,
    rotation_to_6d,
)
from scipy.spatial.transform import Rotation

from robo4d import RgbdPair


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_a_rotation_is_what_its_code_decodes_to(seed):
    R = torch.from_numpy(Rotation.random(5, random_state=seed).as_matrix())
    torch.testing.assert_close(rotation_from_6d(3.0 * rotation_to_6d(R)), R)


def test_denormalising_undoes_normalising():
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denormalise(normalise(points)), points)


def test_both_views_see_the_ball_at_one_place_in_the_world():
    observation = encode_pair(pair(90), task=TASK, state=None)
    red = observation.rgb[0, :, 0] - observation.rgb[0, :, 1] > 0.5
    for view in range(2):
        points = observation.points[0, view][:, red[view]]
        distance = (points - torch.tensor(BALL)[:, None]).norm(dim=0)
        torch.testing.assert_close(distance, torch.full_like(distance, RADIUS), atol=1e-4, rtol=0)


def test_pixels_that_are_kept_keep_their_exact_points():
    full, half = pair(64).n, encode_pair(pair(64), task=TASK, state=None, size=24).points[0, 0]
    points = full.intrinsics.backproject(full.depth) @ full.T_world_camera[:3, :3].T + full.T_world_camera[:3, 3]
    np.testing.assert_allclose(half.permute(1, 2, 0), resize_nearest(points, 24, 24), atol=1e-4)


def test_of_a_wide_image_the_middle_square_is_read():
    def widened(frame):
        k = frame.intrinsics
        return dataclasses.replace(
            frame,
            rgb=np.pad(frame.rgb, ((0, 0), (16, 16), (0, 0))),
            depth=np.pad(frame.depth, ((0, 0), (16, 16))),
            intrinsics=dataclasses.replace(k, width=k.width + 32, cx=k.cx + 16),
        )

    narrow = pair(64)
    wide = RgbdPair(n=widened(narrow.n), m=widened(narrow.m))
    expected, got = (encode_pair(views, task=TASK, state=None, size=32) for views in (narrow, wide))
    torch.testing.assert_close(got.points, expected.points)
    torch.testing.assert_close(got.rgb, expected.rgb)


def test_what_lies_outside_of_the_workspace_is_not_valid():
    points = torch.tensor([[0.5, 0.0, 0.3], [0.5, 0.0, 1.3]]).T[:, None]
    assert in_workspace(points).tolist() == [[1.0, 0.0]]


def test_a_camera_without_a_pose_is_refused_by_name():
    known = pair(16)
    unknown = dataclasses.replace(known.m, T_world_camera=None)
    with pytest.raises(ValueError, match="camera_1: the camera's pose is unknown; publish it on tf"):
        encode_pair(RgbdPair(n=known.n, m=unknown), task=TASK, state=None)


@pytest.mark.parametrize("depth", [0.0, np.nan, 1000.0])
def test_a_camera_that_does_not_see_the_workspace_is_refused_by_name(depth):
    known = pair(16)
    blind = dataclasses.replace(known.m, depth=np.full_like(known.m.depth, depth))
    with pytest.raises(ValueError, match=r"camera_1: 0% of its pixels .* check its depth stream"):
        encode_pair(RgbdPair(n=known.n, m=blind), task=TASK, state=None)


def test_an_unknown_task_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="put_spatula_on_table"):
        encode_pair(pair(16), task="make_coffee", state=None)
