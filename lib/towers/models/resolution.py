"""A Vision Transformer at another resolution: positions resized, everything else bitwise the same.

So CLIP's ViT-L/14 became ViT-L/14@336px: one more epoch at 336 pixels, as in FixRes; and so CLIPPO
went on at 384 pixels from what stood before its cool-down.

Source: Radford et al. 2021, section 2.5; Touvron et al. 2019; Tschannen et al. 2023, section B.1.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from towers import names
from towers.models import scratch
from towers.models.duals import DualTower
from towers.models.encoders import BORROWED, ImageTower

Model = TypeVar("Model", ImageTower, DualTower)


def continued(model: Model, image: int = 336) -> Model:
    """A copy of an image tower, or of a pair with its text tower and scale, for larger pictures.

    Args:
        model: its image tower is a Vision Transformer with learned positions, as `scratch:vit`,
            `scratch:map` and open_clip's own are; it stays as it is. A text tower that shares its
            network goes on with it.
        image: side of the new input in pixels, a multiple of the patch.

    Returns:
        What is trainable in `model` is trainable in it.

    Raises:
        ValueError: another kind of tower, or a side that the patch does not divide.
    """
    if isinstance(model, DualTower):
        return _pair(model, continued(model.image, image))
    encoder = copy.deepcopy(model.encoder)
    patch, resize = _kind(encoder)
    if not patch:
        raise ValueError(
            f"expected a Vision Transformer of open_clip, or scratch:map, to continue at {image} "
            f"pixels, got {type(encoder).__name__} in {model.name}; its positions are not a grid"
        )
    if image < patch or image % patch:
        raise ValueError(
            f"expected pictures of a multiple of {patch} pixels for {model.name}, got {image}"
        )
    resize(encoder, image, image // patch)
    name = names.parse(model.name).having(image=image)
    tower = ImageTower(name, encoder, model.width, replace(model.transform, size=image))
    tower.named, tower.moved, tower.adapters = model.named, model.moved, model.adapters
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


def resized_grid(
    positions: Float[Tensor, "1 places width"], side: int
) -> Float[Tensor, "1 new_places width"]:
    """Embeddings of a square grid alone, interpolated between neighbours; corners stay corners.

    Args:
        positions: row by row.
        side: patches along one side of the new grid.

    Source: big_vision, whose `scipy.ndimage.zoom` of order 1 this equals.
    """
    old = round(positions.shape[1] ** 0.5)
    plane = positions[0].T.reshape(1, -1, old, old)  # (1, width, old, old)
    plane = F.interpolate(plane, (side, side), mode="bilinear", align_corners=True)
    return plane.flatten(2).mT


def _kind(encoder: nn.Module) -> tuple[int, Callable[[nn.Module, int, int], None]]:
    """The patch of a Vision Transformer that is known here, and how its positions are resized."""
    if isinstance(encoder, VisionTransformer):
        grid = encoder.num_prefix_tokens == 0 and encoder.pos_embed is not None
        return (encoder.patch_embed.patch_size[0] if grid else 0), _resize_timm
    known = hasattr(encoder, "positional_embedding") and hasattr(encoder, "grid_size")
    return (getattr(encoder, "patch_size", (0,))[0] if known else 0), _resize_open_clip


def _resize_open_clip(encoder: nn.Module, image: int, side: int) -> None:
    old = encoder.positional_embedding
    encoder.positional_embedding = nn.Parameter(resized(old.detach(), side), old.requires_grad)
    encoder.image_size, encoder.grid_size = (image, image), (side, side)


def _resize_timm(encoder: VisionTransformer, image: int, side: int) -> None:
    old = encoder.pos_embed
    encoder.patch_embed.set_input_size(image)
    encoder.pos_embed = nn.Parameter(resized_grid(old.detach(), side), old.requires_grad)


def _pair(dual: DualTower, image: ImageTower) -> DualTower:
    """A copy of a pair around another image tower, whose network its text tower may borrow."""
    if not dual.text.borrows:
        return copy.deepcopy(dual, {id(dual.image): image})
    text = scratch.sharing(dual.text.name, image)
    text.encoder.load_state_dict(dual.text.own_weights, strict=False)
    for name, weight in text.encoder.named_parameters():
        if not name.startswith(BORROWED):
            weight.requires_grad_(dual.text.encoder.get_parameter(name).requires_grad)
    text.named = dual.text.named
    return copy.deepcopy(dual, {id(dual.image): image, id(dual.text): text.train(dual.training)})
