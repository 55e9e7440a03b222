"""A world that needs no simulator: a red ball on a plane, and a demonstrator that touches it, then lifts off."""

import numpy as np
from robo4d_models.video4d.data import DEPTH_UNIT, moment_dtype
from robo4d_models.video4d.keyframes import SLOTS

from robo4d.geometry import Camera, Intrinsics, look_at, se3

VIEWS, SIZE, RADIUS = 2, 32, 0.1
TASK = "store_cereal_box_under_shelf"
DOWN = np.diag([1.0, -1.0, -1.0])


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
