"""CLIPPO and what it is compared with: its models, the recipes of small ones, and their cost.

Models are built without memory, and counts are read from the networks that their names build. The
paper's column of parameters is these counts cut, not rounded, to whole millions. Two of them say
more than the text does: CLIP* comes to 203 million only if its text tower is not pooled by
attention, as its image tower is, and 1T-CLIP L/16 at 384 pixels to 349 million only if words and
patches share their positions.

Source: Tschannen et al. 2023, sections 3 and 4, appendix B, Tables 1 to 3, 6, 7 and 9.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from towers import names
from towers.metrics.vqa import vqa_accuracies
from towers.models import DualTower, dual
from towers.models.answering import MOST, Answerer
from towers.models.counting import parameters
from towers.records import Measurement
from towers.training import (
    Finished,
    Plan,
    Recipe,
    TrainingFailed,
    labelled,
    plan,
    schedules,
    train,
)

EMBED, CONTEXT, VOCABULARY = 768, 196, 32_000
"""Length of the shared space, tokens of a text, and ids of a vocabulary."""
SIZES = {"B/16": "width=768&depth=12&heads=12", "L/16": "width=1024&depth=24&heads=16"}
"""Of the networks, with patches of 16 pixels."""
_SIZE = ("width", "depth", "heads")
_LONG = ("CLIP*", "1T-CLIP", "CLIPPO")
"""Trained for all steps; the others of Table 9 for ablation only."""
DEVICES = 64
"""TPUs that the paper trained each model on."""
PLANNED = ("CLIP*", "1T-CLIP", "CLIPPO", "1T-CLIP L/16", "CLIPPO L/16")
UPDATES = (0, 10_000, 20_000, 100_000, 240_000, 249_999)
"""Whose learning rates are told: start, peak, one and nine times scales later, descent, end."""
UPDATES_OF_LONGEST = (0, 10_000, 100_000, 240_000, 490_000, 499_999)
"""The same of a run that is twice as long, and goes on where the others descend."""
MAIN, ABLATION = 250_000, 100_000
"""Updates of the paper's runs on pictures alone, or on texts alone."""
CONTINUED = 500_000
"""Updates of the large models with pairs of texts: 150,000 without and 350,000 with them."""
ON_TEXTS = {
    "CLIPPO on WebLI": ("CLIPPO", MAIN, 0.0),
    "CLIPPO on WebLI + 25 % C4": ("CLIPPO", MAIN, 0.25),
    "CLIPPO on WebLI + 50 % C4": ("CLIPPO", MAIN, 0.5),
    "CLIPPO on C4": ("CLIPPO", MAIN, 1.0),
    "CLIPPO L/16 on WebLI + 25 % C4": ("CLIPPO L/16", CONTINUED, 0.25),
    "CLIPPO L/16 on WebLI + 50 % C4": ("CLIPPO L/16", CONTINUED, 0.5),
    "CLIPPO on C4, short": ("CLIPPO", ABLATION, 1.0),
    "CLIPPO on WMT19 BT, short": ("CLIPPO", ABLATION, 1.0),
    "CLIPPO on WMT19, short": ("CLIPPO", ABLATION, 1.0),
}
"""Runs of Tables 2 and 3: the network, its updates without pairs of texts, and their share."""
WHOLE_MT5 = 250_100
"""Ids of mT5's vocabulary, of which the paper keeps 32,000."""
ANSWERS = {
    "objective": "answers", "policy": "everything", "steps": 8_000, "warmup": 800, "batch": 256,
    "optimiser": "sgd", "lr": 0.1, "head_rate": 10.0, "weight_decay": 0.0, "clip_norm": 1.0,
}  # fmt: skip
"""Of recipes that fine-tune on questions; the batch, and which rate was chosen, are assumptions."""
TASK = {
    "objective": "task", "policy": "everything", "batch": 32, "lr": 3e-5, "schedule": "linear",
    "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "hidden": 768, "dropout": 0.1,
}  # fmt: skip
"""Of recipes that fine-tune on a task: BERT's, with one of the rates that it chooses from."""
ANSWERING = ("CLIPPO", "CLIPPO 384px")
"""Models of Table 7 whose fine-tuning on questions is planned."""
ANSWERING_UPDATES = (0, 800, 4_400, 7_999)
"""Whose learning rates are told: start, peak, half of the descent, end."""


