import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from box_scene import CAMERAS, MODEL, ROOM, film, frame, gripper, path
from robo4d_models.tracking import EngineConfig, EngineFailed, FoundationPose, FoundationPoseConfig, foundationpose
from robo4d_models.tracking.servers import wire

from robo4d import se3
from robo4d.tracking import GeometricTrackerConfig, GripperRenderer, ReadoutConfig, Reason, track_video
from robo4d.tracking.mechanism import FreeHand

RENDERER = GripperRenderer(MODEL)
T_WORLD_HAND = path(1)[0]
FRAME = frame([*ROOM, *gripper(T_WORLD_HAND, 0.08)], CAMERAS[0])
T_CAMERA_HAND = se3.inverse(CAMERAS[0].T_world_camera) @ T_WORLD_HAND
SERVERS = Path(wire.__file__).parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))
    monkeypatch.setenv("WIRE_FOLDER", str(SERVERS))
    np.save(tmp_path / "answer.npy", np.eye(4))
    return tmp_path


def _library(*, seeded: bool, **engine) -> FoundationPose:
    server = Path(__file__).with_name("stand_in_server.py")
    config = EngineConfig(python=Path(sys.executable), server=server, **engine)
    return FoundationPose(FoundationPoseConfig(engine=config, seeded=seeded))


def _tracker(library):
    return library.make_tracker(FreeHand(RENDERER), [np.zeros((128, 128), np.float32)], GeometricTrackerConfig())


def _requests(folder):
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def _mesh_in_hand(cad: Path) -> np.ndarray:
    """T_hand_mesh: where the centred CAD lies in the frame of the hand."""
    parts = MODEL.parts(MODEL.max_opening_m)
    vertices = np.concatenate([mesh.vertices for part, mesh in parts.items() if part != 4])
    return se3.translation(*((vertices.min(axis=0) + vertices.max(axis=0)) / 2))


def test_an_unseeded_library_registers_in_the_projection_then_tracks_without_mask(folder):
    with _library(seeded=False) as library:
        tracker = _tracker(library)
        tracker.register([FRAME], T_world_object=T_WORLD_HAND)
        tracker.track([FRAME])
    create, register, track = _requests(folder)
    assert (create["op"], create["width"], create["height"]) == ("create", 512, 512)
    images = {"rgb": ["uint8", [512, 512, 3]], "depth": ["float32", [512, 512]], "K": ["float32", [3, 3]]}
    assert register["op"] == "register"
    assert register["arrays"] == images | {"mask": ["uint8", [512, 512]]}
    assert track["op"] == "track"
    assert track["arrays"] == images


def test_a_seeded_library_refines_the_robots_pose_of_the_centred_mesh(folder):
    true = T_CAMERA_HAND @ _mesh_in_hand(folder)
    np.save(folder / "answer.npy", true)
    with _library(seeded=True) as library:
        found = _tracker(library).register([FRAME], T_world_object=T_WORLD_HAND)
    np.testing.assert_allclose(np.load(folder / "track.npz")["T_camera_mesh"], true, atol=1e-9)
    np.testing.assert_allclose(found, T_WORLD_HAND, atol=1e-9)


def test_images_are_enlarged_by_nearest_neighbour_and_the_matrix_with_them(folder):
    with _library(seeded=False) as library:
        _tracker(library).register([FRAME], T_world_object=T_WORLD_HAND)
    sent = np.load(folder / "register.npz")
    np.testing.assert_array_equal(sent["depth"][2::4, 2::4], FRAME.depth)
    np.testing.assert_array_equal(sent["depth"][::4, 3::4], FRAME.depth)
    assert set(np.unique(sent["mask"])) == {0, 255}
    # The middle of an original pixel, seen through either matrix, lies on the same ray.
    k, K = FRAME.intrinsics, sent["K"]
    u = 4 * (40 + 0.5) - 0.5
    assert (u - K[0, 2]) / K[0, 0] == pytest.approx((40.5 - k.cx) / k.fx, abs=1e-6)


