import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ball_world import BALL, above, pair, plates
from robo4d_models.evaluate import evaluate
from robo4d_models.video4d import camera_quality, checkpoints
from robo4d_models.video4d.batches import Augmentation
from robo4d_models.video4d.coding import RobotState
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.localiser import LEAST_OVERLAP, Localisation, Localiser
from robo4d_models.video4d.places import Places, localiser_errors, places_by
from robo4d_models.video4d.scene_coordinates import (
    SIZE,
    SceneBatches,
    SceneConfig,
    SceneNetwork,
    encode_view,
    scene_losses,
    true_places,
)

from robo4d import se3
from robo4d.health import Level

SMALL = SceneConfig(widths=(16, 32), layers=1)
PAIR = pair(96)
TRUE = {frame.camera: frame.T_world_camera for frame in (PAIR.n, PAIR.m)}
LOST = replace(PAIR, n=replace(PAIR.n, T_world_camera=None), m=replace(PAIR.m, T_world_camera=None))

HERE = np.eye(4)


def knowing(off=HERE, noise_m=0.0, wrong=0.0):
    """Scene coordinates as from a network: of a world that is moved by `off`, with noise, and a share of wrong ones."""

    def find(frame):
        rng = np.random.default_rng(0)
        camera = frame.pointmap().cloud().astype(float)[::5]
        world = se3.apply(off @ TRUE[frame.camera], camera) + rng.normal(0, noise_m, camera.shape)
        world[rng.random(len(world)) < wrong] += [0.5, 0.2, 0.3]
        return Places(world, camera, np.full(len(camera), 0.02))

    return find


@pytest.mark.parametrize(("noise_m", "wrong", "most_m"), [(0, 0, 1e-6), (0.01, 0, 0.004), (0.01, 0.3, 0.008)])
def test_a_camera_is_solved_from_its_places(noise_m, wrong, most_m):
    found = knowing(noise_m=noise_m, wrong=wrong)(LOST.n).solve()
    assert se3.distance(found, TRUE["camera_0"])[0] < most_m


def test_sure_places_count_for_more():
    places = knowing()(LOST.n)
    world, scale = places.world.copy(), places.scale.copy()
    world[::2] += [0.0, 0.05, 0.0]
    scale[::2] = 1.0
    assert se3.distance(places._replace(world=world, scale=scale).solve(), TRUE["camera_0"])[0] < 0.003
    assert se3.distance(places._replace(world=world).solve(), TRUE["camera_0"])[0] > 0.02


def test_a_pair_whose_poses_are_known_is_left_as_it_is():
    assert Localiser(knowing(), plates()).place(PAIR, None) is PAIR


def test_both_cameras_are_placed():
    placed = Localiser(knowing(noise_m=0.01), plates()).place(LOST, None)
    for frame in (placed.n, placed.m):
        metres, radians = se3.distance(frame.T_world_camera, TRUE[frame.camera])
        assert metres < 0.01
        assert radians < np.deg2rad(1)


def test_how_sure_the_poses_are_is_told_with_them():
    localiser = Localiser(knowing(), plates())
    localiser.place(LOST, None)
    assert localiser.health.level is Level.OK
    assert localiser.health.values["overlap"] > LEAST_OVERLAP
    localiser.place(PAIR, None)
    assert localiser.health is None


@pytest.mark.parametrize("name", ["n", "m"])
def test_a_camera_that_is_known_stays_and_places_the_other(name):
    half = replace(LOST, **{name: getattr(PAIR, name)})
    found = Localiser(knowing(), plates()).localise(half, None)
    np.testing.assert_array_equal(getattr(found, f"T_world_{name}"), getattr(PAIR, name).T_world_camera)
    assert se3.distance(found.T_world_n, TRUE["camera_0"])[0] < 0.003
    assert se3.distance(found.T_world_m, TRUE["camera_1"])[0] < 0.003


def test_views_that_do_not_meet_are_refused_with_what_to_do():
    def confused(frame):
        return knowing(off=se3.translation(2.0 * (frame.camera == "camera_1"), 0, 0))(frame)

    localiser = Localiser(confused, plates())
    with pytest.raises(ValueError, match=r"camera_0 and camera_1 is unknown.*publish it on tf, or look from where"):
        localiser.place(LOST, None)
    assert localiser.health.level is Level.ERROR
    assert localiser.health.values["overlap"] < LEAST_OVERLAP


def test_where_the_joints_are_known_the_robot_tells_how_sure_the_poses_are():
    found = Localisation(T_world_n=np.eye(4), T_world_m=np.eye(4), overlap=0.3, robot_overlap=0.95).health(LOST)
    assert found.level is Level.OK
    assert found.values == {"overlap": 0.3, "robot_overlap": 0.95}
    found = Localisation(T_world_n=np.eye(4), T_world_m=np.eye(4), overlap=0.9, robot_overlap=0.5).health(LOST)
    assert found.level is Level.ERROR
    assert "50% of the robot's points are seen" in found.message


