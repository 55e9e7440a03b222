"""SAM 2 (Ravi et al. 2024): carries the mask of one object from the first image of a video through all others.

Through transformers' `Sam2VideoModel`, with frames from memory. Its own processor needs torchvision, and does no more
than the few lines here: resize, normalise, prompt.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray as Array
from torch.nn.functional import interpolate

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images, with which the weights were trained."""


@dataclass(frozen=True, kw_only=True)
class Sam2Config:
    """Which weights, and where they run."""

    weights: str = "facebook/sam2.1-hiera-small"
    """A model on the Hugging Face hub, or a folder."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """On a CPU, an image takes two to three seconds."""


class Sam2Segmenter:
    """Implements `robo4d.interfaces.Segmenter`.

    Args:
        config: Which weights, and where they run.
        model: A model to use instead of the weights.
    """

    def __init__(self, config: Sam2Config, model: Any | None = None) -> None:
        if model is None:
            from transformers import Sam2VideoModel

            model = Sam2VideoModel.from_pretrained(config.weights)
        self._model, self._device = model.to(config.device).eval(), torch.device(config.device)

    @torch.inference_mode()
    def segment(self, rgb: UInt8[Array, "t h w 3"], prompt: Bool[Array, "h w"]) -> Bool[Array, "t h w"]:
        """See `robo4d.interfaces.Segmenter`."""
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        if not prompt.any():
            raise ValueError("the prompt is empty: the object must be seen in the first image")
        height, width = prompt.shape
        session = Sam2VideoInferenceSession(
            video=self._normalised(rgb),
            video_height=height,
            video_width=width,
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=self._model.dtype,
        )
        index = session.obj_id_to_idx(1)
        session.add_mask_inputs(index, 0, self._resized(torch.as_tensor(prompt)[None, None].float()).round())
        session.obj_with_new_inputs = [1]
        masks = np.zeros((len(rgb), height, width), bool)
        for result in self._model.propagate_in_video_iterator(session, start_frame_idx=0):
            logits = interpolate(result.pred_masks.float(), size=(height, width), mode="bilinear", align_corners=False)
            masks[result.frame_idx] = (logits[0, 0] > 0).cpu().numpy()
        return masks

    def _normalised(self, rgb: UInt8[Array, "t h w 3"]) -> Float[torch.Tensor, "t 3 s s"]:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        return self._resized((torch.as_tensor(rgb).movedim(-1, 1).float() / 255 - mean) / std)

    def _resized(self, images: Float[torch.Tensor, "t c h w"]) -> Float[torch.Tensor, "t c s s"]:
        """At the model's size; the aspect is not kept, as in training."""
        size = self._model.config.image_size
        images = images.to(self._device)
        return interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
