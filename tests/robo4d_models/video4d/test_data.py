import shutil

import numpy as np
import pytest
from ball_world import TASK, moment, plates
from robo4d_models.video4d.batches import PlanBatches, RefinerBatches
from robo4d_models.video4d.data import NoSamples, SampleFolder


def batches(folder):
    return PlanBatches(folder, batch=2, size=32, seed=0, augmentation=None, length=100)


def test_every_process_that_draws_takes_up_what_came_in(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(SampleFolder, "REFRESH", 6)
    data = shutil.copytree(samples, tmp_path / "samples")
    folders = [SampleFolder(data) for _ in range(2)]
    workers = [batches(folder) for folder in folders]
    np.save(data / f"{TASK}-3-0.npy", np.stack([moment(np.random.default_rng(3))]))
    for step in range(6):
        workers[step % 2][step]  # as a DataLoader shares them out
    assert [len(folder.names) for folder in folders] == [3, 3]


def test_a_folder_of_named_samples_does_not_grow(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(SampleFolder, "REFRESH", 1)
    data = shutil.copytree(samples, tmp_path / "samples")
    folder = SampleFolder(data, only=[f"{TASK}-1-0.npy"])
    np.save(data / f"{TASK}-3-0.npy", np.stack([moment(np.random.default_rng(3))]))
    assert batches(folder)[0].target.known.shape[0] == 2
    assert folder.names == [f"{TASK}-1-0.npy"]


def test_attempts_without_a_future_are_refused_by_name(tmp_path):
    np.save(tmp_path / f"{TASK}-1-0.npy", np.stack([moment(np.random.default_rng(3))]))
    with pytest.raises(NoSamples, match=r"has a second moment.*robo4d make-samples"):
        RefinerBatches(SampleFolder(tmp_path), batch=1, seed=0, length=1, robot=plates())[0]