def test_the_cad_is_in_metres_centred_and_without_the_wrist(tmp_path):
    foundationpose.write_cad(MODEL, tmp_path / "cad.ply")
    mesh = trimesh.load(tmp_path / "cad.ply")
    np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(mesh.extents, [0.062, 0.2, 0.132], atol=1e-6)
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) == 2


def test_too_few_pixels_are_refused_without_a_pose_and_waited_out_with_one(folder):
    dark = dataclasses.replace(FRAME, depth=np.zeros_like(FRAME.depth))
    speck = np.zeros((128, 128), bool)
    speck[5, 5:8] = True
    with _library(seeded=False) as library:
        tracker = _tracker(library)
        with pytest.raises(ValueError, match="4 pixels of known depth"):
            tracker.register([FRAME], masks=[speck])
        np.testing.assert_array_equal(
            tracker.register([FRAME], masks=[speck], T_world_object=T_WORLD_HAND), T_WORLD_HAND
        )
        np.testing.assert_array_equal(tracker.track([dark]), T_WORLD_HAND)
        assert not (folder / "requests.jsonl").exists()
        tracker.track([FRAME])
    assert [request["op"] for request in _requests(folder)] == ["create", "register"]


@pytest.mark.parametrize(
    ("mishap", "message"),
    [("die", "died with exit status 3"), ("hang", "no answer in time"), ("raise", "out of memory")],
)
def test_a_failure_has_a_name_and_the_next_registration_starts_anew(folder, mishap, message):
    with _library(seeded=False, timeout_s=1.0 if mishap == "hang" else 60.0) as library:
        tracker = _tracker(library)
        tracker.register([FRAME], T_world_object=T_WORLD_HAND)
        (folder / "mishap").write_text(mishap)
        with pytest.raises(EngineFailed, match=message):
            tracker.track([FRAME])
        library.engine._config = dataclasses.replace(library.engine._config, timeout_s=60.0)
        tracker.register([FRAME], T_world_object=T_WORLD_HAND)
        assert library.engine.generation == (1 if mishap == "raise" else 2)


def test_two_images_at_once_are_refused(folder):
    with _library(seeded=False) as library, pytest.raises(ValueError, match="best_view"):
        _tracker(library).register([FRAME, FRAME], T_world_object=T_WORLD_HAND)


def test_an_enlargement_that_the_filter_does_not_survive_is_refused(folder):
    config = EngineConfig(python=Path(sys.executable), server=SERVERS / "nvidia.py")
    with pytest.raises(ValueError, match="at least 3"):
        FoundationPoseConfig(engine=config, seeded=False, enlargement=2)


def test_a_missing_environment_is_named():
    with pytest.raises(ValueError, match="python: there is no"):
        EngineConfig(python=Path("/nowhere/python"), server=SERVERS / "nvidia.py")


def test_a_video_is_read_through_the_engine_and_judged_by_us(folder):
    """The stand-in always answers the same pose, so only the frames where that is true are vouched for."""
    true = path(3, step=(0.0, 0.1, 0.0))
    video, pair, priors = film({"left": true})
    np.save(folder / "answer.npy", se3.inverse(CAMERAS[0].T_world_camera) @ true[0] @ _mesh_in_hand(folder))
    with _library(seeded=True) as library:
        pair_of_one = dataclasses.replace(pair, m=pair.n)
        video = dataclasses.replace(video, points=np.stack([video.points[0]] * 2), valid=np.stack([video.valid[0]] * 2))
        readout = track_video(
            video,
            pair_of_one,
            priors=priors,
            renderer=RENDERER,
            config=ReadoutConfig(fusion="best_view"),
            make_tracker=library.make_tracker,
        )
    np.testing.assert_array_equal(readout.tracks["left"].inlier, [True, False, False])
    assert readout.tracks["left"].reasons[1] is not Reason.TRUSTED


