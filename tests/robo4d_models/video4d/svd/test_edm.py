import itertools
import math

import pytest
import torch
from robo4d_models.video4d.svd.edm import Condition, denoise, denoised, diffusion_losses, few_step_losses, sample
from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.options import SamplerConfig
from small_svd import inputs, small_config, small_network

from robo4d.interfaces import Cancelled


def condition(network, **sizes):
    _, _, latents, context = inputs(network.config, **sizes)
    return Condition(latents=latents, context=context)


def sigmas_of(config):
    """The noise levels of EDM's eq. 5, and 0."""
    ends = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    steps = [ends[0] + i / (config.steps - 1) * (ends[1] - ends[0]) for i in range(config.steps)]
    return [step**config.rho for step in steps] + [0.0]


def euler(model, x, sigmas):
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) * (x - model(x, s)) / s
    return x


def dpm_solver_2m(model, x, sigmas):
    """Algorithm 2 of arXiv:2211.01095 in terms of sigma, first order in the first and last step."""
    before, h_before = None, 0.0
    for s, t in itertools.pairwise(sigmas):
        now = model(x, s)
        if t == 0:
            return now
        h = math.log(s / t)
        ahead = now if before is None else now + (now - before) * h / (2 * h_before)
        x = t / s * x - math.expm1(-h) * ahead
        before, h_before = now, h
    return x


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (SamplerConfig(steps=5, sigma_max=80.0), euler),
        (SamplerConfig(solver="dpm++", steps=5, sigma_max=80.0), dpm_solver_2m),
    ],
)
def test_the_samplers_do_what_their_papers_say(config, reference):
    network = small_network()
    told = condition(network)

    def model(x, s):
        return denoised(network, x, torch.tensor([s]), told)

    noise = torch.randn(1, 2, 2, 8, 4, 4, generator=torch.Generator().manual_seed(3))
    expected = reference(model, noise * math.sqrt(config.sigma_max**2 + 1), sigmas_of(config))
    result = sample(network, told, frames=2, config=config, seed=3)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


def test_what_is_denoised_is_the_latents_when_the_network_predicts_v():
    rng = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 3, 2, 2, 8, 4, 4, generator=rng)
    sigma = torch.tensor([0.1, 2.0, 300.0])
    s = sigma[:, None, None, None, None, None]
    nothing = Condition(latents=torch.zeros(3, 2, 8, 4, 4), context=torch.zeros(3, 2, 1, 4))

    def network(noisy, noise_level, latents_, context):
        torch.testing.assert_close(noise_level, sigma.log() / 4)
        return (noise - s * latents) / (s**2 + 1).sqrt()

    torch.testing.assert_close(denoised(network, latents + s * noise, sigma, nothing), latents, rtol=1e-4, atol=1e-3)


def loss_with(gripper, points_weight=1.0, error_in=slice(None)):
    """Losses of a network whose estimate is off by 1 in some channels, at every noise level."""
    latents = torch.zeros(2, 2, 2, 8, 4, 4)
    told = Condition(latents=torch.zeros(2, 2, 8, 4, 4), context=torch.zeros(2, 2, 1, 4))

    def network(noisy, noise_level, latents_, context):
        s = (4 * noise_level).exp()[:, None, None, None, None, None]
        off = torch.zeros_like(noisy)
        off[:, :, :, error_in] = s / (s**2 + 1).sqrt()  # so that the weighted error is 1
        return (noisy / s) - off * (s**2 + 1).sqrt() / s

    rng = torch.Generator().manual_seed(0)
    return diffusion_losses(network, latents, told, gripper, points_weight=points_weight, generator=rng)


def test_every_noise_level_counts_the_same_and_grippers_count_twice():
    nowhere, half = torch.zeros(2, 2, 2, 4, 4), torch.zeros(2, 2, 2, 4, 4)
    half[..., :2] = 1
    assert loss_with(nowhere)["rgb"].item() == pytest.approx(1.0, rel=1e-3)
    assert loss_with(half)["rgb"].item() == pytest.approx(1.5, rel=1e-3)
    assert loss_with(half)["points"].item() == pytest.approx(1.5, rel=1e-3)


def test_lambda_weighs_the_points_alone():
    nowhere = torch.zeros(2, 2, 2, 4, 4)
    losses = loss_with(nowhere, points_weight=0.25)
    assert losses["points"].item() == pytest.approx(0.25 * losses["rgb"].item(), rel=1e-3)
    assert loss_with(nowhere, error_in=slice(4, 8))["rgb"].item() == pytest.approx(0, abs=1e-6)


def test_all_views_of_a_sample_have_one_noise_level_and_samples_different_ones():
    seen = []

    def network(noisy, noise_level, latents, context):
        seen.append((noisy, noise_level))
        return noisy

    latents = torch.zeros(3, 2, 2, 8, 16, 16)
    told = Condition(latents=torch.zeros(3, 2, 8, 16, 16), context=torch.zeros(3, 2, 1, 4))
    diffusion_losses(network, latents, told, torch.zeros(3, 2, 2, 16, 16), generator=torch.Generator().manual_seed(1))
    ((noisy, level),) = seen
    s = (4 * level).exp()
    expected = (s / (s**2 + 1).sqrt())[:, None].expand(3, 2)
    torch.testing.assert_close(noisy.std(dim=(2, 3, 4, 5)), expected, rtol=0.05, atol=0)
    assert len(set(level.tolist())) == 3


