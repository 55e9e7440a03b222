import dataclasses
import json
from importlib import metadata

import numpy as np
import pytest
import tensorstore as ts

from robo4d.episodes.format import DEPTH_UNIT, Episode, Motion, SceneStates, depth_units, metres
from robo4d.episodes.storage import EpisodeWriter, open_dataset, read_episode, write_group
from robo4d.geometry import Camera, Intrinsics

HEIGHT, WIDTH, TIMES, VIEWS = 6, 8, 2, 2


def example_images(seed=0):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (TIMES, HEIGHT, WIDTH, 3), np.uint8)
    depth = rng.uniform(0.1, 6.5, (TIMES, HEIGHT, WIDTH)).astype(np.float32)
    return rgb, depth, rng.integers(0, 10, (TIMES, HEIGHT, WIDTH), np.uint8)


def example_scene():
    rng = np.random.default_rng(1)
    shapes = {
        "qpos": (TIMES, 25),
        "mocap_pos": (2, 3),
        "mocap_quat": (2, 4),
        "geom_rgba": (5, 4),
        "mat_rgba": (3, 4),
        "light_dir": (2, 3),
        "light_diffuse": (2, 3),
    }
    return SceneStates(**{name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()})


@pytest.fixture
def episode():
    second = Camera(
        intrinsics=Intrinsics(fx=7.1, fy=7.3, cx=4.2, cy=2.9, width=WIDTH, height=HEIGHT),
        T_world_camera=Camera.example().T_world_camera @ np.diag([-1.0, -1.0, 1.0, 1.0]),
    )
    return dataclasses.replace(Episode.example(), cameras=(Camera.example(), second), scene=example_scene())


@pytest.fixture
def folder(tmp_path, episode):
    """A data set with one episode."""
    write_group(tmp_path, {})
    with EpisodeWriter(tmp_path / "one", episode) as writer:
        for view in range(VIEWS):
            writer.write_view(view, *example_images(view))
    return tmp_path / "one"


def assert_same_arrays(a, b):
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        np.testing.assert_array_equal(x, y, err_msg=field.name)
        assert x.dtype == y.dtype, field.name


def test_an_episode_comes_back_as_it_was_written(folder, episode):
    read = read_episode(folder)
    assert read.info == episode.info
    assert len(read) == TIMES
    assert_same_arrays(read.motion, episode.motion)
    assert_same_arrays(read.scene, episode.scene)
    for a, b in zip(read.cameras, episode.cameras, strict=True):
        assert a.intrinsics == b.intrinsics
        np.testing.assert_array_equal(a.T_world_camera, b.T_world_camera)


@pytest.mark.parametrize("view", range(VIEWS))
@pytest.mark.parametrize("time", range(TIMES))
def test_a_frame_comes_back_with_depth_to_a_tenth_of_a_millimetre(folder, episode, view, time):
    rgb, depth, labels = example_images(view)
    read = read_episode(folder)
    frame = read.frame(view, time)
    np.testing.assert_array_equal(frame.rgb, rgb[time])
    np.testing.assert_allclose(frame.depth, depth[time], atol=DEPTH_UNIT / 2 + 1e-6)
    np.testing.assert_array_equal(read.images.labels[view, time], labels[time])
    assert frame.stamp_ns == episode.motion.stamps_ns[time]
    np.testing.assert_array_equal(frame.T_world_camera, episode.cameras[view].T_world_camera)


def test_images_are_read_by_slices_like_numpy_arrays(folder):
    images = read_episode(folder).images
    assert images.rgb.shape == (VIEWS, TIMES, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(images.rgb[1, 0:2, ::2], example_images(1)[0][:, ::2])


def test_one_frame_is_read_without_the_others(folder):
    """All but the first image of a view's file are destroyed: the first must still be readable."""
    shard = folder / "rgb" / "c" / "1" / "0" / "0" / "0" / "0"
    inner = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/rgb/"}}).result()
    assert inner.chunk_layout.read_chunk.shape == (1, 1, HEIGHT, WIDTH, 3)
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content[-(16 * TIMES + 4) : -4], np.uint64).reshape(TIMES, 2)
    offset, length = (int(n) for n in index[1])
    content[offset : offset + length] = bytes(length)
    shard.write_bytes(content)
    images = read_episode(folder).images
    np.testing.assert_array_equal(images.rgb[1, 0], example_images(1)[0][0])
    with pytest.raises(ValueError, match="ZSTD"):
        images.rgb[1, 1]


