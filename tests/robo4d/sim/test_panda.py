from pathlib import Path
from urllib.parse import urlparse

import numpy as np

from robo4d.geometry import se3
from robo4d.planning.link_tree import LinkTree
from robo4d.planning.urdf import urdf
from robo4d.sim import panda


def test_the_arm_holds_itself_up_without_load():
    import mujoco

    spec = panda.panda_spec()
    model = spec.compile()
    data = mujoco.MjData(model)
    posture = np.array([0, -0.6, 0, -2.3, 0, 1.75, 0.785])
    data.qpos[:7] = data.ctrl[:7] = posture
    mujoco.mj_step(model, data, 500)
    assert np.abs(data.qpos[:7] - posture).max() < 1e-3


def test_gripper_meshes_are_in_metres_and_the_fingertips_reach_past_the_tcp():
    meshes = panda.seen_meshes("link7", *panda.GRIPPER_BODIES)
    assert set(meshes) == {"link7", "hand", "left_finger", "right_finger"}
    width = np.ptp(meshes["hand"].vertices[:, 1])
    assert 0.19 < width < 0.22  # Franka's data sheet: 204 mm
    fingertip = panda.finger_poses(0.0)["left_finger"][2, 3] + meshes["left_finger"].vertices[:, 2].max()
    assert 0.0 < fingertip - panda.T_HAND_TCP[2, 3] < 0.012


def test_closed_fingers_touch_in_the_middle():
    meshes, poses = panda.seen_meshes("link7", *panda.GRIPPER_BODIES), panda.finger_poses(0.0)
    for name in ("left_finger", "right_finger"):
        across = meshes[name].vertices @ poses[name][1, :3] + poses[name][1, 3]
        assert np.abs(across).min() < 1e-3


def test_its_description_for_viewers_has_every_link_where_the_simulation_has_it():
    import mujoco

    from robo4d.sim.scene import MOUNTED_ARMS, room

    tree = LinkTree.from_urdf(urdf(MOUNTED_ARMS, panda.visual_meshes()))
    data = mujoco.MjData(room().compile())
    joints = {joint.name: 0.3 for joint in tree.joints if joint.kind == "revolute"}
    joints |= {joint.name: 0.01 for joint in tree.joints if joint.kind == "prismatic"}
    for name, position in joints.items():
        data.joint(name).qpos = position
    mujoco.mj_kinematics(data.model, data)
    links = tree.poses(joints)
    seen = {visual.link for visual in tree.visuals}
    assert len(seen) == 2 * 11
    for link in seen:
        body = data.body(link.replace("finger", "_finger"))
        np.testing.assert_allclose(links[link], se3.pose(body.xmat.reshape(3, 3), body.xpos), atol=1e-4)
    for visual in tree.visuals:
        assert Path(urlparse(visual.mesh.uri).path).is_file()