FAKE_NVLABS = {
    "torch.py": """
import numpy as np
float = np.float32
class Tensor:
    def __init__(self, values, device): self.values, self.device = values, device
    def detach(self): return self
    def cpu(self): return Tensor(self.values, "cpu")
    def numpy(self):
        assert self.device == "cpu"
        return self.values
def as_tensor(values, *, dtype, device): return Tensor(np.asarray(values, dtype), device)
""",
    "nvdiffrast/__init__.py": "",
    "nvdiffrast/torch.py": "class RasterizeCudaContext: pass",
    "learning/__init__.py": "",
    "learning/training/__init__.py": "",
    "learning/training/predict_pose_refine.py": "class PoseRefinePredictor: pass",
    # Its logits cannot be compared between images, so nobody may ask for them.
    "learning/training/predict_score.py": """
class ScorePredictor:
    def predict(self, *_, **__): raise AssertionError("a score was asked for")
""",
    "estimater.py": """
import os
import numpy as np
import torch
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from nvdiffrast.torch import RasterizeCudaContext
class FoundationPose:
    def __init__(self, model_pts, model_normals, symmetry_tfs=None, mesh=None, scorer=None, refiner=None, glctx=None,
                 debug=0, debug_dir="/home/author/debug"):
        assert type(scorer) is ScorePredictor and type(refiner) is PoseRefinePredictor
        assert type(glctx) is RasterizeCudaContext
        assert model_pts.shape == model_normals.shape == mesh.vertices.shape and mesh.visual.vertex_colors.any()
        self.low, self.high = model_pts.min(axis=0), model_pts.max(axis=0)
        assert 0.1 < np.linalg.norm(self.high - self.low) < 0.5, "not in metres"
        assert np.abs(self.low + self.high).max() < 1e-6, "not centred"
        assert debug == 0 and os.access(debug_dir, os.W_OK)
        self.pose_last = None
    def _check(self, rgb, depth, K):
        assert rgb.dtype == np.uint8 and rgb.shape == (*depth.shape, 3) == (512, 512, 3)
        assert depth.dtype == np.float32 and 0.2 < np.median(depth[depth > 0]) < 10, "not in metres"
        assert K.shape == (3, 3) and K.dtype == np.float64 and K[2].tolist() == [0, 0, 1]
        # Centres of pixels at integers: the middle of the image is half a pixel before the middle of the grid.
        assert np.allclose(K[:2, 2], 255.5), K
        far = lambda size, f: np.rad2deg(2 * np.arctan(size / 2 / f))
        assert np.allclose([far(512, K[0, 0]), far(512, K[1, 1])], 38.0), K
        # Its filter erases a pixel if more than 80 % of the 25 about it differ by more than a millimetre.
        around = np.lib.stride_tricks.sliding_window_view(depth, (5, 5))
        differ = (np.abs(around - depth[2:-2, 2:-2, None, None]) > 0.001).mean(axis=(2, 3))
        assert differ.max() <= 0.8, "the filter would erase pixels"
    def register(self, K, rgb, depth, ob_mask, ob_id=None, glctx=None, iteration=5):
        self._check(rgb, depth, K)
        assert ob_mask.dtype == bool and ob_mask.shape == depth.shape and ob_mask.sum() >= 16 * 4
        self.pose_last = torch.as_tensor(np.eye(4), dtype=torch.float, device="cuda")
        return np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.75], [0, 0, 0, 1.0]])
    def track_one(self, rgb, depth, K, iteration, extra={}):
        self._check(rgb, depth, K)
        assert iteration >= 5, "grippers go farther between two frames than in the stream of a camera"
        assert self.pose_last.device == "cuda" and self.pose_last.values.dtype == np.float32
        moved = self.pose_last.values.copy()
        moved[2, 3] += 0.01
        self.pose_last = torch.as_tensor(moved, dtype=torch.float, device="cuda")
        return moved  # of the mesh as it was given, which is the centred one
""",
}
"""What the server imports, as NVlabs/FoundationPose has it: names, arguments, units, and what its filter does."""


