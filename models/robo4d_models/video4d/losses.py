"""What the networks are asked for."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from robo4d_models.video4d import pace
from robo4d_models.video4d.coding import rotation_to_6d
from robo4d_models.video4d.keyframes import NOW, SEGMENT_SLOTS
from robo4d_models.video4d.plan_model import FlowHead, PlanModel, PlanOutput


@dataclass(frozen=True, kw_only=True)
class PlanTarget:
    """The keyframes that the demonstrator passes after an observation; rows of axis s as in `PlanOutput`."""

    T_world_tcp: Float[Tensor, "b s a 4 4"]
    """Pose of each arm at each slot; anything where `known` is 0."""
    closed: Float[Tensor, "b s a"]
    """1 where the gripper is closed after the slot."""
    duration_s: Float[Tensor, "b s"]
    """Time from the previous known slot, or from now for the next one [s]; 0 for `NOW`."""
    known: Float[Tensor, "b s"]
    """1 for the slots that are still to come, and for `NOW`."""
    next_slot: Int[Tensor, " b"]
    """The slot that comes next; `NOW` when the task is done."""

    def to(self, device: torch.device | str) -> "PlanTarget":
        """The same batch on a device."""
        return PlanTarget(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


def smooth_l1(difference: Tensor, width: float) -> Tensor:
    """|d| with its kink at 0 rounded off inside +-width."""
    size = difference.abs()
    return torch.where(size < width, 0.5 * size**2 / width, size - 0.5 * width)


def plan_losses(output: PlanOutput, target: PlanTarget) -> dict[str, Float[Tensor, ""]]:
    """The plan's weighted losses; their sum is minimised.

    The next two slots count more, as they are what is executed before the next look, and so do those where a gripper
    acts, because there a centimetre decides.
    """
    slots = torch.arange(target.known.shape[1], device=target.known.device)
    ahead = slots[None] - target.next_slot[:, None]
    acts = slots % SEGMENT_SLOTS == SEGMENT_SLOTS - 1
    weight = target.known * torch.where((ahead >= 0) & (ahead < 2), 3.0, 1.0) * torch.where(acts, 2.0, 1.0)
    total = weight.sum().clamp(min=1.0)

    def mean(loss: Float[Tensor, "b s"]) -> Float[Tensor, ""]:
        return (weight * loss).sum() / total

    position = target.T_world_tcp[..., :3, 3]
    rotation = rotation_to_6d(target.T_world_tcp[..., :3, :3])
    closed = functional.binary_cross_entropy_with_logits(output.closed, target.closed, reduction="none")
    used = functional.binary_cross_entropy_with_logits(output.used, target.known, reduction="none")
    to_come = (ahead >= 0).float()
    return {
        # In decimetres, quadratic below 1 cm.
        "position": 4.0 * mean(smooth_l1((output.position - position) / 0.1, 0.1).mean(dim=(-1, -2))),
        "rotation": 2.0 * mean(smooth_l1(output.rotation - rotation, 0.05).mean(dim=(-1, -2))),
        "closed": 0.3 * mean(closed.mean(dim=-1)),
        "used": 0.2 * (to_come * used).sum() / to_come.sum(),
        # In seconds, quadratic below a tenth.
        "duration": 0.5 * mean(smooth_l1(durations_s(output, target) - target.duration_s, 0.1)),
        "next": 0.3 * functional.cross_entropy(output.next_slot, target.next_slot),
    }


def durations_s(output: PlanOutput, target: PlanTarget) -> Float[Tensor, "b s"]:
    """What the model takes from keyframe to keyframe where their poses are the true ones [s]."""
    batch = torch.arange(len(target.known), device=target.known.device)[:, None]
    return pace.duration_s(
        target.T_world_tcp[batch, pace.previous(target.known)],
        target.T_world_tcp,
        log_speed=output.log_speed[:, None],
        pause_s=output.pause_s,
    )


def flow_loss(model: PlanModel, output: PlanOutput, target: PlanTarget, draws: int = 4) -> Float[Tensor, ""]:
    """Flow matching of the residual to the expected keyframes; it trains the flow head alone.

    The trunk is held fixed here (its outputs are detached): a distribution around a mean that runs away from it
    would pull at both.
    """
    mean = PlanOutput(*(value.detach() for value in output))
    with torch.autocast(mean.position.device.type, enabled=False):  # a rotation needs more than bfloat16's 8 bits
        data = FlowHead.residual(mean, target.T_world_tcp[..., :3, 3], target.T_world_tcp[..., :3, :3])
    data = torch.where(target.known[..., None, None] > 0, data, 0.0).clamp(-20, 20)
    data, features, known = (torch.cat([value] * draws) for value in (data, mean.features, target.known))
    noise = torch.randn_like(data)
    t = torch.rand(len(data), device=data.device)
    return 0.2 * straight_path_loss(model.flow, t, noise, data, features, known)


def straight_path_loss(
    flow: FlowHead,
    t: Float[Tensor, " b"],
    noise: Float[Tensor, "b s a 6"],
    data: Float[Tensor, "b s a 6"],
    features: Float[Tensor, "b s a c"],
    known: Float[Tensor, "b s"],
) -> Float[Tensor, ""]:
    """Error of the velocity at a time of each straight path from noise to data, over the rows that are known."""
    x = torch.lerp(noise, data, t[:, None, None, None])
    error = smooth_l1(flow(x, t, features) - (data - noise), 1.0).mean(dim=(-1, -2))
    return (known * error).sum() / known.sum().clamp(min=1.0)


def plan_errors(output: PlanOutput, target: PlanTarget) -> dict[str, Float[Tensor, " n"]]:
    """Errors that mean something outside of training, each a list over the samples that have it.

    Of the arm that is worse: `next_mm` and `next_deg` at the next keyframe, `event_mm` where a gripper closes or opens
    next, `plan_mm` at all keyframes to come, `now_mm` at the present. `next_s` is the error of the time until the next
    keyframe, and `next_right` is 1 where the next slot is right.
    """
    distance_mm = 1000 * (output.position - target.T_world_tcp[..., :3, 3]).norm(dim=-1)  # b s a
    b = torch.arange(len(target.next_slot), device=distance_mm.device)
    worst = distance_mm.amax(dim=-1)
    next_slot = target.next_slot
    has_next = next_slot < NOW
    ends = torch.arange(NOW, device=b.device) % SEGMENT_SLOTS == SEGMENT_SLOTS - 1
    events = target.known[:, :NOW] * ends
    events[:, -1] = 0  # the end of the task, where nothing is gripped or released
    event, has_event = events.argmax(dim=1), events.any(dim=1)
    cosine = (functional.normalize(output.rotation[..., :3], dim=-1) * target.T_world_tcp[..., :3, 0]).sum(-1)
    angle_deg = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).amax(dim=-1)
    return {
        "next_mm": worst[b, next_slot][has_next],
        "next_s": (durations_s(output, target) - target.duration_s).abs()[b, next_slot][has_next],
        "next_deg": angle_deg[b, next_slot][has_next],
        "event_mm": worst[b, event][has_event],
        "plan_mm": worst[:, :NOW][target.known[:, :NOW] > 0],
        "now_mm": worst[:, NOW],
        "next_right": (output.next_slot.argmax(dim=-1) == target.next_slot).float(),
    }
