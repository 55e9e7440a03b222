from dataclasses import asdict

import numpy as np
import pytest
import torch
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.segmenter import (
    CLASSES,
    Segmenter,
    SegmenterConfig,
    SegmenterSample,
    augmented,
    segmenter_errors,
    segmenter_losses,
)

SMALL = SegmenterConfig(widths=(16, 16, 24))


def squares(rng, count=8, size=32):
    """White squares, which stand for grippers, and red ones for objects, on grey."""
    images = np.full((count, size, size, 3), 120, np.uint8)
    masks = np.zeros((count, len(CLASSES), size, size), np.float32)
    for i in range(count):
        for k, colour in enumerate(([250, 250, 250], [200, 30, 30])):
            row, column = rng.integers(0, size - 8, 2)
            images[i, row : row + 8, column : column + 8] = colour
            masks[i, :, row : row + 8, column : column + 8] = 0
            masks[i, k, row : row + 8, column : column + 8] = 1
    return images, masks


def sample(images, masks):
    scaled = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    return SegmenterSample(rgb=scaled, masks=torch.from_numpy(masks))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model, rng = Segmenter(SMALL), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(segmenter_losses(model, sample(*squares(rng))).values()).backward()
        optimizer.step()
    return model.eval()


def test_grippers_and_objects_are_found_in_new_images(trained):
    images, masks = squares(np.random.default_rng(1))
    found = trained.masks(images)
    for i, name in enumerate(CLASSES):
        true = masks[:, i] > 0
        assert (found[name] & true).sum() / (found[name] | true).sum() > 0.8
    with torch.no_grad():
        errors = segmenter_errors(trained, sample(images, masks))
    assert errors.keys() == {"gripper_iou", "object_iou"}
    assert min(values.mean() for values in errors.values()) > 0.8


def test_weights_are_read_back_and_those_of_another_model_refused(trained, tmp_path):
    file = tmp_path / "segmenter.safetensors"
    checkpoints.save_weights(file, dict(trained.state_dict()), asdict(trained.config))
    images, _ = squares(np.random.default_rng(2))
    again = Segmenter.load(file).masks(images)
    assert all((again[name] == mask).all() for name, mask in trained.masks(images).items())
    checkpoints.save_weights(file, {"other": torch.zeros(1)}, asdict(trained.config))
    with pytest.raises(ValueError, match="another model"):
        Segmenter.load(file)


def test_augmented_images_stay_images_of_the_same_thing():
    images, _ = squares(np.random.default_rng(3))
    changed = augmented(images.astype(np.float32) / 127.5 - 1, np.random.default_rng(0))
    assert changed.dtype == np.float32
    assert np.abs(changed - (images / 127.5 - 1)).mean() < 0.4
    assert np.isfinite(changed).all()
