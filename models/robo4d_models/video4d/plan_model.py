"""Where the grippers go: the keyframes of a whole task, read from one RGB-D frame of two views.

A task is a fixed list of keyframe slots, counted from its END (see `keyframes`). A slot's pose does not depend on
how much of the way to it is already done, so the network votes for static places in the scene; WHEN is a separate
question: one classification of the slot that comes next, and the demonstrator's pace (see `pace`). Regressing the pose
"in t seconds" mixes the two, and the answer is an average of neither.

Reads top to bottom: both views through one convolutional trunk; attention over the tokens of both; one query per
slot and arm; a position as an average over the scene's own points, each with a learned offset (3D attention), and what
is seen there read once more for all else; and a small flow-matching head that samples what the averages leave open.

Beside colours and points, the network gets which way the surface faces. That follows from the points, but as
differences of a centimetre in coordinates of half a metre: a trunk this small then never learns how a box is turned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from robo4d_models.video4d.coding import (
    ARMS,
    TASKS,
    Observation,
    encode_state,
    normalise,
    rotation_from_6d,
    rotation_to_6d,
)
from robo4d_models.video4d.facing import FACING, facings, surface_normals
from robo4d_models.video4d.keyframes import NOW


@dataclass(frozen=True, kw_only=True)
class PlanModelConfig:
    """Sizes of the plan model; the defaults cost 0.5 GFLOP a pair of 64 x 64 views."""

    widths: tuple[int, int, int] = (32, 64, 128)
    """Channels at 1/2, 1/4 and 1/8 of the image size."""
    joint_layers: int = 2
    """Attention layers over the coarse tokens of both views."""
    decoder_layers: int = 2
    vote_heads: int = 4
    """Independent averages over points that make up one position."""
    vote_width: int = 32
    """Width of the features in which a query is compared with a point."""
    flow_width: int = 128
    flow_layers: int = 2


class PlanOutput(NamedTuple):
    """The expected keyframes and what the flow head needs to sample around them.

    The rows of axis s are the `SLOTS` and, at the end, `NOW`: where the arms are at the moment of the images.
    """

    position: Float[Tensor, "b s a 3"]
    """Position of each arm's TCP at each slot, in the world [m]."""
    rotation: Float[Tensor, "b s a 6"]
    """Its rotation, coded by `coding.rotation_to_6d`, not normalised."""
    closed: Float[Tensor, "b s a"]
    """Logit of the gripper being closed once the slot is done."""
    used: Float[Tensor, "b s"]
    """Logit of the slot being used: a short segment leaves its first slots empty."""
    pause_s: Float[Tensor, "b s"]
    """What each slot takes longer than its way from the previous one, or from now for the next one; see `pace`."""
    log_speed: Float[Tensor, "b 2"]
    """Log of the demonstrator's speed on straight ways [m/s, rad/s]."""
    next_slot: Float[Tensor, "b s"]
    """Logits of the slot that comes next; the last one, `NOW`, means that the task is done."""
    features: Float[Tensor, "b s a c"]
    """What the network knows about each slot and arm."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions before which the input is normalised; the identity when new."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features of the same shape."""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(hidden)))


