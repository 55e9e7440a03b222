import dataclasses

import numpy as np
import pytest
import torch
from ball_world import AWAY, BALL, RADIUS, TASK, above, pair, plates, see
from robo4d_models.video4d.coding import RobotState, resize_nearest
from robo4d_models.video4d.keyframes import NOW, SLOTS, KeyframePlan
from robo4d_models.video4d.localiser import Localiser
from robo4d_models.video4d.pipeline import TinyConfig, TinyGenerator
from robo4d_models.video4d.places import Places
from robo4d_models.video4d.plan_model import PlanModel, PlanModelConfig
from robo4d_models.video4d.planning import KeyframePlanner
from robo4d_models.video4d.refiner import Refiner, RefinerConfig
from robo4d_models.video4d.svd.model import SvdModel

from robo4d import RgbdPair, shipped
from robo4d.geometry import Camera, Intrinsics, se3
from robo4d.interfaces import Cancelled, GeneratesBatches

START = RobotState(T_world_tcp=np.stack([above(BALL, 0.3), AWAY]), gripper_width=np.array([0.08, 0.08]))
CONFIG = TinyConfig(frames=4, size=64)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    model = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64))
    torch.nn.init.normal_(model.flow.out.weight, std=0.1)
    refiner = Refiner(RefinerConfig(widths=(16, 24, 32), joint_layers=1)).eval()
    return TinyGenerator(KeyframePlanner(model, TASK), refiner, plates(), state=lambda stamp_ns: START, config=CONFIG)


def grasp_and_lift():
    poses = np.stack([np.stack([T, AWAY]) for T in (above(BALL, 0.03), above(BALL, 0.23))])
    return KeyframePlan(
        T_world_tcp=poses,
        closed=np.array([[True, False], [True, False]]),
        times_s=np.array([0.9, 1.9]),  # the arms are there 0.1 s later
        slots=np.array([SLOTS - 6, SLOTS - 1]),
        next_probability=np.eye(NOW + 1)[SLOTS - 6],
        T_world_tcp_now=START.T_world_tcp,
    )


def red(video, view, t):
    colours = video.rgb[view, t].astype(int)
    return (colours[..., 0] - colours[..., 1] > 100) & video.valid[view, t]


def test_both_views_of_a_video_show_the_ball_where_the_plan_puts_it(generator):
    observation = pair(64)
    video = generator.render(observation, grasp_and_lift())
    for t, rise in enumerate((0.0, 0.0, 0.0, 0.2)):  # the hand stands while it closes
        for view in range(2):
            points = se3.apply(observation.n.T_world_camera, video.points[view, t][red(video, view, t)])
            distance = np.linalg.norm(points - (BALL + np.array([0, 0, rise])), axis=-1)
            assert np.median(distance) == pytest.approx(RADIUS, abs=0.01)


def test_a_video_is_decided_by_its_seed(generator):
    observation = pair(64)
    a, b, c = (generator.generate(observation, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.rgb, b.rgb)
    assert a.frame == "camera_0"
    assert not np.array_equal(a.points, c.points)


def painting_refiner():
    """One whose pictures are not its drafts."""
    torch.manual_seed(1)
    refiner = Refiner(RefinerConfig(widths=(16, 24, 32), joint_layers=1)).eval()
    torch.nn.init.normal_(refiner.readout.weight, std=0.05)
    return refiner


def assert_same_video(a, b):
    """Up to the rounding of sums, which takes a pixel in a thousand for another surface at most."""
    differ = (np.abs(a.points - b.points).max(axis=-1) > 1e-4) | (a.valid != b.valid)
    assert differ.mean() < 1e-3
    assert (np.abs(a.rgb.astype(int) - b.rgb) > 1).mean() < 1e-3
    assert (a.frame, a.stamp_ns) == (b.frame, b.stamp_ns)


@pytest.mark.parametrize("state", [START, None])
def test_the_futures_of_a_batch_are_those_of_their_seeds(generator, state):
    batched = TinyGenerator(generator.planner, painting_refiner(), plates(), state=lambda _: state, config=CONFIG)
    assert isinstance(batched, GeneratesBatches)
    made = batched.generate_batch(pair(64), seeds=[4, 2])
    assert batched.told is made[-1].told
    for seed, one in zip([4, 2], made, strict=True):
        assert_same_video(one.video, batched.generate(pair(64), seed=seed))
        for arm, track in batched.told.items():
            np.testing.assert_allclose(one.told[arm].Ts_world_tcp, track.Ts_world_tcp, atol=1e-5)
            np.testing.assert_allclose(one.told[arm].confidence, track.confidence)
    apart = made[0].told["left"].Ts_world_tcp[:, :3, 3] - made[1].told["left"].Ts_world_tcp[:, :3, 3]
    assert np.abs(apart).max() > 1e-3


def test_a_batch_reads_the_observation_once_and_refines_a_moment_of_all_futures_at_once():
    model, refiner = PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64)), painting_refiner()
    encoded, refined = [], []
    model.stem.register_forward_hook(lambda _, images, __: encoded.append(len(images[0])))
    refiner.stem.register_forward_hook(lambda _, images, __: refined.append(len(images[0])))
    TinyGenerator(KeyframePlanner(model, TASK), refiner, plates(), state=lambda _: START, config=CONFIG).generate_batch(
        pair(64), seeds=[0, 1, 2]
    )
    assert encoded == [2]  # views
    assert refined == CONFIG.frames * [3 * 2]


