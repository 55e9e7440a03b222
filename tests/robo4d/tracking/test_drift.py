import dataclasses
import math

import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.geometry.procrustes import Alignment
from robo4d.health import Level
from robo4d.rgbd import RgbdPair
from robo4d.tracking.drift import DriftLimits, drift

T_N_M = se3.exp(np.array([0.5, 0.1, 0.2, 0.0, 0.6, 0.0]))
AGREES = Alignment(T_a_b=T_N_M, residual_m=0.008, inlier_share=0.9, inlier_rms_m=0.006)


def pair(T_n_m=T_N_M):
    seen, T_world_n = RgbdPair.example(), se3.exp(np.array([1.0, 0.0, 0.5, 0.3, 0.0, 0.1]))
    n = dataclasses.replace(seen.n, camera="n", T_world_camera=T_world_n)
    T_world_m = None if T_n_m is None else T_world_n @ T_n_m
    return RgbdPair(n=n, m=dataclasses.replace(seen.m, camera="m", T_world_camera=T_world_m))


def told(calibration, seen=None):
    return drift(calibration, seen or pair(), DriftLimits())


def test_a_video_that_agrees_with_tf_is_well_and_its_figures_are_told():
    health = told(AGREES)
    assert (health.level, health.message) == (Level.OK, "ok")
    assert health.values["cross_view_residual_m"] == 0.008
    assert health.values["difference_from_tf_m"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("motion", "said"),
    [((0.05, 0, 0, 0, 0, 0), "50 mm and 0.0 deg from"), ((0, 0, 0, 0, math.radians(3), 0), "0 mm and 3.0 deg from")],
)
def test_a_camera_that_was_moved_is_named_with_the_fix(motion, said):
    health = told(AGREES, pair(T_N_M @ se3.exp(np.array(motion))))
    assert health.level is Level.WARN
    assert f"the video has m {said} where tf has it" in health.message
    assert health.message.endswith("recalibrate m against n, or check its depth")


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (dataclasses.replace(AGREES, residual_m=0.04), "40 mm off those that it measures, allowed are 30 mm"),
        (dataclasses.replace(AGREES, inlier_share=0.1), "only 10% of the points of m agree on one pose of it"),
        (None, "fix no pose of it, so that it is not used"),
    ],
)
def test_a_view_that_disagrees_is_not_dropped_in_silence(calibration, said):
    health = told(calibration)
    assert health.level is Level.WARN
    assert said in health.message


def test_without_a_pose_on_tf_the_views_are_compared_with_each_other_alone():
    health = told(AGREES, pair(None))
    assert health.level is Level.OK
    assert set(health.values) == {"cross_view_residual_m", "inlier_share"}
