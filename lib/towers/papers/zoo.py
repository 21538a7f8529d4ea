"""Recipes of the book's own towers that chapters on several papers ask."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from towers.training import Recipe

LAPTOP = Recipe(
    image="package:efficientnet-lite0?resize=pad", text="package:minilm", policy="projections",
    cache_features=True, data=("clipart", "emoji:openmoji"), embed=384, penalties=(1.0, 0.1),
    warmup=0, batch=2, name="laptop CLIP",  # a closed form takes no batches
)  # fmt: skip
"""Two frozen towers that come with packages, and projections in closed form between them.

The penalties gave the best R@10 on held-out clip art, the mean of both directions.
"""
TRAINED = replace(
    LAPTOP, embed=256, penalties=(), dropout=0.4, steps=600, batch=512, lr=3e-3, weight_decay=0.2,
    warmup=50,
)  # fmt: skip
"""The same towers, with projections that are trained from random weights."""
EYES: dict[str, Any] = {
    "steps": 1000, "batch": 64, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "warmup": 50,
    "weight_decay": 0.05, "augment": "mirror", "embed": 16, "checkpoint_every": 100_000,
}  # fmt: skip
"""Fields of our recipes of distilled towers."""


def distilled(
    teacher: str,
    data: Sequence[str],
    image: str = "scratch:vit?image=64&patch=8&width=128&depth=4&heads=4",
    **fields: Any,
) -> Recipe:
    """The recipe of a small image tower that learns to see what a large one sees.

    Args:
        teacher: image tower with weights.
        data: collections; their captions are not looked at.
        image: the small one, from scratch.
        fields: of the recipe, in the place of `EYES`.

    Raises:
        TrainingError: as `Recipe`.
    """
    return Recipe(
        image=image, text="scratch:bow?width=16&context=32&vocabulary=2048", data=tuple(data),
        objective="distillation", teacher=teacher, name="distilled", **(EYES | fields),
    )  # fmt: skip
