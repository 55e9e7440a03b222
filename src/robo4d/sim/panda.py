"""The Franka Emika Panda: model for MuJoCo, and CAD meshes of its gripper.

The model is MuJoCo Menagerie's `franka_emika_panda` (Apache-2.0, derived from Franka's `franka_description`), taken
from the wheel of genesis-world on PyPI, which is pinned by its hash (see `panda_assets`). Its visual meshes are
decimated to a ninth of their 134,000 faces, which cannot be told apart at 640 x 480, and merged into one for each body
and material. The result (1 MB) is kept in the cache, `$ROBO4D_CACHE` or `~/.cache/robo4d`: the network is needed once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.planning.urdf import Mesh
from robo4d.sim.state import MAX_WIDTH

if TYPE_CHECKING:
    import trimesh

_CACHE_NAME = "panda-1"
"""Raise the number when `panda_assets` changes what it makes."""

T_HAND_TCP = se3.translation(0, 0, 0.1034)
"""Tool centre point: between the fingertips, z along the approach, y along the closing direction (Franka's default)."""
GRIPPER_BODIES = ("hand", "left_finger", "right_finger")

_SERVO_SHARE = 1 / 6
"""Stiffness and damping of the joints' servos, as a share of Menagerie's. The gripper then yields by a millimetre to a
newton or so, as under Franka's Cartesian impedance control, where Menagerie's presses with 8 N. Nor do such servos
ring at 250 Hz when they reach the limit of their force, from where on MuJoCo integrates their damping explicitly."""
GRIP_STIFFNESS = 2000.0
"""Position gain of the gripper [N/m] on the mean finger travel. Menagerie's 100 drops a 250 g box in transit."""
_GRIP_FORCE = 80.0
"""Limit of that actuator [N]: half of it on each finger; Franka's hand holds with up to 70 N."""
_PAD = {"size": [0.010, 0.004, 0.011], "pos": [0, 0.004, 0.0445]}
"""One flat pad a finger (half extents and centre in the finger frame [m]) in place of Menagerie's five: 12 contacts
instead of 36 while gripping, which nearly doubles the speed of the simulation."""


def cache_folder() -> Path:
    """Where downloads and what is derived from them are kept."""
    return Path(os.environ.get("ROBO4D_CACHE") or Path.home() / ".cache" / "robo4d")


def panda_spec() -> mujoco.MjSpec:
    """One arm, ready to be attached: gravity compensated, gripper tuned to hold, a site `tcp`.

    Joints `joint1..7`, `finger_joint1..2`; actuators `actuator1..7` (position servos [rad]) and `actuator8`, the finger
    travel [m], 0 (closed) to 0.04 (open).
    """
    spec = mujoco.MjSpec.from_file(str(_model_folder() / "panda.xml"))
    for body in spec.bodies[1:]:
        body.gravcomp = 1  # as Franka's controller does
    for number in range(1, 8):
        servo = spec.actuator(f"actuator{number}")
        servo.gainprm[0] *= _SERVO_SHARE
        servo.biasprm[1:3] *= _SERVO_SHARE
    spec.body("hand").add_site(name="tcp", pos=T_HAND_TCP[:3, 3], group=4)
    gripper = spec.actuator("actuator8")
    gripper.ctrlrange = [0, MAX_WIDTH / 2]
    gripper.forcerange = [-_GRIP_FORCE, _GRIP_FORCE]
    gripper.gainprm[:3] = [GRIP_STIFFNESS, 0, 0]
    gripper.biasprm[:3] = [0, -GRIP_STIFFNESS, -GRIP_STIFFNESS / 10]
    for finger in GRIPPER_BODIES[1:]:
        body = spec.body(finger)
        for geom in [g for g in body.geoms if g.type == mujoco.mjtGeom.mjGEOM_BOX]:
            spec.delete(geom)
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            **_PAD,
            group=3,
            mass=0,
            condim=4,
            priority=1,  # the pad's friction and softness count, whatever it touches
            friction=[1.0, 0.02, 0.0005],
            solref=[0.004, 1.0],  # a stiff contact: the box creeps half as far along the fingers as with 0.01
            solimp=[0.95, 0.99, 0.001, 0.5, 2],
        )
    return spec


def visual_meshes() -> dict[str, list[Mesh]]:
    """What each body looks like, under the name that Franka gives its link: link0 to link7, hand, leftfinger, ..."""
    spec, folder = panda_spec(), _model_folder() / "assets"
    meshes: dict[str, list[Mesh]] = {}
    for body in spec.bodies[1:]:
        for geom in [g for g in body.geoms if g.classname.name == "visual"]:
            r, g, b, a = map(float, spec.material(geom.material).rgba)
            mesh = Mesh(uri=(folder / spec.mesh(geom.meshname).file).as_uri(), rgba=(r, g, b, a))
            meshes.setdefault(body.name.replace("_", ""), []).append(mesh)
    return meshes


def seen_meshes(*bodies: str) -> dict[str, trimesh.Trimesh]:
    """CAD of what a camera sees of some bodies (`link1` to `link7`, `GRIPPER_BODIES`), each in its own frame [m]."""
    import trimesh  # takes long, and the simulation itself does without

    folder = _model_folder() / "assets"
    parts = {body: [trimesh.load_mesh(file) for file in sorted(folder.glob(f"{body}-*.stl"))] for body in bodies}
    return {body: cast("trimesh.Trimesh", trimesh.util.concatenate(meshes)) for body, meshes in parts.items()}


def finger_poses(width: float) -> dict[str, Float[Array, "4 4"]]:
    """T_hand_finger of both finger bodies when the gripper is open by `width` [m]."""
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "left_finger": se3.translation(0, width / 2, 0.0584),
        "right_finger": se3.translation(0, -width / 2, 0.0584) @ turned,
    }


def _model_folder() -> Path:
    """The light model in the cache, made on first use."""
    folder = cache_folder() / _CACHE_NAME
    if not folder.exists():
        from robo4d.sim import panda_assets  # needs packages that take long to import

        panda_assets.build(folder)
    return folder
