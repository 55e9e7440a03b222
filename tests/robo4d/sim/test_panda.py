import numpy as np

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
    meshes = panda.gripper_meshes()
    assert set(meshes) == {"link7", "hand", "left_finger", "right_finger"}
    width = np.ptp(meshes["hand"].vertices[:, 1])
    assert 0.19 < width < 0.22  # Franka's data sheet: 204 mm
    fingertip = panda.finger_poses(0.0)["left_finger"][2, 3] + meshes["left_finger"].vertices[:, 2].max()
    assert 0.0 < fingertip - panda.T_HAND_TCP[2, 3] < 0.012


def test_closed_fingers_touch_in_the_middle():
    meshes, poses = panda.gripper_meshes(), panda.finger_poses(0.0)
    for name in ("left_finger", "right_finger"):
        across = meshes[name].vertices @ poses[name][1, :3] + poses[name][1, 3]
        assert np.abs(across).min() < 1e-3
