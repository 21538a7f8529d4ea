"""CLIPPO and what it is compared with: small runs that several chapters share, and the paper's own.

Source: Tschannen et al. 2023, sections 3 and 4, appendix B, Tables 1, 2, 3 and 9.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from towers.models import clippo
from towers.models.answering import Answerer
from towers.records import Measurement
from towers.training import answering, schedules, tuning_plans
from towers.training.budget import ACCELERATORS, GB, Plan
from towers.training.planning import plan
from towers.training.recipe import Recipe

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
ANSWERING = ("CLIPPO", "CLIPPO 384px")
"""Models of Table 7 whose fine-tuning on questions is planned."""
ANSWERING_UPDATES = (0, 800, 4_400, 7_999)
"""Whose learning rates are told: start, peak, half of the descent, end."""


def family(
    image: str, words: str, common: Mapping[str, Any], packed: bool = True
) -> dict[str, Recipe]:
    """A run of each model of Table 9, all alike but for the text tower.

    Args:
        image: name of the image tower, `scratch:map?...`.
        words: options of the towers that read tokens, as `models.clippo.texts` takes them.
        common: the other fields of all recipes.
        packed: whether towers that read pixels skip blank patches. That is faster, and another
            network than the paper's, which reads whole pages.

    Raises:
        ValueError: as `models.clippo.texts`.
        TrainingError: as `Recipe`.
    """
    texts = clippo.texts(image, words, packed)
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
            steps=stretched(recipe.steps, share),
        )  # fmt: skip
    return found


def stretched(steps: int, share: float) -> int:
    """Updates that show as many pictures when a share of every batch, below 1, is texts."""
    return round(steps / (1 - share))


def on_texts() -> list[tuple[clippo.ClippoModel, float]]:
    """The runs of `ON_TEXTS` with the share of their batches that is pairs of texts.

    Runs on both kinds are as much longer as it takes to see as many pictures, but for the large
    models, which go on from a run on pictures; runs on texts alone are as long as those on pictures
    alone.

    Source: Tschannen et al. 2023, section 4.1, appendix B, Tables 2 and 3.
    """
    known, found = clippo.clippo_models(), []
    for name, (network, steps, share) in ON_TEXTS.items():
        both = 0 < share < 1 and steps != CONTINUED
        steps = stretched(steps, share) if both else steps
        found.append((replace(known[network], name=name, steps=steps), share))
    return found


def planned_on_texts(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the runs of `on_texts` would take; nothing is computed.

    Args:
        accelerator: of `training.budget.ACCELERATORS`.

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


def multilingual() -> list[clippo.ClippoModel]:
    """The models of Fig. 3 and 8; all vocabularies of the second have as many ids.

    Source: Tschannen et al. 2023, section 4.4 and appendix C.4.
    """
    known = clippo.clippo_models()
    return [known[name] for name in ("CLIP*", "1T-CLIP", "CLIPPO")]


def word_embeddings() -> list[Measurement]:
    """How much larger than CLIPPO a shared tower is that reads words.

    Returns:
        "additional parameters" at `over` CLIPPO, a share of its own, for 1T-CLIP with the paper's
        32,000 ids, and with all that mT5's vocabulary has; n is the number of ids.

    Source: Tschannen et al. 2023, Fig. 3.
    """
    known = clippo.clippo_models()
    bare, words = (known[name].parameters for name in ("CLIPPO", "1T-CLIP"))
    width = known["1T-CLIP"].build().text.width
    counts = {
        ("1T-CLIP", clippo.VOCABULARY): words,
        ("1T-CLIP, all of mT5's ids", WHOLE_MT5): words + (WHOLE_MT5 - clippo.VOCABULARY) * width,
    }
    return [
        Measurement(model=model, data="parameters", metric="additional parameters",
                    value=count / bare - 1, n=ids, at={"over": "CLIPPO"})
        for (model, ids), count in counts.items()
    ]  # fmt: skip


def planned(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's main models would take on as many devices as it used; nothing is computed.

    Args:
        accelerator: of `training.budget.ACCELERATORS`; the paper's were TPUs of three kinds.

    Returns:
        Rows of `costs` for each of `PLANNED`, and once "learning rate" at each `update` of
        `UPDATES`, whose model is "all".

    Source: Tschannen et al. 2023, appendix B.
    """
    known = clippo.clippo_models()
    told = costs([known[name] for name in PLANNED], accelerator)
    return told + rates(replace(known["CLIPPO"], name="all"), UPDATES, accelerator)