def test_a_student_gets_in_few_steps_nearer_to_where_its_teacher_gets_in_25():
    teacher = small_network()
    told, nowhere = condition(teacher), torch.zeros(1, 2, 2, 4, 4)
    noise = torch.randn(1, 2, 2, 8, 4, 4, generator=torch.Generator().manual_seed(7))
    student = TwoViewUNet(small_config())
    student.load_state_dict(teacher.state_dict())
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    for i in range(6):
        rng = torch.Generator().manual_seed(i)
        losses = few_step_losses(student, teacher, noise, told, nowhere, config=SamplerConfig(steps=10), generator=rng)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    with torch.no_grad():
        expected = denoise(teacher, noise, told, SamplerConfig())
        for steps in (1, 2, 4):
            few = SamplerConfig(steps=steps, sigma_min=1.0)
            far, near = (
                (denoise(network, noise, told, few) - expected).norm().item() for network in (teacher, student)
            )
            assert near < 0.95 * far, steps


def test_a_student_that_always_answers_with_its_teachers_latents_has_nothing_to_learn():
    told = Condition(latents=torch.zeros(2, 2, 8, 4, 4), context=torch.zeros(2, 2, 1, 4))
    noise = torch.randn(2, 2, 2, 8, 4, 4, generator=torch.Generator().manual_seed(0))

    def always(latents):
        def network(noisy, noise_level, condition_, context):
            s = (4 * noise_level).exp()[:, None, None, None, None, None]
            return (noisy - (s**2 + 1).sqrt() * latents) / s

        return network

    few = {"condition": told, "gripper": torch.zeros(2, 2, 2, 4, 4), "config": SamplerConfig(steps=2)}
    same = few_step_losses(always(noise), always(noise), noise, **few)
    other = few_step_losses(always(0 * noise), always(noise), noise, **few)
    assert same["rgb"].item() == pytest.approx(0, abs=1e-5)
    assert other["rgb"].item() > 0.5


def test_guidance_compares_with_a_network_that_is_told_nothing_and_costs_nothing_when_off():
    sizes = []

    def network(noisy, noise_level, latents, context):
        sizes.append(len(noisy))
        told = latents.amax(dim=(1, 2, 3, 4)) + context.amax(dim=(1, 2, 3))
        return noisy * 0 + told[:, None, None, None, None, None]

    told = Condition(latents=torch.ones(1, 2, 8, 4, 4), context=torch.ones(1, 2, 1, 4))
    one_step = {"steps": 1, "sigma_max": 1.0}
    plain = sample(network, told, 3, SamplerConfig(**one_step), seed=0)
    guided = sample(network, told, 3, SamplerConfig(**one_step, guidance=(1.0, 2.5)), seed=0)
    assert sizes == [1, 2]
    difference = (plain - guided).mean(dim=(0, 1, 3, 4, 5))  # D falls by F / sqrt(2), F is 2 where told, 0 where not
    torch.testing.assert_close(difference, 2 * torch.tensor([0, 0.75, 1.5]) / math.sqrt(2), rtol=1e-4, atol=1e-5)


def test_conditions_are_dropped_one_by_one():
    told = Condition(latents=torch.ones(4000, 1, 8, 1, 1), context=torch.ones(4000, 1, 1, 1))
    torch.manual_seed(0)
    left = told.dropped(0.1)
    rgb, points = left.latents[:, 0, 0, 0, 0], left.latents[:, 0, 7, 0, 0]
    for kept in (rgb, points, left.context[:, 0, 0, 0]):
        assert kept.mean().item() == pytest.approx(0.9, abs=0.02)
    assert (rgb * points).mean().item() == pytest.approx(0.81, abs=0.03)


def test_conditions_are_also_dropped_all_at_once_as_guidance_has_them():
    told = Condition(latents=torch.ones(4000, 1, 8, 1, 1), context=torch.ones(4000, 1, 1, 1))
    torch.manual_seed(0)

    def untold(**shares):
        left = told.dropped(0.1, **shares)
        return ((left.latents.sum(dim=(1, 2, 3, 4)) == 0) & (left.context[:, 0, 0, 0] == 0)).float().mean().item()

    assert untold() < 0.005
    assert untold(together=0.05) == pytest.approx(0.051, abs=0.015)


def test_a_seed_gives_the_same_video_and_another_seed_another():
    network = small_network()
    told = condition(network)
    first, again, other = (sample(network, told, 2, SamplerConfig(steps=2), seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().max() > 0.1


def test_sampling_reports_its_steps_and_can_be_cancelled():
    network = small_network()
    steps = []

    def progress(step, of):
        steps.append((step, of))
        return step < 2

    with pytest.raises(Cancelled):
        sample(network, condition(network), 2, SamplerConfig(steps=5), seed=0, progress=progress)
    assert steps == [(0, 5), (1, 5), (2, 5)]