@dataclass(frozen=True)
class Model:
    """A model of the paper and how it was trained.

    Attributes:
        name: as the tables have it.
        size: of `SIZES`.
        text: name of the text tower.
        image_size: side of pictures and pages in pixels.
        steps: updates; those at 384 pixels count what went before.
        batch: pairs per update.
        lr: peak learning rate.
        weight_decay: on kernels, times the schedule but not times `lr`.
        warmup: updates until the peak; also the time scale of the decay, and the cool-down.
        clip_norm: largest norm of all gradients together.
    """

    name: str
    size: str
    text: str
    image_size: int = 224
    steps: int = 250_000
    batch: int = 10_240
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 10_000
    clip_norm: float = 1.0

    @property
    def image(self) -> str:
        """Name of the image tower."""
        return f"scratch:map?image={self.image_size}&patch=16&{SIZES[self.size]}"

    def build(self) -> DualTower:
        """The model on the meta device: shapes without memory, trainable."""
        return _built(self.name, self.image, self.text)

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return parameters(self.build())

    @property
    def millions(self) -> int:
        """Learned numbers as the paper's tables have them: cut to whole millions."""
        return self.parameters // 1_000_000


def texts(image: str, words: str, packed: bool = False) -> dict[str, str]:
    """The text towers that make the family of an image tower, by the names of Table 9.

    Args:
        image: name of the image tower, `scratch:map?...`; what has a network of its own is as
            large.
        words: options of the towers that read tokens: `context=`, and at will `vocabulary=` and
            `tokens=`.
        packed: whether towers that read pixels skip blank patches; the paper's read whole pages.

    Raises:
        ValueError: another image tower.
    """
    parts = names.parse(image)
    if (parts.scheme, parts.place) != ("scratch", "map"):
        raise ValueError(f"expected an image tower like scratch:map?..., got {image!r}")
    tokens = names.parse(f"?{words}").options
    size = {key: value for key, value in parts.options.items() if key in _SIZE}
    skip = {"packed": True} if packed else {}
    return {
        "CLIP*": names.write("scratch:words", **size, **tokens),
        "CLIPPO untied": names.write("scratch:pixels", **parts.options, **skip),
        "1T-CLIP": names.write("shared:words", **tokens),
        "CLIPPO": names.write("shared:pixels", **skip),
        "CLIPPO separate heads": names.write("shared:pixels", separate="heads", **skip),
        "CLIPPO separate embeddings": names.write("shared:pixels", separate="embeddings", **skip),
        "CLIPPO separate embeddings and heads": names.write(
            "shared:pixels", separate="both", **skip
        ),
    }


def listed(tokens: str = "clip") -> dict[str, Model]:
    """The models of Tables 6 and 9 by name, in the order of their sizes.

    Args:
        tokens: of the baselines, as `vocabularies` has it; the paper's are T5's. Any vocabulary of
            32,000 ids gives the same counts.
    """
    words = f"context={CONTEXT}&vocabulary={VOCABULARY}&tokens={tokens}"
    base = Model("", "B/16", "").image
    found = [
        Model(name, "B/16", text, steps=250_000 if name in _LONG else 100_000)
        for name, text in texts(base, words).items()
    ]
    one = f"shared:words?{words}"
    found += [
        Model("1T-CLIP L/16", "L/16", one),
        Model("CLIPPO L/16", "L/16", "shared:pixels"),
        Model("1T-CLIP 384px", "B/16", one, 384, 270_000),
        Model("CLIPPO 384px", "B/16", "shared:pixels", 384, 270_000),
        Model("1T-CLIP L/16 384px", "L/16", one, 384, 270_000),
        Model("CLIPPO L/16 384px", "L/16", "shared:pixels", 384, 270_000),
    ]
    return {model.name: model for model in found}


def counts() -> pd.DataFrame:
    """Learned numbers of all models, one row each: exact, and as the paper's tables have them."""
    return pd.DataFrame([
        {"model": each.name, "parameters": each.parameters, "#param.": f"{each.millions}M"}
        for each in listed().values()
    ])  # fmt: skip


def family(
    image: str, words: str, common: Mapping[str, Any], packed: bool = True
) -> dict[str, Recipe]:
    """A run of each model of Table 9, all alike but for the text tower.

    Args:
        image: name of the image tower, `scratch:map?...`.
        words: options of the towers that read tokens, as `texts` takes them.
        common: the other fields of all recipes.
        packed: whether towers that read pixels skip blank patches. That is faster, and another
            network than the paper's, which reads whole pages.

    Raises:
        ValueError: as `texts`.
        TrainingError: as `Recipe`.
    """
    named = texts(image, words, packed)
    return {
        name: Recipe(image=image, text=text, name=name, **common) for name, text in named.items()
    }


