import pytest
from small_svd import small_model, wall_episode

from robo4d.episodes import EpisodeWriter
from robo4d.episodes.dataset import common_settings
from robo4d.episodes.storage import write_group


@pytest.fixture(scope="session")
def episodes(tmp_path_factory):
    """Two episodes of three views, one of them for validation."""
    folder = tmp_path_factory.mktemp("episodes")
    write_group(folder, {"robo4d_dataset": common_settings(views=3, size=(32, 48), rate_hz=10.0)})
    for seed in (0, 1):
        episode, images = wall_episode(seed)
        with EpisodeWriter(folder / f"wall-standard-{seed:06d}", episode) as writer:
            for view, (rgb, depth, labels) in enumerate(images):
                writer.write_view(view, rgb, depth, labels)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    small_model().save(folder)
    return folder
