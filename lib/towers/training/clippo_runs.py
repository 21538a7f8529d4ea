"""CLIPPO and what it is compared with, small, at one budget: runs that several chapters share.

Source: Tschannen et al. 2023, sections 3 and 4.1, Tables 1 and 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from towers.models import clippo
from towers.training.recipe import Recipe

CLIPPO = "CLIPPO"


def family(image: str, words: str, common: Mapping[str, Any]) -> dict[str, Recipe]:
    """A run of each model of Table 9, all alike but for the text tower.

    Args:
        image: name of the image tower, `scratch:map?...`.
        words: options of the towers that read tokens, as `models.clippo.texts` takes them.
        common: the other fields of all recipes.

    Raises:
        ValueError: as `models.clippo.texts`.
        TrainingError: as `Recipe`.
    """
    texts = clippo.texts(image, words, packed=True)
    return {
        name: Recipe(image=image, text=text, name=name, **common) for name, text in texts.items()
    }


def mixed(recipe: Recipe, pairs: Sequence[str], shares: Sequence[float]) -> dict[str, Recipe]:
    """The same run with shares of its batches given to pairs of texts.

    The batch stays as large, so that the run takes as many more updates as it needs to see as many
    pictures.

    Args:
        recipe: without pairs of texts, its length in `steps`.
        pairs: their sources, as `training.texts` has them.
        shares: each above 0 and below 1, and a whole number of pairs of the batch.

    Returns:
        "NAME + 25 % text" -> its recipe, and so on.

    Raises:
        TrainingError: as `Recipe`.
    """
    found = {}
    for share in shares:
        name = f"{recipe.title} + {share:.0%} text".replace("%", " %")
        found[name] = replace(
            recipe, name=name, text_pairs=tuple(pairs), text_share=share,
            steps=round(recipe.steps / (1 - share)),
        )  # fmt: skip
    return found
