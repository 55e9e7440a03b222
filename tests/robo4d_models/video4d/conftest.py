import numpy as np
import pytest
from ball_world import TASK, moment


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder with two attempts for training and one for validation, of a few moments each."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    for start in range(3):
        np.save(folder / f"{TASK}-{start}-0.npy", np.stack([moment(rng) for _ in range(4)]))
    return folder