def families(given: Mapping[str, Any]) -> dict[tuple[str, int], Recipe]:
    """The recipes of `clippo/one_tower` by model and seed, by the chapter's parameters."""
    budget = given["contrastive"]
    common = budget | {
        "data": tuple(given["train_on"]), "clip_norm": 1.0, "checkpoint_every": budget["steps"],
    }  # fmt: skip
    found = {}
    for seed in given["seeds"]:
        own = family(given["image"], given["words"], common | {"seed": seed}, given["packed"])
        own = {name: own[name] for name in given["members"]}
        own |= mixed(own["CLIPPO"], given["sentences"], given["shares"])
        found |= {(name, seed): recipe for name, recipe in own.items()}
    return found


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
            steps=stretched(recipe.steps, share),
        )  # fmt: skip
    return found


def stretched(steps: int, share: float) -> int:
    """Updates that show as many pictures when a share of every batch, below 1, is texts."""
    return round(steps / (1 - share))


def on_texts() -> list[tuple[Model, float]]:
    """The runs of `ON_TEXTS` with the share of their batches that is pairs of texts.

    Runs on both kinds are as much longer as it takes to see as many pictures, but for the large
    models, which go on from a run on pictures; runs on texts alone are as long as those on pictures
    alone.

    Source: Tschannen et al. 2023, section 4.1, appendix B, Tables 2 and 3.
    """
    known, found = listed(), []
    for name, (network, steps, share) in ON_TEXTS.items():
        both = 0 < share < 1 and steps != CONTINUED
        steps = stretched(steps, share) if both else steps
        found.append((replace(known[network], name=name, steps=steps), share))
    return found


