"""LilT: towers that were pretrained apart, aligned by moving few of their parameters.

Here are the configurations of its ablation, built without memory, with what moves in each; the
recipes of our runs; and what the paper's own would take.

Image towers are DeiT-B/16 and DeiT-3-L/16 at 256 pixels without a classifier; text towers BERT base
and large without the pooler; projections have 256 outputs and a bias, and the scale begins at
1 / 0.07.

The paper gives 0.24 % for layer norms and 0.31 % for BitFit "in a 12-layer base transformer". Layer
norms alone are about 0.04 % of one. Both figures come out over both towers together, if the
projections, which always move, are counted in:

    layer norms    38,400 + 38,400 + 393,728 + 1   of 195,130,113   0.2411 %
    BitFit         102,912 + 102,144 + 393,728 + 1   of 195,130,113   0.3069 %

"Less than 7 %" holds for adapters with projections, 6.97 % layerwise and 6.96 % deep. The models
called LilT also move layer norms, and come to 7.01 % and 7.00 %.

Which letter of Table 1 stands for which configuration, the paper's text says for c, f, h, k and m;
for the others it is our reading of the table's caption.

Source: Khan and Fu 2023, sections 2.3 to 3.4 and 6.4 to 6.7, Tables 1 to 5, Figs. 6 to 10.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pandas as pd
import torch

from towers.models import DualTower, ImageTower, Preprocessing, TextTower, scratch, trainable
from towers.models.encoders import Pairing, Tokens
from towers.models.sentences import SentenceEncoder
from towers.models.terms import Locked
from towers.papers import zoo
from towers.records import Measurement
from towers.training import Recipe, loading, named, schedules
from towers.training.budget import GB, Accelerator
from towers.training.errors import TrainingError
from towers.training.planning import plan

PAIRS, BATCH, EPOCHS, DEVICES, LR = 591_753, 512, 15, 4, 1e-4
"""Of the paper, section 2.4; the rate is that of the authors' code."""
STEPS_PER_EPOCH = PAIRS // BATCH
A6000 = Accelerator("A6000-48GB", 48 * GB, {"fp32": 38.7e12, "bf16": 154.8e12}, 0.8)
UPDATES = (0, STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH // 2, EPOCHS * STEPS_PER_EPOCH - 1)
"""Whose learning rates are told: the first one, the peak, one halfway, the last one."""
APART: dict[str, Any] = {
    "steps": 800, "batch": 64, "lr": 2e-3, "warmup": 50, "weight_decay": 0.05, "clip_norm": 1.0,
    "embed": 64, "checkpoint_every": 10_000,
}  # fmt: skip
"""Fields of our recipes of towers that learn apart, where nothing else is said."""
ALIGNED: dict[str, Any] = {
    "weight_decay": 0.02, "clip_norm": 1.0, "checkpoint_every": 100_000,
}  # fmt: skip
"""Fields of our recipes of aligned towers; the decay is that of the authors' code."""
HALF = (0.5,) * 3
Size = Literal["base", "large"]
EMBED, IMAGE, TOKENS, TEMPERATURE = 256, 256, 25, 0.07
"""Length of the shared space, pixels of a side, tokens of a caption, first temperature."""
IMAGES = {"base": "deit_base_patch16_224", "large": "deit3_large_patch16_224"}
"""Architectures of timm by size."""
TEXTS = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
              "intermediate_size": 4096},
}  # fmt: skip
"""Settings of BERT that are not its defaults, by size."""


@dataclass(frozen=True)
class Configuration:
    """A configuration of Table 1.

    Attributes:
        letter: of its row.
        name: what it is.
        policy: as `trainable` takes it.
        given: whether the paper's text says that the letter stands for it; else it is our reading.
        size: of both towers.
    """

    letter: str
    name: str
    policy: str
    given: bool
    size: Size = "base"

    def build(self) -> DualTower:
        """The pair on the meta device: shapes without memory, locked as the policy says."""
        return trainable.apply(copy.deepcopy(_pair(self.size)), self.policy)

    def report(self) -> pd.DataFrame:
        """What moves in it, see `trainable.report`."""
        return _report(self)

    @property
    def share(self) -> float:
        """Parameters that move, of all in both towers, their adapters and projections."""
        return float(self.report()["share"].iloc[-1])