class Rehearsed(KeyframePlanner):
    """One that has a single plan, and remembers what it was asked about."""

    def sample(self, pair, state, *, temperatures, seeds, steps):
        self.seen = pair
        return [[grasp_and_lift()] for _ in seeds]


def test_a_further_view_is_predicted_against_the_reference_by_the_plan_of_the_pair():
    observation, third = pair(64), dataclasses.replace(pair(64, seed=1).m, camera="camera_2")
    planner = Rehearsed(PlanModel(PlanModelConfig(widths=(16, 32, 64), flow_width=64)), TASK)
    generator = TinyGenerator(planner, painting_refiner(), plates(), state=lambda _: START, config=CONFIG)
    video = generator.generate_views(observation, [third], seed=0)
    assert video.rgb.shape == (3, CONFIG.frames, 64, 64, 3)
    assert planner.seen is observation
    two = generator.generate(observation, seed=0)
    assert_same_video(views_of(video, [0, 1]), two)
    against = generator.render(dataclasses.replace(observation, m=third), grasp_and_lift())
    assert_same_video(views_of(video, [2]), views_of(against, [1]))
    assert list(generator.told) == ["left", "right"]


def views_of(video, views):
    intrinsics = tuple(video.intrinsics[view] for view in views)
    images = {name: getattr(video, name)[views] for name in ("rgb", "points", "valid")}
    return dataclasses.replace(video, intrinsics=intrinsics, **images)


def test_a_further_view_without_a_pose_is_refused_by_name(generator):
    lost = dataclasses.replace(pair(64, seed=1).m, camera="camera_2", T_world_camera=None)
    with pytest.raises(ValueError, match="camera_2: the camera's pose is unknown"):
        generator.generate_views(pair(64), [lost], seed=0)


def test_generation_stops_when_it_is_asked_to(generator):
    for seeds in ([0], [0, 1]):
        told = []
        with pytest.raises(Cancelled):
            generator.generate_batch(
                pair(64), seeds=seeds, progress=lambda *step, told=told: told.append(step) or step[0] < 2
            )
        assert told == [(0, CONFIG.frames), (1, CONFIG.frames), (2, CONFIG.frames)]


def test_the_plans_tracks_begin_at_the_measured_state(generator):
    left, right = generator.tracks(pair(64), grasp_and_lift()).values()
    np.testing.assert_allclose(left.Ts_world_tcp[0], START.T_world_tcp[0])
    np.testing.assert_allclose(left.Ts_world_tcp[-1], above(BALL, 0.23))
    assert left.open.tolist() == [True, True, False, False, False]
    assert right.open.all()
    assert (left.confidence == 1).all()


def test_a_plan_is_trusted_as_far_as_other_plans_agree_with_it(generator):
    plan = grasp_and_lift()
    poses = plan.T_world_tcp.copy()
    poses[1, 0, 0, 3] += 0.06  # the second keyframe elsewhere
    elsewhere = dataclasses.replace(plan, T_world_tcp=poses)
    left, right = generator.tracks(pair(64), plan, [plan, elsewhere]).values()
    np.testing.assert_allclose(left.confidence, [1, 1, 1, 1, 0.5])
    assert (right.confidence == 1).all()


def test_the_generator_tells_where_the_grippers_of_its_last_video_are(generator):
    video = generator.generate(pair(64), seed=1)
    assert list(generator.told) == ["left", "right"]
    np.testing.assert_allclose(generator.told["left"].times_s, [0, *video.times_s])
    assert generator.told["left"].stamp_ns == video.stamp_ns


def test_without_a_measured_state_the_arms_are_where_the_model_sees_them(generator):
    blind = TinyGenerator(generator.planner, None, plates(), config=CONFIG)
    plan = dataclasses.replace(grasp_and_lift(), T_world_tcp_now=np.stack([above(BALL, 0.25), AWAY]))
    left = blind.tracks(pair(64), plan)["left"]
    np.testing.assert_allclose(left.Ts_world_tcp[0], above(BALL, 0.25))


def test_what_is_too_far_for_a_depth_camera_changes_nothing(generator):
    near = pair(64)
    n = dataclasses.replace(near.n, depth=np.where(np.indices((64, 64))[0] < 8, 0, near.n.depth).astype(np.float32))
    far = dataclasses.replace(n, depth=np.where(n.depth > 0, n.depth, 19.7).astype(np.float32))
    videos = [generator.render(dataclasses.replace(near, n=frame), grasp_and_lift()) for frame in (n, far)]
    np.testing.assert_array_equal(videos[0].points, videos[1].points)
    np.testing.assert_array_equal(videos[0].rgb, videos[1].rgb)