class Attention(nn.Module):
    """Multi-head attention from one set of tokens to another, both already normalised."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Float[Tensor, "b q c"], memory: Float[Tensor, "b n c"]) -> Float[Tensor, "b q c"]:
        """For each token of x, what it finds in the memory."""
        q = rearrange(self.query(x), "b q (h c) -> b h q c", h=self.heads)
        k, v = rearrange(self.key_value(memory), "b n (two h c) -> two b h n c", two=2, h=self.heads)
        return self.out(rearrange(functional.scaled_dot_product_attention(q, k, v), "b h q c -> b q (h c)"))


class DecoderLayer(nn.Module):
    """Self-attention, attention to a memory (left out without one), and a two-layer perceptron."""

    def __init__(self, width: int, *, cross: bool) -> None:
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(width), Attention(width)
        self.norm_cross = nn.LayerNorm(width) if cross else None
        self.attend_cross = Attention(width) if cross else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, x: Float[Tensor, "b q c"], memory: Float[Tensor, "b n c"] | None = None
    ) -> Float[Tensor, "b q c"]:
        """Tokens of the same shape."""
        normed = self.norm_self(x)
        x = x + self.attend_self(normed, normed)
        if self.norm_cross is not None and self.attend_cross is not None and memory is not None:
            x = x + self.attend_cross(self.norm_cross(x), memory)
        return x + self.mlp(x)


class PlanModel(nn.Module):
    """The keyframes of both arms from an `Observation`."""

    def __init__(self, config: PlanModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PlanModelConfig()
        fine, middle, coarse = config.widths
        arms, votes = len(ARMS), config.vote_heads * config.vote_width

        # Trunk: rgb, point, valid and facing of 2 x 2 pixels make one token at half the image's size.
        self.stem = nn.Conv2d((7 + FACING) * 4, fine, 3, padding=1)
        self.fine = ResidualBlock(fine)
        self.to_middle, self.middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1), ResidualBlock(middle)
        self.to_coarse, self.coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1), ResidualBlock(coarse)
        self.joint = nn.ModuleList(DecoderLayer(coarse, cross=False) for _ in range(config.joint_layers))
        self.up_middle, self.out_middle = nn.Conv2d(coarse + middle, middle, 1), ResidualBlock(middle)
        self.up_fine, self.out_fine = nn.Conv2d(middle + fine, fine, 1), ResidualBlock(fine)
        self.norm_fine = nn.GroupNorm(8, fine)

        # Memory: coarse and middle tokens with their places, the robot's state, the task.
        self.place = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, coarse))
        self.memory_coarse, self.memory_middle = nn.Linear(coarse, coarse), nn.Linear(middle, coarse)
        self.state = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, coarse))
        self.unknown_state = nn.Parameter(torch.zeros(coarse))
        self.arm = nn.Parameter(0.3 * torch.randn(arms, coarse))
        self.task = nn.Embedding(len(TASKS), coarse)
        self.norm_memory = nn.LayerNorm(coarse)

        # Queries: one per row of the output and arm, and one for "what comes next".
        self.slot = nn.Embedding(len(TASKS), (NOW + 2) * coarse)
        nn.init.normal_(self.slot.weight, std=0.3)
        self.decoder = nn.ModuleList(DecoderLayer(coarse, cross=True) for _ in range(config.decoder_layers))
        self.norm_query = nn.LayerNorm(coarse)

        # 3D attention: queries against the points of all pixels and, as candidates of their own, both TCPs.
        self.vote_query = nn.Linear(coarse, votes)
        self.vote_key, self.vote_state_key = nn.Linear(fine + 3 + FACING, votes), nn.Linear(coarse, votes)
        self.vote_offset = nn.Linear(fine + 3 + FACING, 3 * config.vote_heads)
        nn.init.normal_(self.vote_offset.weight, std=0.01)
        self.vote_weight = nn.Linear(coarse, config.vote_heads)
        self.vote_value, self.vote_state_value = nn.Linear(fine + 3 + FACING, votes), nn.Linear(coarse, votes)
        self.look = nn.Sequential(nn.Linear(coarse + votes, 2 * coarse), nn.GELU(), nn.Linear(2 * coarse, coarse))

        self.readout = nn.Linear(coarse, 3 + 6 + 1 + 1 + 1)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)
        self.log_speed = nn.Parameter(torch.tensor([0.1, 0.5]).log())  # to begin with
        self.read_next = nn.Linear(coarse, NOW + 1)
        self.register_buffer("rotation_down", torch.tensor([1.0, 0, 0, 0, -1, 0]), persistent=False)
        """The hand pointing straight down, from which rotations start."""

        self.flow = FlowHead(config, coarse)

    def forward(self, observation: Observation) -> PlanOutput:
        """The expected keyframes; `sample` draws from their distribution."""
        views = observation.rgb.shape[1]
        points = normalise(rearrange(observation.points, "b v c h w -> b v h w c")) * observation.valid[..., None]
        facing = facings(surface_normals(observation.points, observation.valid))
        image = torch.cat(
            [
                observation.rgb,
                rearrange(points, "b v h w c -> b v c h w"),
                2 * observation.valid[:, :, None] - 1,
                facing,
            ],
            dim=2,
        )

        h = functional.pixel_unshuffle(image.flatten(0, 1), 2).contiguous(memory_format=torch.channels_last)
        h2 = self.fine(self.stem(h))
        h4 = self.middle(self.to_middle(h2))
        h8 = self.coarse(self.to_coarse(h4))
        places = rearrange(points, "b v h w c -> (b v) c h w")
        place4, place8 = functional.avg_pool2d(places, 4), functional.avg_pool2d(places, 8)
        tokens = rearrange(h8, "(b v) c h w -> b (v h w) c", v=views)
        tokens = tokens + self.place(rearrange(place8, "(b v) c h w -> b (v h w) c", v=views))
        for layer in self.joint:
            tokens = layer(tokens)
        h8 = rearrange(tokens, "b (v h w) c -> (b v) c h w", v=views, h=h8.shape[2])
        h4 = self.out_middle(self.up_middle(torch.cat([functional.interpolate(h8, scale_factor=2.0), h4], dim=1)))
        h2 = self.out_fine(self.up_fine(torch.cat([functional.interpolate(h4, scale_factor=2.0), h2], dim=1)))
        fine = rearrange(functional.silu(self.norm_fine(h2)), "(b v) c h w -> b (v h w) c", v=views)

        known = observation.state_known[:, None, None]
        state = self.state(encode_state(observation)) * known + self.unknown_state * (1 - known) + self.arm
        task = self.task(observation.task)
        middle = self.memory_middle(rearrange(h4, "(b v) c h w -> b (v h w) c", v=views))
        middle = middle + self.place(rearrange(place4, "(b v) c h w -> b (v h w) c", v=views))
        memory = self.norm_memory(torch.cat([self.memory_coarse(tokens), middle, state, task[:, None]], dim=1))

        slots = rearrange(self.slot(observation.task), "b (s c) -> b s c", s=NOW + 2)
        keyframes = rearrange(slots[:, :-1, None] + state[:, None], "b s a c -> b (s a) c")
        queries = torch.cat([keyframes, slots[:, -1:] + state.sum(dim=1, keepdim=True)], dim=1)
        for layer in self.decoder:
            queries = layer(queries, memory)
        queries = self.norm_query(queries)
        keyframes = queries[:, :-1]

        position, seen = self._vote(keyframes, fine, facing, state, observation)
        keyframes = keyframes + self.look(torch.cat([keyframes, seen], dim=-1))
        readout = rearrange(self.readout(keyframes), "b (s a) c -> b s a c", s=NOW + 1).float()
        return PlanOutput(
            position=rearrange(position, "b (s a) c -> b s a c", s=NOW + 1) + 0.1 * readout[..., :3],
            rotation=readout[..., 3:9] + self.rotation_down,
            closed=readout[..., 9],
            used=readout[..., 11].mean(dim=-1),
            pause_s=readout[..., 10].mean(dim=-1),
            log_speed=self.log_speed.repeat(len(readout), 1),
            next_slot=self.read_next(queries[:, -1]).float(),
            features=rearrange(keyframes, "b (s a) c -> b s a c", s=NOW + 1).float(),
        )

    def _vote(
        self,
        queries: Float[Tensor, "b q c"],
        fine: Float[Tensor, "b n f"],
        facing: Float[Tensor, "b v g h w"],
        state: Float[Tensor, "b a c"],
        observation: Observation,
    ) -> tuple[Float[Tensor, "b q 3"], Float[Tensor, "b q f2"]]:
        """Positions [m] as weighted averages of the scene's points, each moved by its own offset; and what is there."""
        heads = self.config.vote_heads
        places = observation.points[..., ::2, ::2]  # one point for each 2 x 2 pixels of `fine`
        valid = rearrange(observation.valid[..., ::2, ::2], "b v h w -> b (v h w)")
        places = rearrange(places, "b v c h w -> b (v h w) c")
        facing = rearrange(facing[..., ::2, ::2], "b v c h w -> b (v h w) c")
        located = torch.cat([fine, normalise(places) * valid[..., None], facing], dim=-1)
        offsets = 0.1 * rearrange(self.vote_offset(located), "b n (h c) -> b h n c", h=heads).float()
        candidates = torch.cat(
            [places[:, None] + offsets, repeat(observation.tcp[..., :3, 3], "b a c -> b h a c", h=heads)], dim=2
        )
        keys = torch.cat([self.vote_key(located), self.vote_state_key(state)], dim=1)
        keys = rearrange(keys, "b n (h c) -> b h n c", h=heads)
        usable = torch.cat([valid, repeat(observation.state_known, "b -> b a", a=len(ARMS))], dim=1) > 0.5
        q = rearrange(self.vote_query(queries), "b q (h c) -> b h q c", h=heads) / math.sqrt(self.config.vote_width)
        logits = (q @ keys.transpose(-1, -2)).float()
        attention = torch.where(usable[:, None, None], logits, -1e4).softmax(dim=-1)
        weights = self.vote_weight(queries).float().softmax(dim=-1)
        with torch.autocast(queries.device.type, enabled=False):  # bfloat16 would round places to millimetres
            votes = attention @ torch.where(usable[:, None, :, None], candidates, 0.0)
            position = torch.einsum("bqh,bhqc->bqc", weights, votes)
        values = torch.cat([self.vote_value(located), self.vote_state_value(state)], dim=1)
        values = rearrange(values, "b n (h c) -> b h n c", h=heads)
        seen = rearrange(attention.to(values.dtype) @ values, "b h q c -> b q (h c)")
        return position, seen

    @torch.no_grad()
    def sample(
        self, observation: Observation, *, temperatures: Float[Tensor, " n"], steps: int, seeds: Sequence[int]
    ) -> PlanOutput:
        """Draws keyframes from the distribution that the flow head has learned.

        Args:
            observation: One observation (batch of 1); the trunk runs once for all samples.
            temperatures: Scale of the noise that each draw of a seed begins with: 1 draws from the distribution, less
                from nearer to its middle.
            steps: Euler steps of the flow.
            seeds: Select the draws, whichever others there are; equal seeds give equal draws. The batch axis of the
                result has those of the first seed, then those of the next.
        """
        samples = len(temperatures)
        mean = PlanOutput(*(value.expand(len(seeds) * samples, *value.shape[1:]) for value in self(observation)))
        shape = (samples, NOW + 1, len(ARMS), FlowHead.RESIDUAL)
        draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        noise = torch.cat([draw * temperatures[:, None, None, None] for draw in draws]).to(mean.position.device)
        position, rotation = FlowHead.apply_residual(mean, self.flow.transport(noise, mean.features, steps))
        return mean._replace(position=position, rotation=rotation)