def configurations(size: Size = "base") -> dict[str, Configuration]:
    """The configurations by letter, in the table's order.

    Args:
        size: of both towers.

    Raises:
        ValueError: another size.
    """
    if size not in IMAGES:
        raise ValueError(f"expected a size of {', '.join(IMAGES)}, got {size!r}")
    listed = (
        ("a", "projections", "projections", False),
        ("b", "layer norms of images", "image=layer-norms,text=locked", False),
        ("c", "layer norms", "layer-norms", True),
        ("d", "layer norms of texts", "image=locked,text=layer-norms", False),
        ("e", "BitFit", "bitfit", False),
        ("f", "LilT, deep adapters", "deep+layer-norms", True),
        ("g", "CLIP", "everything", False),
        ("h", "LilT, layerwise adapters", "layerwise+layer-norms", True),
        ("i", "layerwise adapters, BitFit", "layerwise+bitfit", False),
        ("j", "deep adapters, BitFit", "deep+bitfit", False),
        ("k", "LiT", "image=locked,text=everything", True),
        ("l", "LiT, layerwise adapters", "image=layerwise+layer-norms,text=everything", False),
        ("m", "LiT, deep adapters", "image=deep+layer-norms,text=everything", True),
    )
    return {row[0]: Configuration(*row, size=size) for row in listed}


