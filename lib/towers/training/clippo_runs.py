"""CLIPPO and what it is compared with: small runs that several chapters share, and the paper's own.

Source: Tschannen et al. 2023, sections 3 and 4.1, Tables 1 and 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from towers.models import clippo
from towers.records import Measurement
from towers.training import answering, schedules
from towers.training.budget import GB, Plan
from towers.training.planning import plan
from towers.training.recipe import Recipe

DEVICES = 64
"""TPUs that the paper trained each model on."""
PLANNED = ("CLIP*", "1T-CLIP", "CLIPPO", "1T-CLIP L/16", "CLIPPO L/16")
UPDATES = (0, 10_000, 20_000, 100_000, 240_000, 249_999)
"""Whose learning rates are told: start, peak, one and nine times scales later, descent, end."""
ANSWERING = ("CLIPPO", "CLIPPO 384px")
"""Models of Table 7 whose fine-tuning on questions is planned."""
ANSWERING_UPDATES = (0, 800, 4_400, 7_999)
"""Whose learning rates are told: start, peak, half of the descent, end."""


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


def planned(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's main models would take on as many devices as it used; nothing is computed.

    Args:
        accelerator: of `training.budget.ACCELERATORS`; the paper's were TPUs of three kinds.

    Returns:
        For each of `PLANNED` "parameters", "updates", "batch", "memory per device (GB)", "days",
        and once "learning rate at update N" for `UPDATES`; n is the number of devices.

    Source: Tschannen et al. 2023, appendix B.
    """
    shared = {"data": accelerator, "n": DEVICES}
    rows = []
    for name in PLANNED:
        model = clippo.clippo_models()[name]
        found = plan(
            model.build(), model.batch, model.batch * model.steps, ranks=DEVICES,
            accelerator=accelerator, optimiser="adafactor", checkpointing=True,
        )  # fmt: skip
        rows += _rows(_taken(found) | {"days": found.days}, model=name, **shared)
    rates = {
        _at(update): model.lr * schedules.reciprocal_sqrt(update, model.steps, model.warmup)
        for update in UPDATES
    }
    return rows + _rows(rates, model="all", **shared)


def planned_answering(accelerator: str = "A100-80GB") -> list[Measurement]:
    """What the paper's fine-tuning on questions would take; nothing is computed.

    Settings are the defaults of `answering.FineTuning`, of which the batch, and which of its three
    rates the paper chose, are assumptions.

    Args:
        accelerator: as for `planned`; one such device is enough.

    Returns:
        For each of `ANSWERING` "parameters" (the tower's and the classifier's), "updates", "batch",
        "memory per device (GB)", "hours", and once "learning rate at update N" and
        "classifier's learning rate at update N" for `ANSWERING_UPDATES`; n is the one device.

    Source: Tschannen et al. 2023, appendix B.1.
    """
    how, shared, rows = answering.FineTuning(), {"data": accelerator, "n": 1}, []
    for name in ANSWERING:
        tower = clippo.clippo_models()[name].build().image
        found = answering.planned(tower, how, accelerator=accelerator)
        rows += _rows(_taken(found) | {"hours": 24 * found.days}, model=name, **shared)
    rates = {
        _at(update): how.lr * schedules.cosine(update, how.steps, how.warmup)
        for update in ANSWERING_UPDATES
    }
    heads = {f"classifier's {at}": how.head_factor * rate for at, rate in rates.items()}
    return rows + _rows(rates | heads, model="all", **shared)


def _taken(found: Plan) -> dict[str, float]:
    """What both kinds of plans tell."""
    return {
        "parameters": found.parameters, "updates": found.steps, "batch": found.batch,
        "memory per device (GB)": found.memory / GB,
    }  # fmt: skip


def _at(update: int) -> str:
    return f"learning rate at update {update:,}"


def _rows(values: Mapping[str, float], **shared: Any) -> list[Measurement]:
    return [Measurement(metric=metric, value=value, **shared) for metric, value in values.items()]
