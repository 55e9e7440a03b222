import dataclasses

import numpy as np
import pytest
from box_scene import CAMERAS, DOWNWARDS, MODEL, ROOM, Box, depth_image, film, frame, gripper

from robo4d import se3
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.robot import MountedArm, RobotDescription
from robo4d.tracking import ArmModel, ArmRenderer, GripperRenderer, Limits, Mesh, track_video
from robo4d.tracking.evidence import compare
from robo4d.tracking.judge import Judge
from robo4d.tracking.mechanism import FreeHand, HandOnArm

FRANKA = RobotDescription.load("fer")
READY = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
LINKS = {5: ((-0.05, -0.02, -0.26), (0.05, 0.10, 0.04)), 6: ((-0.04, -0.06, -0.05), (0.13, 0.05, 0.05))}
ARM = ArmModel(
    Ts_link_joint=FRANKA.Ts_link_joint,
    T_link7_hand=FRANKA.T_link7_hand,
    lower=FRANKA.lower,
    upper=FRANKA.upper,
    links={number: Mesh.box(*corners) for number, corners in LINKS.items()},
)
RENDERER, ARM_RENDERER = GripperRenderer(MODEL), ArmRenderer(ARM)
JOINTS = READY + np.random.default_rng(0).uniform(-0.3, 0.3, (6, 7))


@pytest.fixture
def mechanism():
    """With its hand in sight of the cameras."""
    T_base_hand = ARM.placements(READY[None])[0, 6] @ ARM.T_link7_hand
    T_world_base = se3.translation(*(np.array([0.0, -0.1, 0.36]) - T_base_hand[:3, 3]))
    return HandOnArm(RENDERER, ARM_RENDERER, T_world_base=T_world_base, joints=READY)


def test_the_links_are_where_pinocchio_has_them():
    anywhere = np.full(3, np.inf)
    known = ArmKinematics(
        MountedArm(name="a", robot=FRANKA, T_world_base=np.eye(4), workspace_min=-anywhere, workspace_max=anywhere)
    )
    np.testing.assert_allclose(ARM.placements(JOINTS), [known.links(q) for q in JOINTS], atol=1e-9)


def test_the_base_is_where_the_hand_and_the_joints_say(mechanism):
    hand = mechanism.placements(READY[None])[0][0]
    np.testing.assert_allclose(ARM.base_of(hand, READY), mechanism.T_world_base, atol=1e-9)


@pytest.mark.parametrize("joint", range(7))
def test_a_small_step_moves_each_body_as_its_jacobian_says(mechanism, joint):
    step = 1e-6 * np.eye(7)[joint]
    before, jacobians = mechanism.motions(JOINTS)
    after = mechanism.placements(mechanism.stepped(JOINTS, np.tile(step, (6, 1))))
    for T, jacobian, moved in zip(before, jacobians, after, strict=True):
        np.testing.assert_allclose(se3.log(se3.inverse(T) @ moved), jacobian @ step, atol=1e-10)


def test_a_small_step_of_a_free_hand_moves_it_as_its_jacobian_says():
    free, step = FreeHand(RENDERER), 1e-6 * np.arange(1.0, 7.0)
    (T,), (jacobian,) = free.motions(np.eye(4)[None])
    np.testing.assert_allclose(se3.log(se3.inverse(T) @ free.stepped(T, step[None])), jacobian @ step, atol=1e-10)


def test_poses_nearby_are_reached_and_joints_keep_to_their_limits(mechanism):
    hands = mechanism.placements(JOINTS)[0]
    goals = hands @ se3.exp(np.array([[0.03, -0.03, 0.03, 0.15, -0.1, 0.1]]))
    metres, radians = se3.distance(mechanism.placements(mechanism.reached(JOINTS, goals))[0], goals)
    assert metres.max() < 0.003
    assert radians.max() < 0.02
    far = mechanism.reached(JOINTS, hands @ se3.translation(2.0, 2.0, 0.0))
    assert np.all((far >= FRANKA.lower) & (far <= FRANKA.upper))


def _link_boxes(mechanism, joints):
    links = mechanism.links(joints[None])[0]
    return {number: Box(*corners, links[number - 1]) for number, corners in LINKS.items()}


