import pytest
from robo4d_ros.bringup import graph
from robo4d_ros.generator_node import GeneratorConfig
from robo4d_ros.rollout import launch_arguments, node_parameters, run_over_ros

from robo4d.rollout.results import Job, RolloutConfig

TASK = "put_spatula_on_table"


def test_the_nodes_are_started_as_the_rollout_was_asked_for():
    told = graph.parse(launch_arguments(TASK, RolloutConfig(generator="tiny", readout="plan_head", ros=True)))
    assert (told.task, told.generator, told.readout, told.auto_approve) == (TASK, "tiny", "plan_head", True)


def test_the_oracle_is_degraded_as_in_one_process():
    config = RolloutConfig(generator="oracle", degrade_mm=5.0, degrade_blur_px=1.0, degrade_misalignment_deg=2.0)
    told = node_parameters(config)["/**/generator"]["ros__parameters"]
    assert GeneratorConfig(generator="oracle", **told).degradation == config.degradation


def test_candidates_are_refused_before_anything_is_started():
    with pytest.raises(ValueError, match="leave out --candidates, or --ros"):
        run_over_ros([Job(TASK, 1, RolloutConfig(candidates=2, ros=True))], print, print)