def planned_on_texts(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the runs of `on_texts` would take; nothing is computed.

    Args:
        accelerator: of `training.plans.ACCELERATORS`.

    Returns:
        Rows of `costs` and "text pairs per batch" for each, and "learning rate" of the longest run
        of a small model, at each `update` of `UPDATES_OF_LONGEST`.
    """
    runs = on_texts()
    pairs = [
        Measurement(model=model.name, data=accelerator, metric="text pairs per batch",
                    value=share * model.batch, n=DEVICES)
        for model, share in runs
    ]  # fmt: skip
    longest = next(model for model, share in runs if share == 0.5)
    told = rates(longest, UPDATES_OF_LONGEST, accelerator)
    return [*costs([model for model, _ in runs], accelerator), *pairs, *told]


def multilingual() -> list[Model]:
    """The models of Fig. 3 and 8; all vocabularies of the second have as many ids.

    Source: Tschannen et al. 2023, section 4.4 and appendix C.4.
    """
    known = listed()
    return [known[name] for name in ("CLIP*", "1T-CLIP", "CLIPPO")]


def word_embeddings() -> list[Measurement]:
    """How much larger than CLIPPO a shared tower is that reads words.

    Returns:
        "additional parameters" at `over` CLIPPO, a share of its own, for 1T-CLIP with the paper's
        32,000 ids, and with all that mT5's vocabulary has; n is the number of ids.

    Source: Tschannen et al. 2023, Fig. 3.
    """
    known = listed()
    bare, words = (known[name].parameters for name in ("CLIPPO", "1T-CLIP"))
    width = known["1T-CLIP"].build().text.width
    counts = {
        ("1T-CLIP", VOCABULARY): words,
        ("1T-CLIP, all of mT5's ids", WHOLE_MT5): words + (WHOLE_MT5 - VOCABULARY) * width,
    }
    return [
        Measurement(model=model, data="parameters", metric="additional parameters",
                    value=count / bare - 1, n=ids, at={"over": "CLIPPO"})
        for (model, ids), count in counts.items()
    ]  # fmt: skip


def planned(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's main models would take on as many devices as it used; nothing is computed.

    Args:
        accelerator: of `training.plans.ACCELERATORS`; the paper's were TPUs of three kinds.

    Returns:
        Rows of `costs` for each of `PLANNED`, and once "learning rate" at each `update` of
        `UPDATES`, whose model is "all".

    Source: Tschannen et al. 2023, appendix B.
    """
    known = listed()
    told = costs([known[name] for name in PLANNED], accelerator)
    return told + rates(replace(known["CLIPPO"], name="all"), UPDATES, accelerator)


def costs(models: Iterable[Model], accelerator: str = "A100-80GB") -> list[Measurement]:
    """`Plan.records` of each model, planned on as many devices as the paper used.

    Args:
        models: with their lengths of training; what is alike otherwise is traced once.
        accelerator: of `training.plans.ACCELERATORS`.
    """
    plans: dict[tuple[str, str, int], Plan] = {}
    rows = []
    for model in models:
        key = (model.image, model.text, model.batch)
        if key not in plans:
            plans[key] = plan(
                model.build(), model.batch, model.batch, ranks=DEVICES, accelerator=accelerator,
                optimiser="adafactor", checkpointing=True,
            )  # fmt: skip
        planned = replace(plans[key], model=model.name, seen=model.batch * model.steps)
        rows += planned.records()
    return rows


def rates(
    model: Model, updates: Sequence[int], accelerator: str = "A100-80GB"
) -> list[Measurement]:
    """The learning rate of a model's run at some of its updates, beside its `costs`."""
    return [
        Measurement(model=model.name, data=accelerator, n=DEVICES, metric="learning rate",
                    value=model.lr * schedules.reciprocal_sqrt(update, model.steps, model.warmup),
                    at={"update": update})
        for update in updates
    ]  # fmt: skip


def chosen(recipe: Recipe, rates: Sequence[float]) -> Finished:
    """The run on questions, of those with several learning rates, that answers new ones best.

    Args:
        recipe: of one set of questions; a tenth of its pictures is held out to choose on.
        rates: to try; of equally good ones the first is kept, one that diverges is passed over.

    Source: Tschannen et al. 2023, section B.1: one of 0.03, 0.1 and 0.2, on a tenth of VQAv2's
        validation part.
    """
    name, runs = names.parse(*recipe.data), []
    held = labelled.questions(name.having(held=True))
    for rate in rates:
        try:
            runs.append(train(replace(recipe, data=(name.having(held=False),), lr=rate)))
        except TrainingFailed:
            if not runs and rate == rates[-1]:
                raise
    answers = [question.answers for question in held]
    return max(
        runs, key=lambda run: vqa_accuracies(run.objective.head.answer(held), answers).mean()
    )


def on_task(name: str, examples: int, passes: int = 3, **fields: Any) -> Recipe:
    """A recipe that fine-tunes a text tower on a task; BERT's, but for what `fields` say.

    Args:
        name: of the task, as `training.labelled` has it.
        examples: to learn from; there must be as many.
        passes: over them; the rate climbs for a tenth of the updates.
        fields: `image` and `text`, and others than those of `TASK`.
    """
    common = TASK | fields
    steps = passes * (examples // common["batch"])
    return Recipe(data=(name,), most=examples, steps=steps, warmup=steps // 10, **common)


def planned_answering(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's fine-tuning on questions would take; nothing is computed.

    Args:
        accelerator: as for `planned`; one such device is enough.

    Returns:
        For each of `ANSWERING` "parameters" (the tower's and the classifier's), "updates", "batch",
        "memory per device (GB)", "hours", and once "learning rate" and "classifier's learning
        rate" at each `update` of `ANSWERING_UPDATES`; n is the one device.

    Source: Tschannen et al. 2023, appendix B.1.
    """
    rows = []
    for name in ANSWERING:
        tower = listed()[name].build().image
        answerer = Answerer(tower, [str(number) for number in range(MOST)])
        page = torch.empty(1, answerer.size, answerer.size, 3, dtype=torch.uint8)
        rows += plan(
            answerer, ANSWERS["batch"], ANSWERS["batch"] * ANSWERS["steps"], item=page, name=name,
            optimiser=ANSWERS["optimiser"], accelerator=accelerator,
        ).records("parameters", "updates", "batch", "memory per device (GB)", "hours")  # fmt: skip
    recipe = Recipe("-", "-", ("-",), **ANSWERS)
    for update in ANSWERING_UPDATES:
        rate = recipe.rate(update)
        values = {"learning rate": rate, "classifier's learning rate": recipe.head_rate * rate}
        rows += [
            Measurement(model="all", data=accelerator, metric=metric, value=value, n=1,
                        at={"update": update})
            for metric, value in values.items()
        ]  # fmt: skip
    return rows


@lru_cache(maxsize=32)
def _built(name: str, image: str, text: str) -> DualTower:
    return dual(image, text, EMBED, name=name, device="meta")