def test_an_arm_is_seen_where_its_links_are(mechanism):
    (view,) = Judge(RENDERER, 0.015).views([frame(ROOM, CAMERAS[0])])
    seen, boxes = ARM_RENDERER.see(mechanism.links(READY[None])[0], view), _link_boxes(mechanism, READY)
    true = depth_image(list(boxes.values()), CAMERAS[0])
    assert (true > 0).sum() > 300
    assert np.mean(np.isfinite(seen.depth) == (true > 0)) > 0.97  # drawn in every second row and column
    both = np.isfinite(seen.depth) & (true > 0)
    assert np.median(np.abs(seen.depth - true)[both]) < 0.003
    assert set(np.unique(seen.link)) == {0, *LINKS}


def test_the_same_arm_is_drawn_once_for_each_view(mechanism):
    views, links = Judge(RENDERER, 0.015).views([frame(ROOM, c) for c in CAMERAS]), mechanism.links(READY[None])[0]
    seen = [ARM_RENDERER.see(links, view) for view in views]
    assert [ARM_RENDERER.see(links.copy(), view) for view in views] == seen
    assert not np.array_equal(seen[0].depth, seen[1].depth)
    for sight in seen:
        beside = np.ones_like(sight.link, bool)
        beside[sight.window] = False
        assert not sight.link[beside].any()


def test_within_a_window_the_arm_is_drawn_as_without(mechanism):
    (view,) = Judge(RENDERER, 0.015).views([frame(ROOM, CAMERAS[0])])
    links = mechanism.links(READY[None])[0]
    whole = ARM_RENDERER.see(links, view)
    window = tuple(slice(side.start + 6, side.stop - 6) for side in whole.window)
    part = ARM_RENDERER.see(links, view, window)
    seen = np.isfinite(part.depth)
    assert seen[window].sum() == seen.sum() > 100
    assert np.mean(seen[window] == np.isfinite(whole.depth[window])) > 0.95  # other second rows and columns


def test_what_is_beside_gripper_and_arm_changes_no_evidence(mechanism):
    hand, links = mechanism.placements(READY[None])[0][0], mechanism.links(READY[None])[0]
    image = frame([*ROOM, *_link_boxes(mechanism, READY).values(), *gripper(hand, 0.08, forearm=False)], CAMERAS[0])
    mask = np.zeros_like(image.depth, bool)
    mask[40:90, 40:90] = mask[:2] = True
    (view,) = Judge(RENDERER, 0.015).views([image], [mask])
    rendering = RENDERER.render(view.T_camera_world @ hand, 0.08, view.intrinsics)
    sight, whole = ARM_RENDERER.see(links, view), (slice(0, 128), slice(0, 128))

    def evidence(rendering, arm):
        settings = {"tolerance_m": 0.015, "in_image": 0.9, "still": image.depth > 1.0, "mask": mask}
        return dataclasses.astuple(compare(rendering, image.depth, arm=arm, **settings))

    for arm in (None, sight):
        uncut = evidence(dataclasses.replace(rendering, window=whole), arm and dataclasses.replace(arm, window=whole))
        np.testing.assert_allclose(evidence(rendering, arm), uncut)
    assert evidence(rendering, None)[6] == mask.sum()


def _plate(camera, hand):
    """Hides a hand from a camera, and nothing else."""
    middle = se3.apply(hand, np.array([0.0, 0.0, 0.03]))
    eye = camera.T_world_camera
    T_world_plate = se3.pose(eye[:3, :3], eye[:3, 3] + 0.8 * (middle - eye[:3, 3]))
    return Box((-0.1, -0.1, -0.002), (0.1, 0.1, 0.002), T_world_plate)


@pytest.fixture
def hidden(mechanism):
    """A hand that moves behind plates that leave its forearm in sight: the film, and where the hand is."""
    joints = READY + np.linspace(0, 1, 6)[:, None] * np.array([0.4, 0.1, 0.0, 0.12, 0.0, 0.1, 0.1])
    hands = mechanism.placements(joints)[0]
    plates = [[_plate(camera, hand) for camera in CAMERAS] for hand in hands]
    extra = [
        [*_link_boxes(mechanism, q).values(), *(plates[t] if t in (2, 3, 4) else [])] for t, q in enumerate(joints)
    ]
    video, pair, priors = film({"left": hands}, extra=extra, forearm=False)
    return video, pair, dataclasses.replace(priors["left"], joints=joints[0]), hands