def test_pixels_without_a_finite_depth_are_no_part_of_the_video(generator):
    observation = pair(64)
    depth = observation.n.depth.copy()
    depth[::2], depth[1::4] = np.nan, np.inf
    video = generator.generate(
        dataclasses.replace(observation, n=dataclasses.replace(observation.n, depth=depth)), seed=3
    )
    assert np.isfinite(video.points).all()
    assert video.valid.any()
    assert all(np.isfinite(track.Ts_world_tcp).all() for track in generator.told.values())


def test_a_view_without_depth_is_refused_by_name(generator):
    observation = pair(64)
    blind = dataclasses.replace(observation.m, depth=np.zeros_like(observation.m.depth))
    with pytest.raises(ValueError, match=r"camera_1: 0% of its pixels have a depth.*check its depth stream"):
        generator.generate(dataclasses.replace(observation, m=blind), seed=3)


def test_weights_of_another_preset_are_refused_by_name():
    with pytest.raises(ValueError, match="no weights of the svd preset at"):
        SvdModel.load(shipped.TINY)


def test_weights_of_the_svd_preset_are_told_apart(tmp_path):
    (tmp_path / "network.safetensors").touch()
    with pytest.raises(ValueError, match=r"weights of the preset svd, not of tiny: load them with .*load_generator"):
        TinyGenerator.load(tmp_path, TASK)


@pytest.mark.parametrize("size", [64, 128])
def test_a_resized_view_keeps_its_points(generator, size):
    observation = pair(size)
    video = TinyGenerator(generator.planner, None, plates(), config=CONFIG).render(observation, grasp_and_lift())
    points = se3.apply(observation.n.T_world_camera, video.points[0, 0])
    plane = video.valid[0, 0] & ~red(video, 0, 0) & (points[..., 2] < 0.03)
    assert plane.sum() > 1000
    assert np.abs(points[..., 2][plane]).max() < 2e-3


@pytest.mark.parametrize(("height", "width"), [(192, 240), (480, 640), (640, 480)])
def test_the_video_shows_the_middle_square_with_points_where_the_input_has_them(generator, height, width):
    n, m = (reshaped(frame, height, width) for frame in (pair(8).n, pair(8).m))
    video = TinyGenerator(generator.planner, None, plates(), config=CONFIG).render(RgbdPair(n=n, m=m), grasp_and_lift())
    for view, frame in enumerate((n, m)):
        k = video.intrinsics[view]
        assert k.fx == pytest.approx(k.fy)
        points = se3.apply(n.T_world_camera, video.points[view, 0])
        expected = se3.apply(frame.T_world_camera, frame.pointmap().points)
        side, still = min(height, width), video.valid[view, 0] & ~red(video, view, 0)
        top, left = (height - side) // 2, (width - side) // 2
        square = resize_nearest(expected[top : top + side, left : left + side], 64, 64)
        on_table = still & (points[..., 2] < 0.03)
        assert on_table.sum() > 1000
        assert np.abs(points[..., 2][on_table]).max() < 2e-3
        assert np.linalg.norm(points - square, axis=-1)[on_table].max() < 0.005  # a pixel of the video sees 20 mm


def reshaped(frame, height, width):
    """What the camera sees with a sensor of another shape, of the same field of view along its shorter side."""
    side, k = min(height, width), frame.intrinsics
    f = k.fy * side / k.height
    k = Intrinsics(fx=f, fy=f, cx=width / 2, cy=height / 2, width=width, height=height)
    rgb, depth, _ = see(Camera(intrinsics=k, T_world_camera=frame.T_world_camera), BALL)
    return dataclasses.replace(frame, rgb=rgb, depth=depth, intrinsics=k)


def test_without_poses_the_video_is_the_same_up_to_millimetres(generator):
    known = pair(64)
    poses = {frame.camera: frame.T_world_camera for frame in (known.n, known.m)}
    n, m = (dataclasses.replace(frame, T_world_camera=None) for frame in (known.n, known.m))
    lost = dataclasses.replace(known, n=n, m=m)

    def find_places(frame):
        points = frame.pointmap().cloud().astype(float)
        return Places(se3.apply(poses[frame.camera], points), points, np.full(len(points), 0.02))

    localiser = Localiser(find_places, plates())
    poseless = TinyGenerator(generator.planner, None, plates(), localiser=localiser, config=CONFIG)
    plan = grasp_and_lift()
    expected, video = poseless.render(known, plan), poseless.render(poseless.place(lost), plan)
    same = expected.valid & video.valid
    assert same.mean() > 0.9 * expected.valid.mean()
    assert np.median(np.linalg.norm(video.points - expected.points, axis=-1)[same]) < 0.003
    assert poseless.generate(lost, seed=0).frame == "camera_0"
    assert len(poseless.generate_views(known, [lost.m], seed=0).rgb) == 3
    with pytest.raises(ValueError, match="publish it on tf"):
        generator.generate(lost, seed=0)
