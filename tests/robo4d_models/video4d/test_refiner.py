import numpy as np
import torch
from ball_world import above, plates, poses, start, views, widths
from robo4d_models.video4d.coding import OPEN_WIDTH
from robo4d_models.video4d.draft import Draughtsman, compose
from robo4d_models.video4d.refiner import (
    LAYERS,
    Refiner,
    RefinerConfig,
    RefinerTarget,
    encode_draft,
    encode_motion,
    refiner_errors,
    refiner_losses,
)

SMALL = RefinerConfig(widths=(16, 24, 32), joint_layers=1)
PLACE = above(np.array([0.5, 0.1, 0.25]))


def sample():
    """A draft of a gripper that came into view, and a truth in which the ball has turned blue."""
    pair = views()
    before = start(above(np.array([0.5, 0.3, 0.4])))
    drafts = Draughtsman(pair, plates(), before, poses(PLACE), widths(OPEN_WIDTH)).draw(0)
    codes = np.stack([encode_draft(v, d) for v, d in zip(pair, drafts, strict=True)])
    motion = np.stack([encode_motion(v, before.T_world_tcp, poses(PLACE)[0], widths(OPEN_WIDTH)[0], 1.0) for v in pair])
    truth = [compose(v, d) for v, d in zip(pair, drafts, strict=True)]
    rgb = np.stack([2 * c.transpose(2, 0, 1) - 1 for c, _ in truth])
    rgb = np.where((rgb[:, :1] > rgb[:, 1:2] + 0.5), rgb[:, ::-1], rgb)
    target = RefinerTarget(
        rgb=torch.from_numpy(rgb.copy()).float()[None],
        depth=torch.from_numpy(np.stack([d for _, d in truth])).float()[None],
        gripper=torch.from_numpy(
            np.stack([[d.robot.gripper & (d.robot.arm == arm) for arm in range(2)] for d in drafts])
        ).float()[None],
    )
    return torch.from_numpy(codes)[None], torch.from_numpy(motion)[None], target


def model():
    torch.manual_seed(0)
    return Refiner(SMALL)


def test_a_code_has_the_channels_that_the_network_expects():
    drafts, motion, _ = sample()
    assert drafts.shape == (1, 2, LAYERS, 64, 64)
    output = model()(drafts, motion)
    assert output.rgb.shape == (1, 2, 3, 64, 64)
    assert output.gripper.shape == (1, 2, 2, 64, 64)


def test_an_untrained_refiner_returns_the_draft():
    drafts, motion, target = sample()
    output = model()(drafts, motion)
    torch.testing.assert_close(output.rgb, drafts[:, :, 2:5])
    drawn = drafts[:, :, 0] > 0
    torch.testing.assert_close(output.depth[drawn], target.depth[drawn], atol=1e-4, rtol=0)


def test_no_surface_lies_between_what_is_drawn_and_what_is_painted():
    drafts, motion, _ = sample()
    output = model()(drafts, motion)
    gate = torch.linspace(-4, 8, output.gate.numel()).reshape(output.gate.shape)
    output = output._replace(gate=gate, painted_depth=output.drawn_depth + 1)
    surface, empty = output.surface_depth, output.drawn_depth == 0
    sure = gate > 4
    assert (surface[sure | empty] == output.painted_depth[sure | empty]).all()
    unsure = (gate < 0) & ~empty
    assert (surface[unsure] == output.drawn_depth[unsure]).all()
    assert ((surface == output.drawn_depth) | (surface == output.painted_depth)).all()


def test_a_repainted_surface_stays_where_it_was_drawn():
    drafts, motion, _ = sample()
    output = model()(drafts, motion)
    output = output._replace(gate=torch.full_like(output.gate, 9.0), painted_depth=output.drawn_depth * 1.01)
    torch.testing.assert_close(output.surface_depth, output.drawn_depth)


def test_the_loss_reaches_every_parameter():
    network, (drafts, motion, target) = model(), sample()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(6):  # what starts at zero hides what lies behind it
        optimizer.zero_grad()
        sum(refiner_losses(drafts, network(drafts, motion), target).values()).backward()
        optimizer.step()
    assert [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_what_the_draft_has_wrong_is_learned():
    network, (drafts, motion, target) = model(), sample()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    before = refiner_errors(drafts, network(drafts, motion), target)
    for _ in range(40):
        optimizer.zero_grad()
        sum(refiner_losses(drafts, network(drafts, motion), target).values()).backward()
        optimizer.step()
    after = refiner_errors(drafts, network(drafts, motion), target)
    assert after["psnr"].mean() > before["psnr"].mean() + 5
    torch.testing.assert_close(before["psnr"], before["draft_psnr"])
    assert after["iou"].mean() > 0.9
