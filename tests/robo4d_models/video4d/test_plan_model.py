from dataclasses import replace

import numpy as np
import pytest
import torch
from robo4d_models.video4d.batches import Augmentation, plan_sample
from robo4d_models.video4d.coding import rotation_to_6d
from robo4d_models.video4d.data import SampleFolder
from robo4d_models.video4d.facing import facings, surface_normals
from robo4d_models.video4d.keyframes import NOW
from robo4d_models.video4d.losses import flow_loss, plan_errors, plan_losses
from robo4d_models.video4d.plan_model import FlowHead, PlanModel, PlanModelConfig
from robo4d_models.video4d.planning import load_plan_model

from robo4d import shipped

SMALL = PlanModelConfig(widths=(16, 32, 64), flow_width=64)


def batch(samples, *, count=4, seed=0, augmentation=None):
    rng = np.random.default_rng(seed)
    return plan_sample(SampleFolder(samples).draw(rng, count), rng, size=32, augmentation=augmentation)


def model():
    torch.manual_seed(0)
    return PlanModel(SMALL)


def test_every_row_of_the_output_belongs_to_a_slot_or_to_now(samples):
    output = model()(batch(samples, count=3).observation)
    assert output.position.shape == (3, NOW + 1, 2, 3)
    assert output.rotation.shape == (3, NOW + 1, 2, 6)
    assert output.next_slot.shape == (3, NOW + 1)


def test_the_loss_reaches_every_parameter(samples):
    network, sample = model(), batch(samples)
    sample.observation.state_known[0] = 0
    # What starts at zero hides what lies behind it: one step first.
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        output = network(sample.observation)
        (sum(plan_losses(output, sample.target).values()) + flow_loss(network, output, sample.target)).backward()
        optimizer.step()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_normals_turn_with_the_world(samples):
    observation = batch(samples).observation
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = replace(observation, points=torch.einsum("ij,bvjhw->bvihw", turn, observation.points))
    normals = surface_normals(observation.points, observation.valid)
    torch.testing.assert_close(
        surface_normals(turned.points, turned.valid), torch.einsum("ij,bvjhw->bvihw", turn, normals), atol=1e-3, rtol=0
    )
    length = normals.norm(dim=2)
    assert (length > 0.5).float().mean() > 0.3
    torch.testing.assert_close(length[length > 0.5], torch.ones_like(length[length > 0.5]))


def test_most_of_what_is_seen_of_a_table_is_level(samples):
    observation = batch(samples).observation
    on_table = (observation.points[:, :, 2].abs() < 0.01) & (
        surface_normals(observation.points, observation.valid).norm(dim=2) > 0.5
    )
    assert surface_normals(observation.points, observation.valid)[:, :, 2][on_table].abs().median() > 0.99


def test_all_sides_of_an_upright_box_share_a_channel_that_tells_how_it_is_turned():
    angles = np.deg2rad(20) + np.pi / 2 * np.arange(4)
    sides = torch.tensor(np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=0), dtype=torch.float32)
    facing = facings(sides[None, None, :, None])[0, 0, :, 0]
    fourth = facing[-2:].mean(dim=-1)
    assert torch.rad2deg(torch.atan2(fourth[1], fourth[0])).item() / 4 == pytest.approx(20, abs=1e-3)
    up = facings(torch.tensor([0.0, 0.0, 1.0]).reshape(1, 1, 3, 1, 1)).flatten()
    assert up.tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_a_few_samples_are_learned(samples):
    network, sample = model(), batch(samples)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        total = sum(plan_losses(network(sample.observation), sample.target).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.2 * losses[0]
    errors = plan_errors(network(sample.observation), sample.target)
    assert errors["event_mm"].median() < 60
    assert errors["next_right"].mean() == 1


def test_without_the_robots_state_nothing_of_it_matters(samples):
    network, sample = model(), batch(samples)
    sample.observation.state_known.zero_()
    first = network(sample.observation)
    sample.observation.tcp.normal_()
    sample.observation.width.normal_()
    torch.testing.assert_close(network(sample.observation).position, first.position)


def test_bfloat16_does_not_round_places(samples):
    trained, observation = load_plan_model(shipped.TINY / "plan.safetensors"), batch(samples).observation
    with torch.no_grad():
        exact = trained(observation).position
        with torch.autocast("cpu", torch.bfloat16):
            rounded = trained(observation).position
    assert (rounded - exact).norm(dim=-1).median() < 5e-4


def test_the_order_of_the_views_does_not_matter(samples):
    network, observation = model(), batch(samples).observation
    first = network(observation).position
    for images in (observation.rgb, observation.points, observation.valid):
        images.copy_(images.flip(1))
    torch.testing.assert_close(network(observation).position, first, atol=1e-4, rtol=1e-4)


def test_samples_are_decided_by_their_seed(samples):
    network, observation = model(), batch(samples, count=1).observation
    torch.nn.init.normal_(network.flow.out.weight, std=0.1)
    a, b, c = (
        network.sample(observation, temperatures=torch.ones(3), steps=2, seeds=[seed]).position for seed in (1, 1, 2)
    )
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (a - c).abs().max() > 1e-3
    assert (a[0] - a[1]).abs().max() > 1e-3
    both = network.sample(observation, temperatures=torch.ones(3), steps=2, seeds=[1, 2]).position
    torch.testing.assert_close(both, torch.cat([a, c]))


def test_the_colder_the_nearer_to_the_middle(samples):
    network, observation = model(), batch(samples, count=1).observation
    torch.nn.init.normal_(network.flow.out.weight, std=0.1)
    cold, cool, warm = network.sample(
        observation, temperatures=torch.tensor([0.0, 0.25, 1.0]), steps=2, seeds=[0]
    ).position
    assert (cold - cool).norm() < 0.5 * (cold - warm).norm()
    again = network.sample(observation, temperatures=torch.zeros(1), steps=2, seeds=[1]).position[0]
    torch.testing.assert_close(again, cold)


def test_applying_a_residual_undoes_taking_it(samples):
    sample = batch(samples)
    mean = model()(sample.observation)
    poses = sample.target.T_world_tcp
    residual = FlowHead.residual(mean, poses[..., :3, 3], poses[..., :3, :3])
    position, rotation = FlowHead.apply_residual(mean, residual)
    known = sample.target.known > 0
    torch.testing.assert_close(position[known], poses[..., :3, 3][known], atol=1e-4, rtol=0)
    expected = rotation_to_6d(poses[..., :3, :3])
    torch.testing.assert_close(rotation[known], expected[known], atol=1e-3, rtol=0)


def test_augmentation_moves_scene_robot_and_plan_together(samples):
    plain = batch(samples)
    moved = batch(samples, augmentation=Augmentation(depth_noise_m=0.0, state_noise_m=0.0, brightness=0.0))
    assert (plain.target.T_world_tcp - moved.target.T_world_tcp).abs().max() > 0.02

    def ball_to_grasp(sample):
        red = (sample.observation.rgb[:, 0, 0] - sample.observation.rgb[:, 0, 1] > 0.5)[:, None]
        points = sample.observation.points[:, 0]
        centre = (points * red).sum(dim=(-1, -2)) / red.sum(dim=(-1, -2))
        return (centre - sample.target.T_world_tcp[:, NOW - 6, 0, :3, 3]).norm(dim=-1)

    torch.testing.assert_close(ball_to_grasp(plain), ball_to_grasp(moved), atol=1e-3, rtol=0)
