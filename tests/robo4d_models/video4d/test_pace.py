import numpy as np
import pytest
import torch
from robo4d_models.video4d.pace import duration_s, previous

from robo4d.geometry import se3

SPEED = torch.tensor([0.1, 0.5])  # m/s, rad/s


def poses(*twists):
    """Of both arms: that of the left one, and the right one at home."""
    return torch.from_numpy(np.stack([se3.exp(np.array([twist, np.zeros(6)])) for twist in twists]))


def test_a_keyframe_takes_the_longer_of_both_ways_and_a_pause():
    home, moved, turned = poses(np.zeros(6), [0.3, 0, 0.4, 0, 0, 0], [0.01, 0, 0, 0, 1.2, 0])
    took = duration_s(
        torch.stack([home, home, home]),
        torch.stack([moved, turned, home]),
        log_speed=SPEED.log(),
        pause_s=torch.tensor([0.2, -0.1, 0.9]),
    )
    assert took.tolist() == pytest.approx([5.2, 2.3, 0.9], abs=1e-4)
    both = moved.clone()
    both[1, 0, 3] = 0.8  # the other arm has farther to go
    assert duration_s(home, both, log_speed=SPEED.log(), pause_s=torch.zeros(())).item() == pytest.approx(8.0)


def test_the_speeds_can_be_learned_even_from_arms_that_stand_still():
    log_speed = SPEED.log().requires_grad_()
    home, moved = poses(np.zeros(6), [0.3, 0, 0.4, 0, 0, 0])
    took = duration_s(
        torch.stack([home, home]), torch.stack([moved, home]), log_speed=log_speed, pause_s=torch.zeros(2)
    )
    took.sum().backward()
    assert log_speed.grad.tolist() == pytest.approx([-5.0, 0.0])


def test_each_slot_is_reached_from_the_last_known_one_or_from_now():
    known = torch.tensor([[0, 1, 0, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0, 1.0]])
    assert previous(known).tolist() == [[6, 6, 1, 1, 1, 4, 6], [6, 0, 0, 0, 3, 3, 6]]