class FlowHead(nn.Module):
    """Flow matching over what the expected keyframes leave open (Lipman et al. 2023, arXiv:2210.02747).

    The variable is the residual of all slots and arms together, position [POSITION_SCALE] and rotation vector
    [ROTATION_SCALE], so that a sample is one consistent plan. Straight paths x_t = (1 - t) noise + t residual; the
    network predicts their velocity.
    """

    RESIDUAL = 6
    POSITION_SCALE = 0.03
    """Length of one unit of residual [m]: about the error of a half-trained mean."""
    ROTATION_SCALE = 0.15
    """Angle of one unit of residual [rad]."""

    def __init__(self, config: PlanModelConfig, features: int) -> None:
        super().__init__()
        arms = len(ARMS)
        self.embed = nn.Linear(arms * (self.RESIDUAL + features) + 64, config.flow_width)
        self.position = nn.Parameter(0.02 * torch.randn(NOW + 1, config.flow_width))
        self.layers = nn.ModuleList(DecoderLayer(config.flow_width, cross=False) for _ in range(config.flow_layers))
        self.out = nn.Linear(config.flow_width, arms * self.RESIDUAL)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Float[Tensor, "b s a 6"], t: Float[Tensor, " b"], features: Float[Tensor, "b s a c"]
    ) -> Float[Tensor, "b s a 6"]:
        """Velocity of the residual at time t in [0, 1] of its way from noise (0) to data (1)."""
        frequencies = torch.exp(torch.linspace(0, math.log(100), 32, device=t.device))
        phase = t[:, None] * frequencies
        time = repeat(torch.cat([phase.sin(), phase.cos()], dim=-1), "b c -> b s c", s=x.shape[1])
        tokens = torch.cat(
            [rearrange(x, "b s a c -> b s (a c)"), rearrange(features, "b s a c -> b s (a c)"), time], -1
        )
        tokens = self.embed(tokens) + self.position
        for layer in self.layers:
            tokens = layer(tokens)
        return rearrange(self.out(tokens), "b s (a c) -> b s a c", a=x.shape[2])

    def transport(
        self, noise: Float[Tensor, "b s a 6"], features: Float[Tensor, "b s a c"], steps: int
    ) -> Float[Tensor, "b s a 6"]:
        """The residual to which the flow takes noise, in Euler steps."""
        x = noise
        for step in range(steps):
            t = torch.full((len(x),), step / steps, device=x.device)
            x = x + self(x, t, features) / steps
        return x

    @classmethod
    def residual(
        cls, mean: PlanOutput, position: Float[Tensor, "b s a 3"], R_world_tcp: Float[Tensor, "b s a 3 3"]
    ) -> Float[Tensor, "b s a 6"]:
        """What must be added to the mean to get the given poses."""
        R_mean = rotation_from_6d(mean.rotation)
        R_difference = R_mean.transpose(-1, -2) @ R_world_tcp
        return torch.cat(
            [(position - mean.position) / cls.POSITION_SCALE, _rotation_vector(R_difference) / cls.ROTATION_SCALE], -1
        )

    @classmethod
    def apply_residual(
        cls, mean: PlanOutput, x: Float[Tensor, "b s a 6"]
    ) -> tuple[Float[Tensor, "b s a 3"], Float[Tensor, "b s a 6"]]:
        """Position [m] and coded rotation of the mean plus a residual: the inverse of `residual`."""
        R = rotation_from_6d(mean.rotation) @ _rotation_matrix(x[..., 3:] * cls.ROTATION_SCALE)
        return mean.position + x[..., :3] * cls.POSITION_SCALE, rotation_to_6d(R)


def _rotation_vector(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Axis times angle [rad], for angles below pi - 0.01; larger ones are cut there, where the axis is lost."""
    axis = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], dim=-1)
    cosine = ((R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    angle = torch.atan2(axis.norm(dim=-1) / 2, cosine).clamp(max=math.pi - 0.01)
    return axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-6) * angle[..., None]


def _rotation_matrix(w: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by |w| [rad] about w (Rodrigues)."""
    zero = torch.zeros_like(w[..., 0])
    W = torch.stack([zero, -w[..., 2], w[..., 1], w[..., 2], zero, -w[..., 0], -w[..., 1], w[..., 0], zero], dim=-1)
    return torch.linalg.matrix_exp(W.unflatten(-1, (3, 3)))
