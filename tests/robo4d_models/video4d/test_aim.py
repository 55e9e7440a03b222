import numpy as np
import pytest
import torch
from ball_world import BALL, TASK, above, moment, pair
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.aim import POINTS, Aim, AimConfig, Cloud, aim_errors, aim_losses, aimed, next_grasp
from robo4d_models.video4d.aim_batches import AimBatches
from robo4d_models.video4d.batches import Augmentation
from robo4d_models.video4d.data import NoSamples, SampleFolder
from robo4d_models.video4d.keyframes import NOW, SLOTS, KeyframePlan
from robo4d_models.video4d.rendering import square_view

from robo4d.geometry import se3

OPEN, HOLDING, EMPTY = np.array([0.08, 0.08]), np.array([0.045, 0.08]), np.array([0.0, 0.08])


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("grasps"), np.random.default_rng(0)
    for start in range(4):
        np.save(folder / f"{TASK}-{start}-0.npy", np.stack([moment(rng) for _ in range(40)]))

    def made(*, validation, length):
        kept = SampleFolder(folder, validation=validation)
        return AimBatches(kept, batch=16, seed=0, augmentation=None if validation else Augmentation(), length=length)

    return made


@pytest.fixture(scope="module")
def trained(batches):
    torch.manual_seed(0)
    model, steps = Aim(AimConfig(width=48)), batches(validation=False, length=70)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for i in range(len(steps)):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - i / len(steps))
        optimizer.zero_grad()
        sum(aim_losses(model, steps[i]).values()).backward()
        optimizer.step()
    return model.eval()


def test_grasps_are_aimed_at_what_is_seen(trained, batches):
    with torch.no_grad():
        errors = aim_errors(trained, batches(validation=True, length=1)[0])
    assert errors["planned_mm"].median() > 12
    assert errors["aimed_mm"].median() < 0.5 * errors["planned_mm"].median()


def plan(*grasps):
    """One that grasps with the left arm from 30 cm above, and lifts."""
    poses = np.stack([np.stack([T, np.eye(4)]) for p in grasps for T in (above(p, 0.3), above(p, 0.1), above(p, 0.0))])
    poses = np.concatenate([poses, poses[:1]])
    return KeyframePlan(
        T_world_tcp=poses,
        closed=np.array([[False, False], [False, False], [True, False], [True, False]]),
        times_s=np.arange(1.0, 5.0),
        slots=np.arange(SLOTS - 4, SLOTS),
        next_probability=np.eye(NOW + 1)[SLOTS - 4],
        T_world_tcp_now=poses[0],
    )


def test_the_approach_moves_with_the_grasp_and_what_is_farther_stays(trained):
    views = [square_view(frame, 64) for frame in (pair(64).n, pair(64).m)]
    planned = plan(BALL + np.array([0.03, 0.0, 0.0]))
    (found,) = aimed([planned], trained, views, OPEN, TASK)
    moved = found.T_world_tcp[:, 0, :3, 3] - planned.T_world_tcp[:, 0, :3, 3]
    np.testing.assert_allclose(moved[1], moved[2])
    assert np.linalg.norm(found.T_world_tcp[2, 0, :3, 3] - BALL) < 0.018
    np.testing.assert_array_equal(moved[[0, 3]], 0)
    np.testing.assert_array_equal(found.T_world_tcp[:, 1], planned.T_world_tcp[:, 1])


def test_a_grasp_of_what_must_be_carried_first_is_not_aimed(trained):
    views = [square_view(frame, 64) for frame in (pair(64).n, pair(64).m)]
    planned = plan(BALL)
    assert aimed([planned], trained, views, HOLDING, TASK) == [planned]


@pytest.mark.parametrize(
    ("widths", "closed", "grasp"),
    [
        (OPEN, [[0, 0], [1, 0], [0, 0], [0, 1]], (1, 0)),
        (OPEN, [[0, 0], [0, 0]], None),
        (HOLDING, [[1, 0], [0, 0], [0, 1]], None),  # carried to the other arm first
        (EMPTY, [[0, 0], [1, 0]], (1, 0)),  # closed on nothing, and tried again
        (HOLDING, [[1, 1]], (0, 1)),
    ],
)
def test_the_next_grasp_is_of_what_lies_where_it_is_now(widths, closed, grasp):
    assert next_grasp(widths, np.array(closed, bool)) == grasp


def test_points_are_told_in_the_frame_of_the_hand():
    views = [square_view(frame, 64) for frame in (pair(64).n, pair(64).m)]
    T_world_tcp = above(BALL, 0.02)
    points, _, valid = Cloud.of(views).around(T_world_tcp, np.random.default_rng(0))
    assert points.shape == (POINTS, 3)
    seen = points[valid > 0]
    assert len(seen) > 50
    assert np.linalg.norm(seen, axis=-1).max() <= 0.1001
    world = se3.apply(T_world_tcp, seen.astype(float))
    on_ball = np.abs(np.linalg.norm(world - BALL, axis=-1) - 0.06) < 1e-3
    assert np.all(on_ball | (np.abs(world[:, 2]) < 1e-3))


def test_where_nothing_is_seen_plans_are_finite(trained):
    far = plan(BALL + np.array([0.0, 5.0, 0.0]))
    views = [square_view(frame, 64) for frame in (pair(64).n, pair(64).m)]
    (found,) = aimed([far], trained, views, OPEN, TASK)
    assert np.abs(found.T_world_tcp - far.T_world_tcp).max() < 0.03


def test_weights_are_read_back_and_those_of_another_model_refused(trained, tmp_path):
    file = tmp_path / "aim.safetensors"
    checkpoints.save_weights(file, dict(trained.named_parameters()), {"width": 48, "heads": 4})
    loaded = Aim.load(file)
    for name, value in trained.named_parameters():
        assert torch.equal(loaded.get_parameter(name), value)
    checkpoints.save_weights(file, {"nothing": torch.zeros(1)}, {"width": 48, "heads": 4})
    with pytest.raises(ValueError, match="weights of another model"):
        Aim.load(file)


def test_samples_without_a_grasp_are_refused_with_what_to_do(tmp_path):
    done = moment(np.random.default_rng(0))
    done["keyframe_known"][:] = False
    np.save(tmp_path / f"{TASK}-1-0.npy", np.stack([done]))
    with pytest.raises(NoSamples, match="make-samples"):
        AimBatches(SampleFolder(tmp_path), batch=1, seed=0, augmentation=Augmentation(), length=1)[0]