def test_a_view_without_depth_is_refused_by_name():
    blind = replace(LOST, n=replace(LOST.n, depth=np.zeros_like(LOST.n.depth)))
    with pytest.raises(ValueError, match=r"camera_0.*check its depth stream"):
        Localiser(places_by(SceneNetwork(SMALL).eval()), plates()).place(blind, None)


def test_the_network_learns_where_pixels_are(samples):
    torch.manual_seed(0)
    network = SceneNetwork(SMALL)
    batch = SceneBatches(SampleFolder(samples), batch=4, seed=0, augmentation=None, length=1)[0]
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    before = localiser_errors(network, batch)["place_m"].median()
    for _ in range(60):
        optimizer.zero_grad()
        scene_losses(network, batch)["place"].backward()
        optimizer.step()
    errors = localiser_errors(network, batch)
    assert errors["place_m"].median() < 0.25 * before
    assert errors["camera_m"].shape == (4,)
    assert errors["registered_m"].shape == (2,)


def test_what_is_stored_and_what_a_camera_sees_are_read_alike(samples):
    batches = SceneBatches(SampleFolder(samples), batch=2, seed=0, augmentation=Augmentation(), length=1)
    places = true_places(batches[0])
    seen = batches[0].view.valid > 0
    assert places[:, 2][seen].abs().median() < 0.005  # most of it is the plane z = 0
    view = encode_view(LOST.n.rgb, LOST.n.depth, LOST.n.intrinsics)
    assert view.points.shape == (1, 3, SIZE, SIZE)
    height = se3.apply(TRUE["camera_0"], view.points[0].permute(1, 2, 0).double().numpy())[..., 2]
    assert np.median(np.abs(height)) < 1e-4


def test_places_are_told_in_float32_under_autocast(samples):
    torch.manual_seed(0)
    network = SceneNetwork(SMALL)
    sample = SceneBatches(SampleFolder(samples), batch=2, seed=0, augmentation=None, length=1)[0]
    places, found = true_places(sample), network(sample.view).points
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(true_places(sample), places)
        rounded = network(sample.view).points
    assert (rounded == rounded.bfloat16().float()).float().mean() < 0.1
    assert (rounded - found).norm(dim=1).median() < 0.005


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "localiser.safetensors"
    checkpoints.save_weights(path, {"a": torch.zeros(1)}, {"widths": [16, 32], "layers": 1})
    with pytest.raises(ValueError, match="another model"):
        Localiser.load(path, plates())


def test_state_without_joints_needs_no_robot_in_sight():
    state = RobotState(T_world_tcp=np.stack([above(BALL, 0.3)] * 2), gripper_width=np.full(2, 0.08))
    assert Localiser(knowing(), plates()).localise(LOST, state).robot_overlap is None


class Knowing(Localiser):
    """In place of a localiser: knows the cameras of all samples, and puts camera n off by a metre where the joints are
    unknown."""

    def __init__(self, samples):
        moments = [moment for path in samples.glob("*.npy") for moment in np.load(path)]
        self._known = {m["rgb"][v].tobytes(): m["T_world_camera"][v].astype(float) for m in moments for v in range(2)}

    def localise(self, pair, state):
        T_world_n, T_world_m = (self._known[frame.rgb.tobytes()] for frame in (pair.n, pair.m))
        assert pair.n.T_world_camera is pair.m.T_world_camera is None
        if state.joints is None:
            off = se3.translation(1.0, 0, 0)
            return Localisation(T_world_n=off @ T_world_n, T_world_m=off @ T_world_m, overlap=0.0, robot_overlap=None)
        return Localisation(T_world_n=T_world_n, T_world_m=T_world_m, overlap=1.0, robot_overlap=1.0)


def test_cameras_are_measured_against_the_truth_in_each_case(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(camera_quality.Localiser, "load", lambda *_: Knowing(samples))
    evaluate(checkpoint="tiny", data=samples, clips=4, cameras=True, json_file=tmp_path / "cameras.jsonl")
    unknown, known, _ = map(json.loads, (tmp_path / "cameras.jsonl").read_text().splitlines())
    assert unknown["camera_mm"] == pytest.approx(1000, abs=1e-3)
    assert unknown["work_mm"] == pytest.approx(1000, abs=1e-3)
    assert unknown["second_mm"] == pytest.approx(0, abs=1e-3)
    assert (unknown["accepted"], unknown["accepted_right"]) == (0.0, None)
    assert known["camera_mm"] == pytest.approx(0, abs=1e-3)
    assert known["accepted"] == known["accepted_right"] == known["second_right"] == 1
