"""The symmetric contrastive loss of CLIP, and the range of its learned scale.

Source: Radford et al. 2021, sections 2.3 to 2.5 and Fig. 3.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LOG_SCALE_INIT = math.log(1 / 0.07)
"""Where the learned `log_scale` starts: a temperature of 0.07 (section 2.5)."""

LOG_SCALE_MAX = math.log(100)
"""Where it is clipped: logits are scaled by at most 100 (section 2.5)."""


def clip_loss(
    image_embeds: Float[Tensor, "batch embed"],
    text_embeds: Float[Tensor, "batch embed"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over in-batch pairs.

    Similarities, logits and softmax are computed in float32 whatever the embeddings come in
    (float64 stays float64), also under autocast: at a scale of 100 a bfloat16 logit would be off
    by up to 0.25. The softmax subtracts each row's maximum, so no scale overflows it.

    Args:
        image_embeds: unit-norm; row i matches row i of `text_embeds`.
        text_embeds: unit-norm. NaN in either input gives a NaN loss.
        logit_scale: multiplier > 0, already exponentiated. Reading it for the check makes an
            accelerator wait once per call.

    Returns:
        Mean of both directions, in nats; log(batch) at chance, 0 for a batch of one.

    Raises:
        ValueError: the embeddings are not two matrices of one non-empty shape (the message gives
            both shapes), or the scale is not one finite number above zero.

    Source: Radford et al. 2021, Fig. 3.
    """
    check(image_embeds, text_embeds, logit_scale)
    precision = computing_dtype(image_embeds, text_embeds)
    with torch.autocast(device_type=image_embeds.device.type, enabled=False):
        sims = image_embeds.to(precision) @ text_embeds.to(precision).T  # (images, texts)
        logits_per_image = logit_scale.to(precision) * sims
        pairs = torch.arange(len(sims), device=sims.device)
        loss_per_image = F.cross_entropy(logits_per_image, pairs)
        loss_per_text = F.cross_entropy(logits_per_image.T, pairs)
        return (loss_per_image + loss_per_text) / 2


def computing_dtype(image_embeds: Tensor, text_embeds: Tensor) -> torch.dtype:
    """The precision of their loss: float32, or float64 if either has it."""
    return torch.promote_types(
        torch.promote_types(image_embeds.dtype, text_embeds.dtype), torch.float32
    )


def check(image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor) -> None:
    """Refuse inputs that have no contrastive loss; an accelerator waits for the scale.

    Raises:
        ValueError: as `clip_loss`.
    """
    images, texts = tuple(image_embeds.shape), tuple(text_embeds.shape)
    if images != texts or len(images) != 2 or 0 in images:
        raise ValueError(
            "expected image_embeds and text_embeds of one shape (batch, embed), neither zero, "
            f"got {images} and {texts}; give one text embedding for each image"
        )
    if logit_scale.ndim:
        raise ValueError(
            "expected logit_scale as a scalar tensor, got shape "
            f"{tuple(logit_scale.shape)}; pass log_scale.exp()"
        )
    if not 0 < (scale := logit_scale.item()) < math.inf:
        raise ValueError(
            f"expected a finite logit_scale > 0, got {scale}; pass log_scale.exp(), not log_scale"
        )
