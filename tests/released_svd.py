"""The forward pass of the paper's released code, stated anew from its structure: submodules have the names and shapes
of its checkpoints (Stability AI's generative-models, as changed by the authors), at a width that runs in a test.
"""

import copy
import itertools

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

TIME = (3, 1, 1)


def sinusoid(values, width):
    frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(width // 2) / (width // 2))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def mlp(width, hidden, out):
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, out))


def named(**modules):
    module = nn.Module()
    for name, value in modules.items():
        module.add_module(name, value)
    return module


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, space, time):
        share = torch.sigmoid(self.mix_factor)
        return share * space + (1 - share) * time


class ResBlock(nn.Module):
    def __init__(self, c, out, embedding, convolution=nn.Conv2d, kernel=3):
        super().__init__()
        padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
        self.in_layers = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), convolution(c, out, kernel, padding=padding))
        if embedding:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        last = convolution(out, out, kernel, padding=padding)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, out), nn.SiLU(), nn.Dropout(0), last)
        self.skip_connection = nn.Identity() if c == out else convolution(c, out, 1)

    def forward(self, x, embedding=None):
        h = self.in_layers(x)
        if embedding is not None:
            added = self.emb_layers(embedding)
            h = h + (added[..., None, None] if added.ndim == 2 else rearrange(added, "b t c -> b c t 1 1"))
        return self.skip_connection(x) + self.out_layers(h)


class VideoResBlock(ResBlock):
    def __init__(self, c, out, embedding):
        super().__init__(c, out, embedding)
        self.time_stack = ResBlock(out, out, embedding, nn.Conv3d, TIME)
        self.time_mixer = Mixer()

    def forward(self, x, embedding, frames, context):
        x = rearrange(super().forward(x, embedding), "(b t) c h w -> b c t h w", t=frames)
        moved = self.time_stack(x, rearrange(embedding, "(b t) c -> b t c", t=frames))
        return rearrange(self.time_mixer(x, moved), "b c t h w -> (b t) c h w")


class CrossAttention(nn.Module):
    def __init__(self, width, context, heads, head_width):
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, inner, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(0))

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (
            rearrange(layer(source), "b n (h d) -> b h n d", h=self.heads)
            for layer, source in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        return self.to_out(rearrange(weights @ v, "b h n d -> b n (h d)"))


class Gated(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.proj = nn.Linear(width, 2 * out)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


def feed_forward(width):
    return named(net=nn.Sequential(Gated(width, 4 * width), nn.Dropout(0), nn.Linear(4 * width, width)))


class TransformerBlock(nn.Module):
    def __init__(self, width, context, heads, *, of_time):
        super().__init__()
        if of_time:
            self.norm_in, self.ff_in = nn.LayerNorm(width), feed_forward(width)
        self.of_time = of_time
        self.attn1 = CrossAttention(width, width, heads, width // heads)
        self.attn2 = CrossAttention(width, context, heads, width // heads)
        self.ff = feed_forward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, context):
        if self.of_time:
            x = self.ff_in.net(self.norm_in(x)) + x
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff.net(self.norm3(x)) + x


class SpatialVideoTransformer(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context, heads, of_time=False)])
        self.time_stack = nn.ModuleList([TransformerBlock(width, context, heads, of_time=True)])
        self.time_pos_embed = mlp(width, 4 * width, width)
        self.time_mixer = Mixer()

    def forward(self, x, embedding, frames, context):
        h, (b, _, height, _) = self.norm(x), x.shape
        h = self.proj_in(rearrange(h, "b c h w -> b (h w) c"))
        h = self.transformer_blocks[0](h, context.expand(b, -1, -1))
        order = self.time_pos_embed(sinusoid(torch.arange(frames), x.shape[1])).repeat(b // frames, 1)
        over_time = rearrange(h + order[:, None], "(b t) s c -> (b s) t c", t=frames)
        over_time = self.time_stack[0](over_time, context.expand(len(over_time), -1, -1))
        over_time = rearrange(over_time, "(b s) t c -> (b t) s c", s=h.shape[1])
        h = self.proj_out(self.time_mixer(h, over_time))
        return x + rearrange(h, "b (h w) c -> b c h w", h=height)


class Resample(nn.Module):
    def __init__(self, width, name):
        super().__init__()
        self.add_module(name, nn.Conv2d(width, width, 3, stride=2 if name == "op" else 1, padding=1))

    def forward(self, x, *_):
        return self.op(x) if hasattr(self, "op") else self.conv(F.interpolate(x, scale_factor=2.0))


class VideoUNet(nn.Module):
    """One sample at a time: all frames see one embedding."""

    def __init__(self, widths=(64, 128), layers=1, context=16, head_width=64):
        super().__init__()
        embedding = 4 * widths[0]
        self.time_embed = mlp(widths[0], embedding, embedding)
        self.width = widths[0]
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(8, widths[0], 3, padding=1))])
        skips, c, last = [widths[0]], widths[0], len(widths) - 1

        def attention(width, level):
            return [SpatialVideoTransformer(width, context, width // head_width)] if level < last else []

        for level, width in enumerate(widths):
            for _ in range(layers):
                self.input_blocks.append(nn.ModuleList([VideoResBlock(c, width, embedding), *attention(width, level)]))
                c = width
                skips.append(c)
            if level < last:
                self.input_blocks.append(nn.ModuleList([Resample(c, "op")]))
                skips.append(c)
        middle = [VideoResBlock(c, c, embedding), *attention(c, -1), VideoResBlock(c, c, embedding)]
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks, self.attn_layers_decoder = nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(layers + 1):
                block = [VideoResBlock(c + skips.pop(), width, embedding), *attention(width, level)]
                c = width
                if level and i == layers:
                    block.append(Resample(c, "conv"))
                self.output_blocks.append(nn.ModuleList(block))
                self.attn_layers_decoder.append(CrossAttention(width, width, 8, 64))
        self.out = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, 4, 3, padding=1))

    def forward(self, x, timesteps, context, spatial_context=None):
        frames = len(x)
        embedding = self.time_embed(sinusoid(timesteps, self.width))
        h = self.input_blocks[0](x)
        skips = [h]
        for block in self.input_blocks[1:]:
            for layer in block:
                h = layer(h, embedding, frames, context)
            skips.append(h)
        for layer in self.middle_block:
            h = layer(h, embedding, frames, context)
        seen = []
        for i, block in enumerate(self.output_blocks):
            h = torch.cat([h, skips.pop()], dim=1)
            for layer in block:
                h = layer(h, embedding, frames, context)
            if spatial_context is not None:
                tokens, other = (rearrange(y, "b c h w -> b (h w) c") for y in (h, spatial_context[i]))
                h = h + rearrange(self.attn_layers_decoder[i](tokens, other), "b (h w) c -> b c h w", h=h.shape[2])
            seen.append(h)
        return self.out(h), seen


