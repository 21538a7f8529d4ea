"""LilT: the recipes of our runs, in which towers that learnt apart are aligned.

The paper's own towers, and what its runs would take, are in `lilt_models`.

Source: Khan and Fu 2023, sections 2.3 to 3.4 and 6.4 to 6.7, Figs. 4 to 10.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import nn

from towers.models import DualTower, ImageTower, TextTower, scratch, trainable
from towers.models.stacks import stack
from towers.models.terms import Locked
from towers.papers import zoo
from towers.training import Recipe, TrainingError, loading, named

APART: dict[str, Any] = {
    "steps": 800, "batch": 64, "lr": 2e-3, "warmup": 50, "weight_decay": 0.05, "clip_norm": 1.0,
    "embed": 64, "checkpoint_every": 10_000,
}  # fmt: skip
"""Fields of our recipes of towers that learn apart, where nothing else is said."""
ALIGNED: dict[str, Any] = {
    "weight_decay": 0.02, "clip_norm": 1.0, "checkpoint_every": 100_000,
}  # fmt: skip
"""Fields of our recipes of aligned towers; the decay is that of the authors' code."""


def apart(
    image: str,
    text: str,
    world: str,
    pictures: Mapping[str, Any] | None = None,
    sentences: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """Names of two towers that learnt apart, and have never met; each is trained when it is used.

    The image tower learns which words describe a picture, and no text is ever contrasted with it.
    The text tower learns which captions are about one scene (SimCSE with pairs), and never sees a
    picture. A tower that brings weights stays as it is.

    Args:
        image: image tower, as `models.load` takes it.
        text: text tower.
        world: options of the scenes that they learn from, "size=64&..."; each scene has several
            captions.
        pictures: fields of the image tower's recipe, in the place of `APART`.
        sentences: fields of the text tower's.

    Raises:
        TrainingError: as `Recipe`.

    Source: Khan and Fu 2023, section 2.4 (DeiT and SimCSE); Gao et al. 2021 (SimCSE).
    """
    scenes = f"scenes:train?count=1000000&{world}"
    if image.startswith(scratch.PREFIX):
        image = named(Recipe(
            image=image, text="scratch:bow?width=16&context=32&vocabulary=2048", data=(scenes,),
            objective="bag-of-words", name="before alignment", **(APART | dict(pictures or {})),
        ))  # fmt: skip
    if text.startswith(scratch.PREFIX):
        text = named(Recipe(
            image="scratch:vit?image=8&patch=8&width=16&depth=1&heads=1", text=text, data=(),
            text_pairs=(f"captions:{scenes.replace('1000000', '20000')}",), text_share=1.0,
            name="before alignment", **(APART | dict(sentences or {})),
        ))  # fmt: skip
    return image, text


def ablated(given: Mapping[str, Any]) -> Recipe:
    """The recipe that all runs of `lilt/ablation` have in common, by the chapter's parameters."""
    towers = ("image", "text", "pretraining_world", "pictures", "sentences")
    eyes, reader = apart(*(given[name] for name in towers))
    scenes = f"scenes:train?count={given['pairs']}&{given['world']}"
    budget = ("steps", "batch", "lr", "weight_decay", "warmup", "embed")
    return Recipe(
        image=eyes, text=reader, data=(given["data"] or scenes,), clip_norm=1.0,
        checkpoint_every=10_000, **{name: given[name] for name in budget},
    )  # fmt: skip


def aligned(
    recipe: Recipe, policies: Mapping[str, str], seeds: Iterable[int]
) -> dict[tuple[str, int], Recipe]:
    """A recipe under each policy, with each seed: (name of the model, seed) -> recipe.

    Args:
        recipe: the budget and the towers.
        policies: name of the model -> what moves, as `models.trainable` has it.
        seeds: of projections, adapters, order and drawn captions.

    Raises:
        TrainingError: as `Recipe`.
    """
    return {
        (name, seed): replace(recipe, policy=policy, name=name, seed=seed)
        for name, policy in policies.items()
        for seed in seeds
    }


def between_pretrained(given: Mapping[str, Any]) -> dict[tuple[str, int], Recipe]:
    """The recipes of `lilt/alignment`, by the chapter's parameters: of `aligned`, between towers.

    A policy that locks the image tower takes any, which looks at each picture once, unless pictures
    come in shards. A policy that moves both towers needs transformers on both sides: where the
    image tower is none, one that was distilled from it stands in, its `student`.
    """
    common = Recipe(
        image=given["image"], text=given["text"], data=tuple(given["train_on"]),
        **(ALIGNED | given["budget"]),
    )  # fmt: skip
    student, near = "", not loading.in_shards(common.data)
    if given["student"]:
        student = named(zoo.distilled(given["image"], **given["student"]))
    recipes = aligned(common, given["policies"], given["seeds"])
    for key, recipe in recipes.items():
        moves = trainable.read(recipe.policy)
        locked = moves is not None and set(moves.image) == {Locked()}
        image = recipe.image if locked else student or recipe.image
        rate = given["rates"].get(recipe.name, recipe.lr)
        recipes[key] = replace(recipe, image=image, cache_features=locked and near, lr=rate)
    return recipes


def patterns(depth: Mapping[str, int]) -> dict[str, str]:
    """Policies that unlock the layer norms of ever fewer layers, after two opposite patterns.

    Args:
        depth: layers of the "image" tower and of the "text" tower.

    Returns:
        "A, 1 locked" -> policy, and so on: of pattern A, so many of the deepest layers of the text
        tower and of the shallowest of the image tower are locked; of pattern B it is the reverse.
        "none locked" comes first. In all of them a norm outside of layers stays locked.

    Raises:
        ValueError: a tower of fewer than two layers.

    Source: Khan and Fu 2023, Fig. 5.
    """
    least = min(depth.values())
    if least < 2:
        raise ValueError(f"expected towers of at least two layers, got {dict(depth)}")
    policies = {"none locked": "layer-norms?layers=0:"}
    for locked in range(1, least):
        shallow = f"layer-norms?layers={locked}:"
        deep = {side: f"layer-norms?layers=:{count - locked}" for side, count in depth.items()}
        policies[f"A, {locked} locked"] = f"image={shallow},text={deep['text']}"
        policies[f"B, {locked} locked"] = f"image={deep['image']},text={shallow}"
    return policies


def changes_of_norms(before: DualTower, after: DualTower) -> pd.DataFrame:
    """How far each layer norm moved: the L1 norm of the change of its gains and biases.

    Args:
        before: the pair before alignment.
        after: the same towers after it.

    Returns:
        One row a layer norm inside a layer. Columns `tower` ("image" or "text"), `layer` and `norm`
        (both from 1), and `change`, the sum of absolute differences; an adapter that hangs on a
        norm is none of its parameters.

    Raises:
        ValueError: the towers have other norms, or none that are known.

    Source: Khan and Fu 2023, section 3 (after Table 4) and Fig. 4.
    """
    rows = []
    for side in ("image", "text"):
        old, new = (_norms(getattr(pair, side)) for pair in (before, after))
        if old.keys() != new.keys():
            raise ValueError(
                f"expected the same layer norms before and after in the {side} tower, got "
                f"{len(old)} and {len(new)}"
            )
        for (layer, norm), weights in old.items():
            pairs = zip(weights, new[layer, norm], strict=True)
            change = sum(float((second - first).detach().abs().sum()) for first, second in pairs)
            rows.append((side, layer, norm, change))
    return pd.DataFrame(rows, columns=["tower", "layer", "norm", "change"])


def _norms(tower: ImageTower | TextTower) -> dict[tuple[int, int], list[nn.Parameter]]:
    """Gains and biases of the norms inside the layers, by layer and place, both from 1."""
    norms = {}
    for number, layer in enumerate(stack(tower.encoder, tower.name).layers, 1):
        inside = [module for module in layer.modules() if isinstance(module, nn.LayerNorm)]
        for place, norm in enumerate(inside, 1):
            norms[number, place] = list(norm.parameters(recurse=False))
    return norms


@dataclass(frozen=True)
class Scaled:
    """One run of the grid over sizes and pairs.

    Attributes:
        image: size of the image tower.
        text: size of the text tower.
        policy: name of what moves.
        pairs: different pictures that are learnt from, each with its captions.
        pretrained: which towers are: "both", "image", "text" or "none".
        seed: of projections, adapters, order and drawn captions.
    """

    image: str
    text: str
    policy: str
    pairs: int
    pretrained: str = "both"
    seed: int = 0

    @property
    def towers(self) -> str:
        """Size of the pair: one word where both towers have it."""
        return self.image if self.image == self.text else f"{self.image} image, {self.text} text"

    @property
    def at(self) -> dict[str, str | int]:
        """The conditions of its records: towers, pairs and, unless both are, `pretrained`."""
        known = {} if self.pretrained == "both" else {"pretrained": self.pretrained}
        return {"towers": self.towers, "pairs": self.pairs} | known

    @property
    def title(self) -> str:
        """What the trained pair is called."""
        known = "" if self.pretrained == "both" else f", pretrained: {self.pretrained}"
        return f"{self.policy}, {self.towers}, {self.pairs:,} pairs{known}"


def scaled(
    run: Scaled,
    images: Mapping[str, str],
    texts: Mapping[str, str],
    policies: Mapping[str, str],
    source: str,
    pretraining: Mapping[str, Any],
    drawn: Mapping[str, str],
    **budget: Any,
) -> Recipe:
    """The recipe of one run of the grid.

    Args:
        run: which.
        images: size -> image tower.
        texts: size -> text tower.
        policies: name -> what moves, as `models.trainable` has it.
        source: what is learnt from; "{pairs}" stands for the amount.
        pretraining: `world`, `pictures` and `sentences` of `apart`.
        drawn: tower that brings weights -> one from scratch, its stand-in where it shall have none.
        budget: the other fields of the recipe.

    Raises:
        KeyError: a size or policy that is none of those given.
        TrainingError: as `Recipe`; a tower brings weights that it shall not have; or another
            word for what is pretrained.
    """
    if run.pretrained not in ("both", "image", "text", "none"):
        raise TrainingError(
            f"expected pretrained as both, image, text or none, got {run.pretrained!r}"
        )
    bare = {"image": images[run.image], "text": texts[run.text]}
    towers = dict(zip(bare, apart(**bare, **pretraining), strict=True))
    for side, name in bare.items():
        if run.pretrained not in ("both", side):
            towers[side] = drawn.get(name, name)
            if not towers[side].startswith(scratch.PREFIX):
                raise TrainingError(
                    f"expected a tower from scratch where the {side} tower is not pretrained, "
                    f"got {towers[side]}; name one of its shape in drawn"
                )
    return Recipe(
        **towers, data=(source.replace("{pairs}", str(run.pairs)),), name=run.title,
        policy=policies[run.policy], seed=run.seed, **budget,
    )  # fmt: skip
