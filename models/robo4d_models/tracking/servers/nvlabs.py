"""Serves the original FoundationPose (github.com/NVlabs/FoundationPose; for non-commercial use).

Runs in its environment, with its checkout on PYTHONPATH and the weights of its README inside it. Its modules set
torch's default tensor type and the seeds of everything, which is why it has a process of its own.

Poses are seeded: what a request gives as `T_camera_mesh` is refined, in the first frame as in every other. The mesh
is centred by us, so that the library's own centring changes nothing.
"""

import tempfile

import numpy as np
import nvdiffrast.torch as dr
import torch
import trimesh
import wire
from estimater import FoundationPose
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor

_ITERATIONS = 5
"""Of the refiner: gripper poses half a second apart are farther from each other than those of a camera's stream."""
_estimators = {}
_networks = []


def _create(cad):
    if not _networks:
        _networks.extend([ScorePredictor(), PoseRefinePredictor(), dr.RasterizeCudaContext()])
    scorer, refiner, context = _networks
    mesh = trimesh.load(cad, force="mesh")
    return FoundationPose(
        model_pts=mesh.vertices,
        model_normals=mesh.vertex_normals,
        mesh=mesh,
        scorer=scorer,
        refiner=refiner,
        glctx=context,
        debug=0,
        debug_dir=tempfile.mkdtemp(),  # its default is a folder of the author's
    )


def handle(values, arrays):
    """Answer one request."""
    if values["op"] == "create":
        _estimators[values["tracker"]] = _create(values["cad"])
        return {}, {}
    estimator = _estimators[values["tracker"]]
    rgb, depth, K = arrays["rgb"], arrays["depth"], arrays["K"].astype(np.float64)
    if "T_camera_mesh" in arrays:
        estimator.pose_last = torch.as_tensor(arrays["T_camera_mesh"], dtype=torch.float, device="cuda")
        pose = estimator.track_one(rgb=rgb, depth=depth, K=K, iteration=_ITERATIONS)
    else:
        mask = arrays["mask"] > 0
        pose = estimator.register(K=K, rgb=rgb, depth=depth, ob_mask=mask, iteration=_ITERATIONS)
    pose = pose.detach().cpu().numpy() if isinstance(pose, torch.Tensor) else pose
    return {}, {"T_camera_mesh": np.asarray(pose, np.float64).reshape(4, 4)}


if __name__ == "__main__":
    wire.serve(handle)
