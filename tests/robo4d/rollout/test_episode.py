import dataclasses

import numpy as np
import pytest

from robo4d.rollout.episode import run
from robo4d.rollout.generators import make_generator
from robo4d.rollout.results import Job, RolloutConfig
from robo4d.rollout.world import world
from robo4d.tracking.degrade import Degradation

TASK = "put_spatula_on_table"
ONE_LOOK = RolloutConfig(generator="oracle", max_looks=1)

pytestmark = pytest.mark.gl


def test_one_look_brings_the_gripper_to_the_spatula_and_is_told_on_a_page(tmp_path):
    page = tmp_path / "page.html"
    result = run(Job(TASK, 1_000_001, ONE_LOOK, page), lambda share: None)
    (look,) = result.looks
    assert (look.verdict, look.execution, look.fault) == ("ACCEPTED", "ok", None)
    assert (result.success, result.stage, result.solvable) == (False, "task", True)
    assert look.tracker_error_mm < 15
    state = world(TASK, ONE_LOOK).cell.state()
    spatula = state.T_world_body["spatula"][:3, 3]
    assert min(np.linalg.norm(arm.T_world_tcp[:3, 3] - spatula) for arm in state.arms.values()) < 0.12
    assert page.read_text().count('data-frames="10"') == 4  # two views, predicted and executed


def test_what_the_generator_tells_is_the_truth_when_it_is_the_oracle():
    (look,) = run(Job(TASK, 1_000_001, dataclasses.replace(ONE_LOOK, readout="plan_head")), lambda share: None).looks
    assert (look.verdict, look.execution) == ("ACCEPTED", "ok")
    assert look.tracker_error_mm == pytest.approx(0, abs=1e-6)


def test_the_oracles_video_is_degraded_as_asked():
    cell = world(TASK, ONE_LOOK).cell
    config = dataclasses.replace(ONE_LOOK, degrade_blur_px=1.0, degrade_misalignment_mm=30.0)
    degradation = make_generator(TASK, cell, config).config.degradation
    assert degradation == Degradation(blur_px=1.0, misalignment_m=0.03)