def shares(size: Size = "base") -> pd.DataFrame:
    """The sum behind each share: parameters that move in each part, one row a configuration.

    Beside the rows of Table 1 stand both kinds of adapters alone, without layer norms: with
    projections these are the ones below 7 %.
    """
    alone = [Configuration("", f"{kind} adapters alone", kind, False, size)
             for kind in ("layerwise", "deep")]  # fmt: skip
    rows = []
    for model in (*configurations(size).values(), *alone):
        found = model.report().set_index("part")
        rows.append({
            "row": model.letter, "model": model.name, "policy": model.policy, "given": model.given,
            **found["trainable"].drop("pair").to_dict(),
            "trainable": found["trainable"]["pair"], "parameters": found["parameters"]["pair"],
            "share": found["share"]["pair"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def shares_as_records(frame: pd.DataFrame, size: Size = "base") -> list[Measurement]:
    """What moves in each configuration of the paper.

    Args:
        frame: as `shares` gives it.
        size: of the towers it was made for.

    Returns:
        "share that moves" of each model, at `size`; n is the number of its parameters.
    """
    return [
        Measurement(
            model=row.model, data="the paper's towers", metric="share that moves",
            value=row.share, n=row.parameters, at={"size": size},
        )
        for row in frame.itertuples()
    ]  # fmt: skip


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


def between_pretrained(given: Mapping[str, Any]) -> dict[tuple[str, int], Recipe]:
    """The recipes of `lilt/alignment`, by the chapter's parameters."""
    recipe = Recipe(
        image=given["image"], text=given["text"], data=tuple(given["train_on"]),
        **(ALIGNED | given["budget"]),
    )  # fmt: skip
    eyes = zoo.distilled(given["image"], **given["student"]) if given["student"] else None
    recipes = aligned(recipe, given["policies"], given["seeds"])
    return between(recipes, named(eyes) if eyes else "", given["rates"])


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


def between(
    recipes: Mapping[tuple[str, int], Recipe], student: str, rates: Mapping[str, float]
) -> dict[tuple[str, int], Recipe]:
    """The recipes of `aligned` between pretrained towers, each with an image tower that suits it.

    A policy that locks the image tower takes any, which looks at each picture once, unless pictures
    come in shards. A policy that moves both towers needs transformers on both sides: where the
    image tower is none, one that was distilled from it stands in.

    Args:
        recipes: as `aligned` gives them.
        student: the tower that stands in; empty: there is none.
        rates: name of the model -> its learning rate, where it is not the recipe's.
    """
    found = {}
    for key, recipe in recipes.items():
        wanted = trainable.read(recipe.policy)
        locked = wanted is not None and set(wanted.image) == {Locked()}
        near = not loading.in_shards(recipe.data)
        image = recipe.image if locked else student or recipe.image
        rate = rates.get(recipe.name, recipe.lr)
        found[key] = replace(recipe, image=image, cache_features=locked and near, lr=rate)
    return found


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


def memory(dual: DualTower, batch: int, *, model: str, seed: int) -> Measurement:
    """What training takes beside the weights: gradients, moments and activations.

    Args:
        dual: the pair, locked as the policy says.
        batch: pairs of an update.
        model: of the record.
        seed: of the run.

    Returns:
        "memory for training (MB)" in fp32, by tracing shapes; n pairs. A locked tower goes forward
        in every update, as in runs without `cache_features`.
    """
    found = plan(dual, batch, batch, precision="fp32", accelerator=A6000, overhead=0)
    taken = found.gradients + found.moments + found.activations
    return Measurement(model=model, data="training", metric="memory for training (MB)",
                       value=taken / 1e6, n=batch, seed=seed)  # fmt: skip


def planned(
    letters: str = "acfghkm", size: Size = "base", accelerator: Accelerator = A6000
) -> list[Measurement]:
    """What configurations of Table 1 would take at the paper's scale; nothing is computed.

    Args:
        letters: of the configurations.
        size: of both towers.
        accelerator: the paper had four A6000.

    Returns:
        For each configuration, called "(letter) name", "parameters that move", "share that moves",
        "memory per device (GB)" and "hours" at its `size`; of all "pairs", "updates", "batch" and
        the "learning rate" at each `update` of `UPDATES`, under half a cosine after one epoch of
        warm-up. Locked towers go forward in every update.

    Raises:
        ValueError: a letter that is none of the table's.
    """
    listed, shared = configurations(size), {"data": accelerator.name, "n": DEVICES}
    if unknown := [letter for letter in letters if letter not in listed]:
        raise ValueError(f"expected letters of {', '.join(listed)}, got {', '.join(unknown)}")
    rows = []
    for letter in letters:
        model = listed[letter]
        found = plan(model.build(), BATCH, PAIRS * EPOCHS, ranks=DEVICES, accelerator=accelerator)
        values = {
            "parameters that move": found.parameters, "share that moves": model.share,
            "memory per device (GB)": found.memory / GB, "hours": 24 * found.days,
        }  # fmt: skip
        rows += [
            Measurement(model=f"({letter}) {model.name}", metric=key, value=value,
                        at={"size": size}, **shared)
            for key, value in values.items()
        ]  # fmt: skip
    steps = EPOCHS * STEPS_PER_EPOCH
    common = {"pairs": PAIRS, "updates": steps, "batch": BATCH}
    rows += [
        Measurement(model="all", metric=key, value=value, **shared) for key, value in common.items()
    ]
    return rows + [
        Measurement(model="all", metric="learning rate", at={"update": update},
                    value=LR * schedules.cosine(update, steps, STEPS_PER_EPOCH), **shared)
        for update in UPDATES
    ]  # fmt: skip


def planned_pairs(amounts: Sequence[int], letters: str = "fg") -> list[Measurement]:
    """What Table 4's and Figure 9's amounts would take on the paper's devices, with base towers.

    Args:
        amounts: pairs; each is seen in as many epochs as the paper's own.
        letters: of the configurations of Table 1.

    Returns:
        "updates", "hours" and "memory per device (GB)" of each configuration, at each number of
        `pairs`; nothing is computed.

    Raises:
        KeyError: a letter that is none of the table's.
    """
    rows = []
    for letter in letters:
        model = configurations()[letter]
        found = plan(model.build(), BATCH, BATCH, ranks=DEVICES, accelerator=A6000)
        for pairs in amounts:
            updates = pairs // BATCH * EPOCHS
            values = {
                "updates": updates, "hours": 24 * found.days * updates,
                "memory per device (GB)": found.memory / GB,
            }  # fmt: skip
            rows += [
                Measurement(model=f"({letter}) {model.name}", data=A6000.name, metric=key,
                            value=value, n=DEVICES, at={"pairs": pairs})
                for key, value in values.items()
            ]  # fmt: skip
    return rows


@lru_cache(maxsize=2)
def _pair(size: Size) -> DualTower:
    """Both towers and their projections on the meta device."""
    import timm
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        network = timm.create_model(IMAGES[size], img_size=IMAGE, num_classes=0)
        bert = BertModel(BertConfig(**TEXTS[size]), add_pooling_layer=False)
        transform = Preprocessing(IMAGE, HALF, HALF)
        image = ImageTower(f"timm:{IMAGES[size]}", network, network.num_features, transform)
        text = TextTower(
            f"hf:bert-{size}", SentenceEncoder(bert, "cls", normalize=False),
            bert.config.hidden_size, _blank, f"{TOKENS} tokens",
            Pairing(bias=True, log_scale=-math.log(TEMPERATURE)),
        )  # fmt: skip
        return DualTower(image, text, EMBED, f"LilT {size}")


def _blank(texts: list[str]) -> Tokens:
    """Tokens of the right shape and without meaning: towers without memory read no words."""
    ids = torch.zeros(len(texts), TOKENS, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@lru_cache(maxsize=64)
def _report(model: Configuration) -> pd.DataFrame:
    return trainable.report(model.build())
