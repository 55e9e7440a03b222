"""The weights that come with the repository, on starts that they were not trained on."""

import numpy as np
import pytest
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import ARMS, RobotState
from robo4d_models.video4d.pipeline import TinyGenerator

from robo4d import RgbdFrame, RgbdPair, shipped
from robo4d.sim.cameras import mounted_cameras
from robo4d.sim.playback import stage

pytestmark = pytest.mark.gl

CASES = {  # who grasps what first
    "store_cereal_box_under_shelf": ("left", "cereal_box"),
    "put_spatula_on_table": ("right", "spatula"),
    "place_apple_from_bowl_into_bin": ("left", "apple"),
}


def observe(task, seed):
    """What two mounted cameras see of a start, and the cell."""
    scenery = stage(task)
    state = scenery.cell.reset(seed=seed)
    scenery.renderer.update(scenery.cell.data)
    frames = []
    for name, camera in zip(("camera_n", "camera_m"), mounted_cameras(width=192, height=192), strict=True):
        rgb, depth = scenery.renderer.rgbd(camera)
        frames.append(
            RgbdFrame(
                rgb=rgb,
                depth=depth,
                intrinsics=camera.intrinsics,
                camera=name,
                stamp_ns=0,
                T_world_camera=camera.T_world_camera,
            )
        )
    return RgbdPair(n=frames[0], m=frames[1]), state


def test_they_are_whole_and_small():
    checkpoints.verify(shipped.TINY)
    named = {line.split()[1] for line in (shipped.TINY / checkpoints.HASHES).read_text().splitlines()}
    files = {path.name: path.stat().st_size for path in shipped.TINY.glob("*.safetensors")}
    assert named == files.keys() == {"plan.safetensors", "refiner.safetensors"}
    assert max(files.values()) < 16 * 2**20


@pytest.mark.parametrize("task", CASES)
def test_the_first_grasp_is_planned_where_the_object_is(task):
    arm, body = CASES[task]
    distances = []
    for seed in (9_000_001, 9_000_002, 9_000_003):
        pair, state = observe(task, seed)
        robot = RobotState(
            T_world_tcp=np.stack([state.arms[name].T_world_tcp for name in ARMS]),
            gripper_width=np.array([state.arms[name].gripper_width for name in ARMS]),
        )
        plan = TinyGenerator.load(shipped.TINY, task).planner.expected(pair, robot)
        index = ARMS.index(arm)
        grasp = plan.T_world_tcp[np.flatnonzero(plan.closed[:, index])[0], index, :3, 3]
        distances.append(np.linalg.norm(grasp - state.T_world_body[body][:3, 3]))
    assert np.median(distances) < 0.028  # the expert grasps 5 to 20 mm from the middle; objects are put 50 mm around