def test_a_hidden_hand_is_found_by_its_arm_and_only_by_that(hidden):
    video, pair, prior, hands = hidden
    alone = track_video(video, pair, priors={"left": prior}, renderer=RENDERER).tracks["left"]
    track = track_video(video, pair, priors={"left": prior}, renderer=RENDERER, arm=ARM_RENDERER).tracks["left"]
    metres, _ = se3.distance(track.Ts_world_tcp, hands @ MODEL.T_hand_tcp)
    assert alone.inlier[2:5].sum() == 0
    assert track.inlier.all()
    assert metres.max() < 0.025


def test_without_joints_the_gripper_is_followed_alone(hidden):
    video, pair, prior, _ = hidden
    unknown = dataclasses.replace(prior, joints=None)
    one = track_video(video, pair, priors={"left": unknown}, renderer=RENDERER, arm=ARM_RENDERER).tracks["left"]
    other = track_video(video, pair, priors={"left": unknown}, renderer=RENDERER).tracks["left"]
    np.testing.assert_array_equal(one.Ts_world_tcp, other.Ts_world_tcp)


class HandAlone:
    """An engine that knows nothing of the arm, and finds the hand a little aside."""

    joints = None

    def __init__(self, hands):
        self._found = iter(hands @ se3.translation(0.0, 0.0, 0.015))

    def register(self, frames, *, masks=None, T_world_object=None):
        return next(self._found)

    def track(self, frames, *, masks=None):
        return next(self._found)


def test_a_hand_that_was_followed_without_its_arm_is_judged_by_itself_though_the_joints_are_known(mechanism):
    joints = READY + np.linspace(0, 1, 3)[:, None] * np.array([0.2, 0.05, 0.0, 0.06, 0.0, 0.05, 0.05])
    hands = mechanism.placements(joints)[0]
    extra = [list(_link_boxes(mechanism, q).values()) for q in joints]
    video, pair, priors = film({"left": hands}, extra=extra, forearm=False)
    prior = dataclasses.replace(priors["left"], joints=joints[0])
    track = track_video(
        video,
        pair,
        priors={"left": prior},
        renderer=RENDERER,
        arm=ARM_RENDERER,
        make_tracker=lambda *_: HandAlone(hands),
    ).tracks["left"]
    limits = Limits()
    assert np.all((track.confidence[1:] > limits.trusted_with_arm) & (track.confidence[1:] < limits.trusted))
    assert not track.inlier[1:].any()


def test_a_hand_behind_its_own_arm_contradicts_nothing(mechanism):
    boxes = _link_boxes(mechanism, READY)
    hand = mechanism.placements(READY[None])[0][0]
    # From straight above, the links hide most of the hand.
    top = dataclasses.replace(CAMERAS[0], T_world_camera=se3.translation(*hand[:3, 3]) @ se3.translation(0, 0, 1.2))
    top = dataclasses.replace(top, T_world_camera=top.T_world_camera @ DOWNWARDS)
    judge = Judge(RENDERER, 0.015, mechanism=mechanism)
    views = judge.views([frame([*ROOM, *boxes.values(), *gripper(hand, 0.08, forearm=False)], top)])
    alone, explained = judge.judge(hand, 0.08, views), judge.judge(hand, 0.08, views, joints=READY)
    assert explained.confidence > max(alone.confidence, 0.6)
    elsewhere = READY + np.array([0, 0, 0, 0, 0, 0.5, 0])
    moved = mechanism.placements(elsewhere[None])[0][0]
    assert judge.judge(moved, 0.08, views, joints=elsewhere).confidence < explained.confidence - 0.2


def test_links_that_stand_still_with_their_hand_take_nothing_from_what_is_seen_of_it(mechanism):
    hand = mechanism.placements(READY[None])[0][0]
    # A plate leaves little more of the hand than a fingertip, and the links behind it look like the background.
    shifted = hand @ se3.translation(0.0, 0.035, 0.0)
    scene = [*ROOM, *_link_boxes(mechanism, READY).values(), *gripper(hand, 0.08, forearm=False)]
    frames = [frame([*scene, _plate(camera, shifted)], camera) for camera in CAMERAS]

    def evidence(joints):
        judge = Judge(RENDERER, 0.015, [one.depth for one in frames], mechanism=mechanism)
        judge.spare(frames, hand, 0.08)
        return judge.judge(hand, 0.08, judge.views(frames), joints=joints)

    assert evidence(None).confidence > 0.5
    assert evidence(READY).confidence >= evidence(None).confidence