@pytest.fixture
def nvlabs(tmp_path, monkeypatch):
    for name, text in FAKE_NVLABS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config = EngineConfig(python=Path(sys.executable), server=SERVERS / "nvlabs.py")
    with FoundationPose(FoundationPoseConfig(engine=config, seeded=True)) as library:
        yield _tracker(library)


def _in_camera(T_world_hand, folder):
    return se3.inverse(CAMERAS[0].T_world_camera) @ T_world_hand @ _mesh_in_hand(folder)


def test_the_authors_code_refines_the_robots_pose_first_and_its_own_from_then_on(nvlabs, tmp_path):
    found = [nvlabs.register([FRAME], T_world_object=T_WORLD_HAND), nvlabs.track([FRAME]), nvlabs.track([FRAME])]
    for steps, T_world_hand in enumerate(found, start=1):
        expected = se3.translation(0, 0, 0.01 * steps) @ _in_camera(T_WORLD_HAND, tmp_path)
        np.testing.assert_allclose(_in_camera(T_world_hand, tmp_path), expected, atol=1e-6)


def test_the_authors_code_registers_in_a_mask_where_there_is_no_pose(nvlabs, tmp_path):
    mask = np.zeros((128, 128), bool)
    mask[60:64, 60:64] = True
    found = nvlabs.register([FRAME], masks=[mask])
    np.testing.assert_allclose(_in_camera(found, tmp_path), se3.translation(0, 0, 0.75), atol=1e-6)
    np.testing.assert_allclose(_in_camera(nvlabs.track([FRAME]), tmp_path), se3.translation(0, 0, 0.76), atol=1e-6)


FAKE_NVIDIA = """
import numpy as np
class RuntimeConfig:
    def __init__(self, *, max_image_width, max_image_height): self.size = (max_image_height, max_image_width)
class EstimatorOptions:
    @classmethod
    def from_env(cls, cad, *, mesh_unit_scale):
        assert mesh_unit_scale == 1.0 and open(cad).readline() == "ply\\n"
        return cls()
class RgbdFrame:
    def __init__(self, rgb, depth_m, intrinsics, mask=None):
        self.rgb, self.depth, self.K, self.mask = rgb, depth_m, intrinsics, mask
class Result:
    def __init__(self, z): self.pose, self.score = np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, z], [0, 0, 0, 1]], np.float32), 1.0
class Estimator:
    def __init__(self, options, config): self.size = config.size
    def _check(self, frame):
        assert frame.rgb.shape == (*self.size, 3) and frame.rgb.dtype == np.uint8
        assert frame.depth.shape == self.size and frame.depth.dtype == np.float32 and 0.2 < np.median(frame.depth) < 10
        assert frame.K.shape == (3, 3) and frame.K.dtype == np.float32
    def register(self, frame):
        self._check(frame)
        assert frame.mask.shape == self.size and frame.mask.dtype == np.uint8 and frame.mask.max() == 255
        return Result(1.0)
    def track(self, frame):
        self._check(frame)
        assert frame.mask is None
        return Result(2.0)
"""


def test_nvidias_library_is_called_as_its_documentation_says(tmp_path, monkeypatch):
    (tmp_path / "foundation_pose_nvidia.py").write_text(FAKE_NVIDIA)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config = EngineConfig(python=Path(sys.executable), server=SERVERS / "nvidia.py")
    with FoundationPose(FoundationPoseConfig(engine=config, seeded=False)) as library:
        tracker = _tracker(library)
        found = [tracker.register([FRAME], T_world_object=T_WORLD_HAND), tracker.track([FRAME])]
    for z, T_world_hand in zip((1.0, 2.0), found, strict=True):
        T_camera_mesh = se3.inverse(CAMERAS[0].T_world_camera) @ T_world_hand @ _mesh_in_hand(tmp_path)
        np.testing.assert_allclose(T_camera_mesh, se3.translation(0, 0, z), atol=1e-6)