def costs(
    models: Iterable[clippo.ClippoModel], accelerator: str = "A100-80GB"
) -> list[Measurement]:
    """Rows of `tell` for each model, planned on as many devices as the paper used.

    Args:
        models: with their lengths of training; what is alike otherwise is traced once.
        accelerator: of `training.budget.ACCELERATORS`.
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
        rows += tell(replace(plans[key], model=model.name, samples=model.batch * model.steps))
    return rows


def tell(found: Plan) -> list[Measurement]:
    """A plan in five rows; the data are its accelerator, and n is the number of its devices.

    Returns:
        "parameters", "updates", "batch", "memory per device (GB)" and "days".
    """
    shared = {"model": found.model, "data": found.accelerator.name, "n": found.ranks}
    return _rows(_taken(found) | {"days": found.days}, **shared)


def rates(
    model: clippo.ClippoModel, updates: Sequence[int], accelerator: str = "A100-80GB"
) -> list[Measurement]:
    """The learning rate of a model's run at some of its updates, beside its `costs`."""
    return [
        Measurement(model=model.name, data=accelerator, n=DEVICES, metric="learning rate",
                    value=model.lr * schedules.reciprocal_sqrt(update, model.steps, model.warmup),
                    at={"update": update})
        for update in updates
    ]  # fmt: skip


def planned_answering(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's fine-tuning on questions would take; nothing is computed.

    Settings are the defaults of `answering.FineTuning`, of which the batch, and which of its three
    rates the paper chose, are assumptions.

    Args:
        accelerator: as for `planned`; one such device is enough.

    Returns:
        For each of `ANSWERING` "parameters" (the tower's and the classifier's), "updates", "batch",
        "memory per device (GB)", "hours", and once "learning rate" and "classifier's learning
        rate" at each `update` of `ANSWERING_UPDATES`; n is the one device.

    Source: Tschannen et al. 2023, appendix B.1.
    """
    how, shared, rows = answering.FineTuning(), {"data": accelerator, "n": 1}, []
    for name in ANSWERING:
        tower = clippo.clippo_models()[name].build().image
        answerer = Answerer(tower, [str(each) for each in range(how.most)], how.seed)
        page = torch.empty(1, answerer.size, answerer.size, 3, dtype=torch.uint8)
        found = tuning_plans.plan(
            answerer, page, how.batch, how.steps, name=name, optimiser=how.optimiser,
            accelerator=ACCELERATORS[accelerator],
        )  # fmt: skip
        rows += _rows(_taken(found) | {"hours": 24 * found.days}, model=name, **shared)
    for update in ANSWERING_UPDATES:
        rate = how.lr * schedules.cosine(update, how.steps, how.warmup)
        values = {"learning rate": rate, "classifier's learning rate": how.head_factor * rate}
        rows += _rows(values, model="all", at={"update": update}, **shared)
    return rows


def _taken(found: Plan) -> dict[str, float]:
    """What both kinds of plans tell."""
    return {
        "parameters": found.parameters, "updates": found.steps, "batch": found.batch,
        "memory per device (GB)": found.memory / GB,
    }  # fmt: skip


def _rows(values: Mapping[str, float], **shared: Any) -> list[Measurement]:
    return [Measurement(metric=metric, value=value, **shared) for metric, value in values.items()]