def test_zarr_python_reads_the_data_set(folder, episode):
    zarr = pytest.importorskip("zarr", minversion="3")
    group = zarr.open_group(folder.parent, mode="r")["one"]
    assert group.attrs["robo4d"]["task"] == "example"
    np.testing.assert_array_equal(group["rgb"][1], example_images(1)[0])
    np.testing.assert_array_equal(group["depth"][1], depth_units(example_images(1)[1]))
    assert group["depth"].metadata.dimension_names == ("view", "time", "height", "width")
    np.testing.assert_array_equal(group["T_world_tcp"][:], episode.motion.T_world_tcp)
    np.testing.assert_array_equal(group["scene/qpos"][:], episode.scene.qpos)
    assert set(group.array_keys()) == {
        *(field.name for field in dataclasses.fields(Motion)),
        *("rgb", "depth", "labels", "intrinsics", "T_world_camera"),
    }


def test_depth_beyond_the_range_of_the_files_counts_as_none():
    depth = np.array([0.0, 0.00004, 1.23456, 6.5535, 6.5536, 20.0, np.inf], np.float32)
    np.testing.assert_array_equal(depth_units(depth), [0, 0, 12346, 65535, 0, 0, 0])
    assert metres(depth_units(depth)).dtype == np.float32


def write_views(folder, episode, views):
    with EpisodeWriter(folder, episode) as writer:
        for view in views:
            writer.write_view(view, *example_images(view))


def test_an_error_while_writing_leaves_nothing(tmp_path, episode):
    write_group(tmp_path, {})
    with pytest.raises(ValueError, match="2"):
        write_views(tmp_path / "one", episode, [0, 1, 2])  # one more view than there are cameras
    assert [path.name for path in tmp_path.iterdir()] == ["zarr.json"]


def test_an_episode_that_lacks_a_view_is_refused(tmp_path, episode):
    write_group(tmp_path, {})
    with pytest.raises(ValueError, match=r"\[0\] are missing"):
        write_views(tmp_path / "one", episode, [1])
    assert open_dataset(tmp_path) == []


def test_an_episode_is_invisible_until_it_is_complete(tmp_path, episode):
    write_group(tmp_path, {})
    with EpisodeWriter(tmp_path / "one", episode) as writer:
        for view in range(VIEWS):
            writer.write_view(view, *example_images(view))
            assert open_dataset(tmp_path) == []
    assert open_dataset(tmp_path) == [tmp_path / "one"]


def test_states_alone_are_an_episode_without_images(tmp_path, episode):
    with EpisodeWriter(tmp_path / "one", episode):
        pass
    read = read_episode(tmp_path / "one")
    assert read.images is None
    with pytest.raises(ValueError, match="robo4d render"):
        read.frame(0, 0)


def test_a_real_recording_has_no_states_of_a_simulator(tmp_path, episode):
    with EpisodeWriter(tmp_path / "one", dataclasses.replace(episode, scene=None)):
        pass
    assert read_episode(tmp_path / "one").scene is None


def test_a_folder_that_is_no_episode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="robo4d collect"):
        read_episode(tmp_path)
    with pytest.raises(ValueError, match="robo4d collect"):
        open_dataset(tmp_path / "missing")
    write_group(tmp_path, {})
    with pytest.raises(ValueError, match="lacks the attribute `robo4d`"):
        read_episode(tmp_path)


def test_an_episode_tells_which_robo4d_recorded_it(folder, tmp_path):
    assert read_episode(folder).info.robo4d_version == metadata.version("robo4d")
    written = json.loads((folder / "zarr.json").read_text())
    attributes = written["attributes"]["robo4d"]
    attributes["robo4d_version"] = "0.0.1"
    (folder / "zarr.json").write_text(json.dumps(written))
    with EpisodeWriter(tmp_path / "copy", read_episode(folder)):
        pass
    assert read_episode(tmp_path / "copy").info.robo4d_version == "0.0.1"
    del attributes["robo4d_version"]
    (folder / "zarr.json").write_text(json.dumps(written))
    assert read_episode(folder).info.robo4d_version == "unknown"


def test_an_episode_of_another_format_is_refused(folder):
    group = json.loads((folder / "zarr.json").read_text())
    group["attributes"]["robo4d"]["format"] = 99
    (folder / "zarr.json").write_text(json.dumps(group))
    with pytest.raises(ValueError, match="format 99"):
        read_episode(folder)


def test_the_example_shows_a_wall_one_metre_away():
    frame = Episode.example().frame(0, 1)
    assert (frame.depth == 1).all()
    assert frame.stamp_ns == 100_000_000
