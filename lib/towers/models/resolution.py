"""A Vision Transformer at another resolution: positions resized, everything else bitwise the same.

So CLIP's ViT-L/14 became ViT-L/14@336px: one more epoch at 336 pixels, as in FixRes.

Source: Radford et al. 2021, section 2.5; Touvron et al. 2019.
"""

import copy
import re
from dataclasses import replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from towers.models.duals import DualTower
from towers.models.encoders import ImageTower

Model = TypeVar("Model", ImageTower, DualTower)


def continued(model: Model, image: int = 336) -> Model:
    """A copy of an image tower, or of a pair with its text tower and scale, for larger pictures.

    Args:
        model: its image tower is a Vision Transformer with learned positions and a class token, as
            `scratch:vit` and open_clip's own are; it stays as it is.
        image: side of the new input in pixels, a multiple of the patch.

    Returns:
        What is trainable in `model` is trainable in it.

    Raises:
        ValueError: another kind of tower, or a side that the patch does not divide.
    """
    if isinstance(model, DualTower):
        return copy.deepcopy(model, {id(model.image): continued(model.image, image)})
    encoder = copy.deepcopy(model.encoder)
    patch = getattr(encoder, "patch_size", (0, 0))[0]
    positions = getattr(encoder, "positional_embedding", None)
    if not patch or positions is None or not hasattr(encoder, "grid_size"):
        raise ValueError(
            f"expected a Vision Transformer of open_clip to continue at {image} pixels, got "
            f"{type(encoder).__name__} in {model.name}; its positions are not a grid"
        )
    if image < patch or image % patch:
        raise ValueError(
            f"expected pictures of a multiple of {patch} pixels for {model.name}, got {image}"
        )
    side = image // patch
    encoder.positional_embedding = nn.Parameter(
        resized(positions.detach(), side), requires_grad=positions.requires_grad
    )
    encoder.image_size, encoder.grid_size = (image, image), (side, side)
    tower = ImageTower(
        _renamed(model.name, image), encoder, model.width, replace(model.transform, size=image)
    )
    tower.named = model.named
    return tower.train(model.training)


def resized(
    positions: Float[Tensor, "places width"], side: int
) -> Float[Tensor, "new_places width"]:
    """Embeddings of a class token and a square grid, the grid resized and the token's kept.

    Args:
        positions: the class token's first, then the grid's, row by row.
        side: patches along one side of the new grid.
    """
    token, grid = positions[:1], positions[1:]
    old = round(len(grid) ** 0.5)
    if old == side:
        return positions.clone()
    plane = grid.T.reshape(1, -1, old, old)  # (1, width, old, old)
    plane = F.interpolate(plane, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([token, plane.flatten(2)[0].T])


def _renamed(name: str, image: int) -> str:
    """The name that brings a tower of this resolution: its `image=` option, replaced or added."""
    if re.search(r"[?&]image=\d+", name):
        return re.sub(r"([?&]image=)\d+", rf"\g<1>{image}", name)
    return f"{name}{'&' if '?' in name else '?'}image={image}"
