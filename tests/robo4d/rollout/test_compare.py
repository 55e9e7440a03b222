import json

import pytest

from robo4d.cli import main
from robo4d.rollout.compare import compare, lost_by
from robo4d.rollout.results import EpisodeResult, RolloutConfig, summary

TASK = "put_spatula_on_table"


def rollout(solved, *, generator="oracle", readout="tracker", **config):
    """What the command writes for these outcomes, seed by seed."""
    given = RolloutConfig(generator=generator, readout=readout, **config)
    results = [
        EpisodeResult(config=given, task=TASK, seed=seed, success=bool(success), looks=(), time_s=1.0, cpu_s=1.0)
        for seed, success in enumerate(solved)
    ]
    return json.loads(json.dumps({**summary("all", results), "tasks": [summary(TASK, results)]}))


def test_each_start_is_laid_to_the_part_that_loses_it():
    shares = compare(
        [
            rollout([1, 0, 0, 0, 1], generator="tiny"),
            rollout([1, 1, 0, 0, 0]),
            rollout([1, 1, 1, 0], readout="plan_head"),
        ]
    )
    assert shares == {TASK: {"solved": 1, "video": 1, "tracker": 1, "planner or executor": 1}}


@pytest.mark.parametrize(
    ("readout", "with_truth", "part"),
    [
        ("tracker", {"tracker": False}, "tracker, planner or executor"),
        ("tracker", {"plan_head": True}, "video or tracker"),
        ("plan_head", {"plan_head": True}, "video"),
        ("plan_head", {"tracker": True}, "video"),
        ("fused", {"fused": False, "plan_head": True}, "tracker"),
    ],
)
def test_what_was_not_run_is_not_told_apart(readout, with_truth, part):
    assert lost_by(False, readout, with_truth) == part


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (rollout([1], generator="tiny"), "must be rollouts of the oracle, got tiny"),
        (rollout([1], max_looks=3), "different max_looks: 20, 3"),
        ({**rollout([1]), "tasks": []}, "no start in common"),
    ],
)
def test_rollouts_that_say_nothing_of_each_other_are_refused(other, said):
    with pytest.raises(ValueError, match=said):
        compare([rollout([1], generator="tiny"), other])


def test_the_command_prints_the_shares(tmp_path, capsys):
    for name, content in (("tiny", rollout([0, 1], generator="tiny")), ("oracle", rollout([1, 1]))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as exit_:
        main(["compare-rollouts", str(tmp_path / "tiny.json"), str(tmp_path / "oracle.json")])
    assert not exit_.value.code
    assert capsys.readouterr().out.split() == ["task", "starts", "solved", "video", TASK, "2", "1", "1"]
