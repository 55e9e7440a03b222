"""Diffusion as in EDM (Karras et al. 2022, arXiv:2206.00364) with v-prediction: the loss, and the samplers.

With sigma_data = 1 the network F predicts v, and the latents are

    D(x; s) = c_skip x + c_out F(c_in x; c_noise),
    c_skip = 1 / (s^2 + 1),  c_out = -s / sqrt(s^2 + 1),  c_in = 1 / sqrt(s^2 + 1),  c_noise = ln(s) / 4.

All views of a sample have one noise level s, in training as in sampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from diffusers.schedulers.scheduling_edm_dpmsolver_multistep import EDMDPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from jaxtyping import Float
from torch import Tensor

from robo4d.interfaces import Cancelled
from robo4d_models.video4d.svd.network import LATENT_CHANNELS
from robo4d_models.video4d.svd.options import SamplerConfig

LOG_SIGMA_MEAN, LOG_SIGMA_STD = 1.0, 1.6
"""Of the noise levels in training (Stable Video Diffusion, appendix D.4)."""


Network = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""What `network.TwoViewUNet.forward` does: noisy, noise_level, condition, context -> v."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What the network knows of the observation."""

    latents: Float[Tensor, "b v c h w"]
    context: Float[Tensor, "b v s d"]

    def to(self, device: torch.device | str) -> "Condition":
        """The same on a device."""
        return Condition(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def in_float32(self) -> "Condition":
        """The same in float32."""
        return Condition(latents=self.latents.float(), context=self.context.float())

    def dropped(self, probability: float, *, together: float = 0.0) -> "Condition":
        """With image embedding, colours and points left out (zero) in a random share of the samples.

        So the network also learns to do without, which guidance needs.

        Args:
            probability: Of each of the three, drawn by itself.
            together: Of all three at once.
        """
        batch, device = len(self.latents), self.latents.device
        alone, all_three = torch.rand(3, batch, device=device), torch.rand(batch, device=device)
        kept = ((alone >= probability) & (all_three >= together)).to(self.latents.dtype)
        channels = torch.cat([kept[1:2], kept[2:3]]).repeat_interleave(LATENT_CHANNELS, dim=0)
        channels = channels[: self.latents.shape[2]].T[:, None, :, None, None]
        return Condition(latents=self.latents * channels, context=self.context * kept[0][:, None, None, None])


def denoised(
    network: Network, x: Float[Tensor, "b v t c h w"], sigma: Float[Tensor, " b"], condition: Condition
) -> Float[Tensor, "b v t c h w"]:
    """D(x; s): the estimate of the latents without noise."""
    s = sigma[:, None, None, None, None, None]
    v = network(x / (s**2 + 1).sqrt(), sigma.log() / 4, condition.latents, condition.context)
    return x / (s**2 + 1) - v * s / (s**2 + 1).sqrt()


def diffusion_losses(
    network: Network,
    latents: Float[Tensor, "b v t c h w"],
    condition: Condition,
    gripper: Float[Tensor, "b v t h w"],
    *,
    points_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """The paper's eq. 3, weighted as in eq. 4; the sum of what is returned is minimised.

    The weight of an error is (s^2 + 1) / s^2, which gives all noise levels the same size of loss, times 1 + M. (The
    code that the authors released adds M instead, which counts only at high noise.)

    Args:
        network: Predicts v.
        latents: Those of the true video, colours and then points.
        condition: What the network is told.
        gripper: M, 1 where a latent pixel shows a gripper, else 0.
        points_weight: lambda of eq. 3. Its value got lost from the paper; the released code amounts to 1.
        generator: Source of noise levels and noise.
    """
    normal = torch.randn(len(latents), generator=generator, device=latents.device)
    sigma = (LOG_SIGMA_MEAN + LOG_SIGMA_STD * normal).exp()
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    return losses_at(network, latents, noise, sigma, condition, gripper, points_weight=points_weight)


def few_step_losses(
    network: Network,
    teacher: Network,
    noise: Float[Tensor, "b v t c h w"],
    condition: Condition,
    gripper: Float[Tensor, "b v t h w"],
    *,
    config: SamplerConfig,
    points_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Those of `diffusion_losses`, on pairs of a noise and the latents that a teacher makes of that very noise.

    Reflow (Liu et al. 2022, arXiv:2209.03003): the paths from noise to latents become straight, so that few steps get
    as far as many; `video4d.few_step` is the same for the tiny preset. Noise levels are spread as those of samplers.

    Args:
        network: The student; predicts v.
        teacher: Predicts v. It is asked `config.steps` times.
        noise: Of standard deviation 1.
        condition: What both are told, in the type that the teacher computes in.
        gripper: As in `diffusion_losses`, of the true video; the teacher's grippers are not far.
        config: How the teacher samples, and between which noise levels the student learns.
        points_weight: lambda of eq. 3.
        generator: Source of noise levels.
    """
    with torch.no_grad():
        latents = denoise(teacher, noise, condition, config)
    share = torch.rand(len(noise), generator=generator, device=noise.device)
    first, last = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    sigma = (first + share * (last - first)) ** config.rho
    return losses_at(network, latents, noise, sigma, condition.in_float32(), gripper, points_weight=points_weight)


def losses_at(
    network: Network,
    latents: Float[Tensor, "b v t c h w"],
    noise: Float[Tensor, "b v t c h w"],
    sigma: Float[Tensor, " b"],
    condition: Condition,
    gripper: Float[Tensor, "b v t h w"],
    *,
    points_weight: float,
) -> dict[str, Float[Tensor, ""]]:
    """Those of `diffusion_losses` for given noise and noise levels."""
    s = sigma[:, None, None, None, None, None]
    error = denoised(network, latents + s * noise, sigma, condition) - latents
    weighted = (s**2 + 1) / s**2 * (1 + gripper[:, :, :, None]) * error.square()
    losses = {"rgb": weighted[:, :, :, :LATENT_CHANNELS].mean()}
    if latents.shape[3] > LATENT_CHANNELS:
        losses["points"] = points_weight * weighted[:, :, :, LATENT_CHANNELS:].mean()
    return losses


def scheduler_of(config: SamplerConfig, device: torch.device) -> EDMEulerScheduler | EDMDPMSolverMultistepScheduler:
    """The implementation of diffusers, ready to begin."""
    kind = EDMEulerScheduler if config.solver == "euler" else EDMDPMSolverMultistepScheduler
    scheduler = kind(
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        sigma_data=1.0,
        rho=config.rho,
        prediction_type="v_prediction",
    )
    scheduler.set_timesteps(config.steps, device=device)
    return scheduler


def sample(
    network: Network,
    condition: Condition,
    frames: int,
    config: SamplerConfig,
    *,
    seed: int,
    progress: Callable[[int, int], bool] = lambda step, steps: True,
) -> Float[Tensor, "b v t c h w"]:
    """Latents of a video.

    The noise is drawn on the CPU: a seed gives the same noise on every machine.

    Args:
        network: Predicts v.
        condition: What it is told.
        frames: Length of the video.
        config: How.
        seed: Selects the sample.
        progress: Called with (step, steps in all) before each step; False cancels.

    Raises:
        Cancelled: `progress` returned False.
    """
    b, v, c, h, w = condition.latents.shape
    noise = torch.randn(b, v, frames, c, h, w, generator=torch.Generator().manual_seed(seed))
    return denoise(network, noise.to(condition.latents.device), condition, config, progress=progress)


def denoise(
    network: Network,
    noise: Float[Tensor, "b v t c h w"],
    condition: Condition,
    config: SamplerConfig,
    *,
    progress: Callable[[int, int], bool] = lambda step, steps: True,
) -> Float[Tensor, "b v t c h w"]:
    """The latents that become of noise of standard deviation 1; see `sample`.

    The state is kept in float32 whatever the network computes in.
    """
    b, frames = noise.shape[0], noise.shape[2]
    device, dtype = condition.latents.device, condition.latents.dtype
    scheduler = scheduler_of(config, device)
    x = noise * scheduler.init_noise_sigma
    scale = torch.ones(())
    if config.is_guided:
        scale = torch.linspace(*config.guidance, frames, device=device)[:, None, None, None]
        nothing = torch.zeros_like
        condition = Condition(
            latents=torch.cat([condition.latents, nothing(condition.latents)]),
            context=torch.cat([condition.context, nothing(condition.context)]),
        )
    for step, level in enumerate(scheduler.timesteps):
        if not progress(step, config.steps):
            raise Cancelled
        scaled = scheduler.scale_model_input(x, level).to(dtype)
        if config.is_guided:
            both = network(torch.cat([scaled, scaled]), level.expand(2 * b), condition.latents, condition.context)
            with_it, without = both.float().chunk(2)
            output = without + scale * (with_it - without)
        else:
            output = network(scaled, level.expand(b), condition.latents, condition.context).float()
        x = scheduler.step(output, level, x, return_dict=False)[0]
    return x