class Wrapper(nn.Module):
    """Both networks, which `copy.copy` makes one; x and concat are (n then m, frames), points before colours."""

    def __init__(self, **sizes):
        super().__init__()
        self.diffusion_model = VideoUNet(**sizes)
        self.diffusion_model_2 = copy.copy(self.diffusion_model)
        self.diffusion_model_2.output_blocks = copy.deepcopy(self.diffusion_model.output_blocks)

    def forward(self, x, t, concat, crossattn):
        frames = len(x) // 2
        points, colours = (torch.cat([x[:, c], concat[:, c]], dim=1) for c in (slice(0, 4), slice(4, 8)))
        first, second = self.diffusion_model, self.diffusion_model_2
        of_points, of_colours = crossattn[0:1], crossattn[1:2]
        points_n, seen = first(points[:frames], t[:frames], of_points)
        colours_n, _ = first(colours[:frames], t[:frames], of_colours)
        points_m, _ = second(points[frames:], t[frames:], of_points, seen)
        colours_m, _ = second(colours[frames:], t[frames:], of_colours)
        return torch.cat([torch.cat([points_n, colours_n], dim=1), torch.cat([points_m, colours_m], dim=1)])


class VaeResnetBlock(nn.Module):
    def __init__(self, c, out, *, video):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, c, eps=1e-6), nn.Conv2d(c, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, out, eps=1e-6), nn.Conv2d(out, out, 3, padding=1)
        if c != out:
            self.nin_shortcut = nn.Conv2d(c, out, 1)
        self.video = video
        if video:
            self.time_stack = ResBlock(out, out, 0, nn.Conv3d, TIME)
            self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, x, frames):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        x = (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h
        if not self.video:
            return x
        x = rearrange(x, "(b t) c h w -> b c t h w", t=frames)
        share = torch.sigmoid(self.mix_factor)
        return rearrange(share * self.time_stack(x) + (1 - share) * x, "b c t h w -> (b t) c h w")


class VaeAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.GroupNorm(32, c, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x, frames):
        h = self.norm(x)
        q, k, v = (rearrange(layer(h), "b c h w -> b (h w) c") for layer in (self.q, self.k, self.v))
        found = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v
        return x + self.proj_out(rearrange(found, "b (h w) c -> b c h w", h=x.shape[2]))


def middle(c, *, video):
    blocks = {f"block_{i}": VaeResnetBlock(c, c, video=video) for i in (1, 2)}
    return named(block_1=blocks["block_1"], attn_1=VaeAttention(c), block_2=blocks["block_2"])


class Encoder(nn.Module):
    def __init__(self, widths, layers):
        super().__init__()
        c = widths[0]
        self.conv_in = nn.Conv2d(3, c, 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            sizes = [c] + [width] * layers
            blocks = [VaeResnetBlock(a, b, video=False) for a, b in itertools.pairwise(sizes)]
            level = named(block=nn.ModuleList(blocks))
            if i < len(widths) - 1:
                level.downsample = named(conv=nn.Conv2d(width, width, 3, stride=2))
            self.down.append(level)
            c = width
        self.mid = middle(c, video=False)
        self.norm_out, self.conv_out = nn.GroupNorm(32, c, eps=1e-6), nn.Conv2d(c, 8, 3, padding=1)

    def forward(self, x):
        h = self.conv_in(x)
        for level in self.down:
            for block in level.block:
                h = block(h, 1)
            if hasattr(level, "downsample"):
                h = level.downsample.conv(F.pad(h, (0, 1, 0, 1)))
        for layer in self.mid.children():
            h = layer(h, 1)
        return self.conv_out(F.silu(self.norm_out(h)))


class VideoDecoder(nn.Module):
    def __init__(self, widths, layers):
        super().__init__()
        c = widths[-1]
        self.conv_in, self.mid = nn.Conv2d(4, c, 3, padding=1), middle(c, video=True)
        levels = []
        for i, width in reversed(list(enumerate(widths))):
            sizes = [c] + [width] * (layers + 1)
            blocks = [VaeResnetBlock(a, b, video=True) for a, b in itertools.pairwise(sizes)]
            level = named(block=nn.ModuleList(blocks))
            if i:
                level.upsample = named(conv=nn.Conv2d(width, width, 3, padding=1))
            levels.insert(0, level)
            c = width
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = nn.GroupNorm(32, c, eps=1e-6), nn.Conv2d(c, 3, 3, padding=1)
        self.conv_out.time_mix_conv = nn.Conv3d(3, 3, TIME, padding=(1, 0, 0))

    def forward(self, z):
        frames, h = len(z), self.conv_in(z)
        for layer in self.mid.children():
            h = layer(h, frames)
        for level in reversed(self.up):
            for block in level.block:
                h = block(h, frames)
            if hasattr(level, "upsample"):
                h = level.upsample.conv(F.interpolate(h, scale_factor=2.0))
        h = self.conv_out(F.silu(self.norm_out(h)))
        return rearrange(self.conv_out.time_mix_conv(rearrange(h, "t c h w -> 1 c t h w")), "1 c t h w -> t c h w")


class OpenClipVision(nn.Module):
    def __init__(self, width=160, layers=2, patch=14, size=28, out=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((size // patch) ** 2 + 1, width))
        self.proj = nn.Parameter(torch.zeros(width, out))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        blocks = [
            named(
                ln_1=nn.LayerNorm(width),
                attn=nn.MultiheadAttention(width, width // 80, batch_first=True),
                ln_2=nn.LayerNorm(width),
                mlp=named(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width)),
            )
            for _ in range(layers)
        ]
        self.transformer = named(resblocks=nn.ModuleList(blocks))

    def forward(self, pixels):
        x = rearrange(self.conv1(pixels), "b c h w -> b (h w) c")
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer.resblocks:
            h = block.ln_1(x)
            x = x + block.attn(h, h, h, need_weights=False)[0]
            x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x))))
        return self.ln_post(x[:, 0]) @ self.proj


def released_engine(widths=(64, 128), vae_widths=(32, 64)):
    """All modules of their `DiffusionEngine` that have weights, under its names."""

    def vae():
        return named(encoder=Encoder(vae_widths, 2), decoder=VideoDecoder(vae_widths, 2))

    def condition(of):
        plain = named(conv_in=nn.Conv2d(4, 4, 3))  # their decoder of still images, of which we need nothing
        quant = {"quant_conv": nn.Conv2d(8, 8, 1), "post_quant_conv": nn.Conv2d(4, 4, 1)}
        return named(encoder=named(encoder=copy.deepcopy(of.encoder), decoder=plain, **quant))

    engine = named(
        model=Wrapper(widths=widths),
        first_stage_pointmap_model=vae(),
        first_stage_color_model=vae(),
        conditioner=nn.Module(),
    )
    for parameter in engine.parameters():
        nn.init.normal_(parameter, std=0.5 / max(1.0, parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 2.0))
    clip = named(visual=OpenClipVision(), ln_final=nn.LayerNorm(8), token_embedding=nn.Embedding(4, 8))
    clip.logit_scale = nn.Parameter(torch.zeros(()))
    clip.text_projection = nn.Parameter(torch.zeros(8, 8))
    clip.positional_embedding = nn.Parameter(torch.zeros(4, 8))
    for parameter in clip.visual.parameters():
        nn.init.normal_(parameter, std=0.1)
    embedders = [
        named(open_clip=named(model=clip)),
        condition(engine.first_stage_pointmap_model),
        condition(engine.first_stage_color_model),
    ]
    engine.conditioner.embedders = nn.ModuleList(embedders)
    return engine.eval().requires_grad_(False)
