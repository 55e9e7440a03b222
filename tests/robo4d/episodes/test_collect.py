import contextlib
import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from robo4d.cli import main
from robo4d.episodes import open_dataset, read_episode
from robo4d.episodes.collect import collect
from robo4d.episodes.states import read_states

pytestmark = pytest.mark.gl

TASK = "put_spatula_on_table"  # the shortest
SMALL = ["--task", TASK, "--views", "2", "--size", "32x48", "--rate-hz", "1"]


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


def test_the_defaults_are_the_protocol_of_the_paper():
    defaults = {name: parameter.default for name, parameter in inspect.signature(collect).parameters.items()}
    named = ("task", "episodes", "views", "size")
    assert [defaults[name] for name in named] == ["all", 25, 16, "256x320"]


def images(folder):
    episode = read_episode(folder)
    return {name: getattr(episode.images, name)[:] for name in ("rgb", "depth", "labels")}


def assert_same_images(a, b):
    for name, values in images(a).items():
        np.testing.assert_array_equal(values, images(b)[name], err_msg=name)


def start(*arguments):
    """The real command as a process of its own."""
    command = [Path(sys.executable).with_name("robo4d"), *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_until(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
        assert process.returncode is None, f"the command must still be running: {process.stderr.read()}"
        assert time.monotonic() < deadline


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A data set whose collection was killed (kill -9) while it wrote the second episode, as the kill left it."""
    out = tmp_path_factory.mktemp("dataset")
    process = start("collect", "--out", out, "--episodes", 2, *SMALL, "--workers", 1)
    wait_until(lambda: list(out.glob(f"{TASK}*")) and list(out.glob(".*.partial/rgb")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return out, {folder: (folder / "zarr.json").stat().st_mtime_ns for folder in open_dataset(out)}


@pytest.fixture(scope="module")
def dataset(killed):
    """The same after the command was called again: two episodes."""
    out, _ = killed
    assert not run("collect", "--out", out, "--episodes", 2, *SMALL)
    return out


def test_after_a_kill_only_complete_episodes_are_left_and_the_next_call_keeps_them(killed, dataset):
    _, written = killed
    assert len(written) == 1
    assert len(open_dataset(dataset)) == 2
    assert {folder: (folder / "zarr.json").stat().st_mtime_ns for folder in written} == written
    assert not list(dataset.glob(".*.partial"))


def test_the_first_seeds_that_the_expert_solves_are_recorded(dataset):
    episodes = [read_episode(folder) for folder in open_dataset(dataset)]
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.info.success
        assert episode.info.task == TASK
        assert len(episode.cameras) == 2
        assert episode.images.rgb.shape == (2, len(episode), 32, 48, 3)


def test_the_recorded_object_ends_where_the_states_say_and_the_labels_show_it(dataset):
    episode = read_episode(open_dataset(dataset)[0])
    body = episode.info.bodies.index("spatula")
    path = episode.motion.T_world_body[:, body, :3, 3]
    assert np.linalg.norm(path[-1] - path[0]) > 0.1, "the spatula was carried"
    for view, camera in enumerate(episode.cameras):
        for time_index in range(len(episode)):
            labels = episode.images.labels[view, time_index]
            (u, v), z = camera.project(path[time_index].astype(float))
            if 1 <= u < 47 and 1 <= v < 31 and 7 in labels[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2]:
                seen = episode.frame(view, time_index).depth[labels == 7]
                assert abs(np.median(seen) - z) < 0.12
                break
        else:
            pytest.fail(f"view {view} never shows the spatula where it is")


def test_every_camera_sees_the_working_gripper_most_of_the_time(dataset):
    for folder in open_dataset(dataset):
        labels = images(folder)["labels"]
        assert (np.isin(labels, (4, 5, 6)).sum(axis=(2, 3)) > 5).mean(axis=1).min() > 0.6


def test_without_disturbances_the_label_is_what_was_executed(dataset):
    motion = read_episode(open_dataset(dataset)[0]).motion
    np.testing.assert_array_equal(motion.T_world_expert, motion.T_world_target)


def test_states_of_75_episodes_with_all_that_collecting_does_by_default_fit_into_5_megabytes(tmp_path):
    """Of this task an episode is smaller than the mean of the three by a factor of 1.14 (45, 44 and 65 kB)."""
    only = ["--task", TASK, "--episodes", "1", "--states-only", "--workers", "1"]
    assert not run("collect", "--out", tmp_path / "dataset", *only)
    episode = read_episode(open_dataset(tmp_path / "dataset")[0])
    assert (len(episode.cameras), episode.info.rate_hz) == (16, 10)
    assert not run("export-states", tmp_path / "dataset", tmp_path / "states.npz")
    assert 75 * 1.14 * (tmp_path / "states.npz").stat().st_size <= 5e6


def test_exported_states_draw_identical_pixels(dataset, tmp_path):
    states = tmp_path / "states.npz"
    assert not run("export-states", dataset, states)
    assert not run("render", states, "--out", tmp_path / "again")
    for folder in open_dataset(dataset):
        assert_same_images(folder, tmp_path / "again" / folder.name)


def test_states_alone_draw_the_images_that_collecting_at_once_would_have(dataset, tmp_path):
    """The second episode of the data set, again from its seed: another process, another order, the same pixels."""
    states = tmp_path / "states"
    assert not run("collect", "--out", states, "--episodes", 1, "--seed-offset", 1, "--states-only", *SMALL)
    name = open_dataset(states)[0].name
    assert read_episode(states / name).images is None
    assert not run("render", states, "--out", tmp_path / "drawn", "--size", "32x48")
    assert_same_images(dataset / name, tmp_path / "drawn" / name)


def test_another_size_keeps_the_framing(dataset, tmp_path):
    assert not run("render", dataset, "--out", tmp_path / "large", "--size", "64x96")
    name = open_dataset(dataset)[0].name
    small, large = images(dataset / name)["labels"], images(tmp_path / "large" / name)["labels"]
    assert (small == large[:, :, 1::2, 1::2]).mean() > 0.95


def test_ctrl_c_ends_the_command_cleanly(tmp_path):
    out = tmp_path / "stopped"
    process = start("collect", "--out", out, "--episodes", 50, *SMALL, "--workers", 1)
    wait_until(lambda: list(out.glob(".*.partial")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)  # returns when the workers are gone, too, which share the pipe
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert not list(out.glob(".*.partial"))


def test_other_settings_in_the_same_data_set_are_refused(dataset, capsys):
    assert run("collect", "--out", dataset, "--episodes", 2, *SMALL[:-4], "--size", "64x64", "--rate-hz", "1") == 1
    assert "begun with size [32, 48] (now [64, 64])" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (["--rate-hz", "7"], "divide the control rate"),
        (["--size", "256"], "HEIGHTxWIDTH"),
        (["--views", "0"], "at least one view"),
        (["--task", "put_spatula"], f"Did you mean `{TASK}`"),
        (["--workers", "0"], "at least one worker"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_made(tmp_path, capsys, wrong, reason):
    assert run("collect", "--out", tmp_path / "none", *wrong) == 1
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.glob("none/*-*"))


def test_a_view_of_an_episode_is_a_picture_a_video_and_a_recording(dataset, tmp_path):
    folder = open_dataset(dataset)[0]
    assert not run("view", folder, "--out", tmp_path)
    sheet = np.asarray(Image.open(tmp_path / f"{folder.name}.png"))
    assert min(sheet.shape[:2]) > 400
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 500, "more than an empty page"
    with imageio.get_reader(tmp_path / f"{folder.name}.mp4") as video:
        assert video.count_frames() == len(read_episode(folder))
        assert video.get_meta_data()["codec"] == "h264"
        assert video.get_meta_data()["pix_fmt"].startswith("yuv420p")
    verified = subprocess.run(
        [Path(sys.executable).with_name("rerun"), "rrd", "verify", tmp_path / f"{folder.name}.rrd"], check=False
    )
    assert verified.returncode == 0


def test_a_data_set_is_no_episode_to_view(dataset, capsys):
    assert run("view", dataset) == 1
    assert "choose one of its episodes" in capsys.readouterr().err


def test_a_state_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="export-states"):
        read_states(tmp_path / "none.npz")
