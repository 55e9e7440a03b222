"""A world that needs no simulator: a red ball on a plane, and a demonstrator that touches it, then lifts off."""

import numpy as np
from robo4d_models.video4d.coding import OPEN_WIDTH, RobotState
from robo4d_models.video4d.data import DEPTH_UNIT, moment_dtype
from robo4d_models.video4d.draft import View
from robo4d_models.video4d.keyframes import SLOTS
from robo4d_models.video4d.robot_model import PARTS, RobotModel

from robo4d import RgbdFrame, RgbdPair
from robo4d.geometry import Camera, Intrinsics, look_at, se3

VIEWS, SIZE, RADIUS = 2, 32, 0.06
TASK = "store_cereal_box_under_shelf"
DOWN = np.diag([1.0, -1.0, -1.0])
BALL = np.array([0.5, 0.1, RADIUS])


def see(camera, ball):
    """Colour and depth of the plane z = 0 and the ball."""
    rays = camera.intrinsics.rays() @ camera.T_world_camera[:3, :3].T
    eye = camera.T_world_camera[:3, 3]
    depth = np.where(rays[..., 2] < 0, -eye[2] / np.minimum(rays[..., 2], -1e-9), 0)
    b, a = rays @ (eye - ball), (rays**2).sum(-1)
    root = b**2 - a * ((eye - ball) @ (eye - ball) - RADIUS**2)
    hit = root > 0
    depth = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, depth)
    rgb = np.where(hit[..., None], [220, 30, 30], [150, 150, 150]).astype(np.uint8)
    return rgb, np.where(depth < 3, depth, 0).astype(np.float32), hit


def cameras(rng, size=SIZE):
    eyes = [np.array([0.5 + rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5), 1.0]) for _ in range(VIEWS)]
    k = Intrinsics.from_fovy(60.0, width=size, height=size)
    return [Camera(intrinsics=k, T_world_camera=look_at(eye, np.array([0.5, 0.0, 0.0]))) for eye in eyes]


def moment(rng):
    """One recorded moment: the left arm is about to close on the ball, then to lift it."""
    record = np.zeros((), moment_dtype(VIEWS, SIZE))
    ball = np.array([rng.uniform(0.35, 0.65), rng.uniform(-0.2, 0.2), RADIUS])
    for view, camera in enumerate(cameras(rng)):
        rgb, depth, hit = see(camera, ball)
        record["rgb"][view], record["label"][view] = rgb, 7 * hit
        record["depth"][view] = np.round(depth / DEPTH_UNIT)
        record["camera_matrix"][view] = camera.intrinsics.matrix
        record["T_world_camera"][view] = camera.T_world_camera
    home = np.stack([se3.pose(DOWN, np.array([0.3, y, 0.4])) for y in (0.3, -0.3)])
    grasp, lift = home.copy(), home.copy()
    grasp[0, :3, 3], lift[0, :3, 3] = ball, ball + np.array([0, 0, 0.2])
    record["T_world_tcp"], record["gripper_width"] = home, 0.08
    record["keyframe_T_world_tcp"] = np.eye(4)
    for slot, pose in ((SLOTS - 6, grasp), (SLOTS - 1, lift)):
        record["keyframe_T_world_tcp"][slot] = pose
        record["keyframe_closed"][slot] = [True, False]
        record["keyframe_duration_s"][slot] = 2.0
        record["keyframe_known"][slot] = True
    record["next_slot"] = SLOTS - 6
    return record


def pair(size, *, seed=0):
    frames = []
    for i, camera in enumerate(cameras(np.random.default_rng(seed), size)):
        rgb, depth, _ = see(camera, BALL)
        frames.append(
            RgbdFrame(
                rgb=rgb,
                depth=depth,
                intrinsics=camera.intrinsics,
                camera=f"camera_{i}",
                stamp_ns=0,
                T_world_camera=camera.T_world_camera,
            )
        )
    return RgbdPair(n=frames[0], m=frames[1])


AWAY = se3.pose(DOWN, np.array([0.5, -3.0, 0.5]))


def plates():
    """A gripper made of three plates: a palm 12 cm behind the TCP and two fingers, which meet in it."""

    def plate(*corners):
        return np.array(corners, np.float32)

    palm = plate((-0.03, -0.09, -0.12), (0.03, -0.09, -0.12), (0.03, 0.09, -0.12), (-0.03, 0.09, -0.12))
    finger = plate((-0.01, 0, -0.05), (0.01, 0, -0.05), (0.01, 0, 0), (-0.01, 0, 0))
    halves = np.array([[0, 1, 2], [0, 2, 3]])
    return RobotModel(
        vertices=np.concatenate([palm, finger, finger]),
        triangles=np.concatenate([halves, halves + 4, halves + 8]),
        rgb=np.full((6, 3), 0.9, np.float32),
        part=np.repeat([PARTS.index(name) for name in ("hand", "left_finger", "right_finger")], 2),
    )


def views(ball=BALL, size=64):
    seen = []
    for camera in cameras(np.random.default_rng(1), size):
        rgb, depth, _ = see(camera, ball)
        seen.append(View(rgb=rgb.astype(np.float32) / 255, depth=depth, camera=camera))
    return seen[0], seen[1]


def poses(*left):
    return np.stack([np.stack([T, AWAY]) for T in left])


def widths(*left):
    return np.stack([[w, OPEN_WIDTH] for w in left])


def start(pose, width=OPEN_WIDTH):
    """A robot that does not tell its joints."""
    return RobotState(T_world_tcp=poses(pose)[0], gripper_width=widths(width)[0])


def above(point, height=0.0):
    return se3.pose(DOWN, point + np.array([0, 0, height]))
