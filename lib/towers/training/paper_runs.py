"""The paper's runs: their recipes, and what its largest models took beside what can be counted.

Source: Radford et al. 2021, sections 2.3 to 2.5, Tables 18 to 20.
"""

from collections.abc import Sequence
from typing import Any

from towers import names
from towers.models.paper import PAIRS, PaperModel, paper_models
from towers.records import Measurement
from towers.training.budget import ACCELERATORS, DAY, GB
from towers.training.planning import plan
from towers.training.recipe import Recipe

DEVICE = ACCELERATORS["V100-32GB"]


def recipe(model: PaperModel, data: Sequence[str], **fields: Any) -> Recipe:
    """The recipe of a model of Tables 19 and 20, in bf16 where the paper had fp16.

    Args:
        model: of `paper_models`.
        data: what to train on; the paper had 400 million pairs.
        fields: of the recipe, in the place of the paper's.

    Raises:
        TrainingError: impossible fields.
        ValueError: a model that goes on from another (see `training.extension`).
    """
    if model.epochs == 1:
        raise ValueError(
            f"expected a model that is trained from scratch, got {model.name}, which goes on from "
            "another; continue that one at its resolution"
        )
    tower = names.write(model.tower, checkpointing=True)
    paper = {
        "image": tower, "text": tower, "embed": 0, "data": tuple(data), "epochs": model.epochs,
        "batch": model.batch, "lr": model.lr, "betas": model.betas, "eps": model.eps,
        "weight_decay": model.weight_decay, "warmup": model.warmup, "precision": "bf16",
        "augment": "crop", "name": model.name,
    }  # fmt: skip
    return Recipe(**(paper | fields))


def evaluate() -> list[Measurement]:
    """Devices, days, memory and the reached share of the peak, of the runs that the paper states.

    The utilisation takes three times the way forward for an update; what the authors computed twice
    to save memory is not in it. Memory is planned with checkpointing of all Transformers.
    """
    return [
        Measurement(model=model.name, data=DEVICE.name, metric=metric, value=float(value), n=1)
        for model in paper_models().values()
        if model.days
        for metric, value in _values(model).items()
    ]


def _values(model: PaperModel) -> dict[str, float]:
    batch = model.batch // model.devices * model.devices  # ranks of a plan share evenly
    planned = plan(
        model.build(), batch, model.epochs * PAIRS, ranks=model.devices, precision="fp16",
        accelerator=DEVICE, checkpointing=True,
    )  # fmt: skip
    computed = 3 * model.compute()["FLOPs"] * model.epochs * PAIRS
    peak = DEVICE.flops["fp16"] * model.devices * model.days * DAY
    return {
        "devices": model.devices,
        "days": model.days,
        "pairs per device": model.batch / model.devices,
        "utilisation": computed / peak,
        "activations per device (GB)": planned.activations / GB,
        "memory per device (GB)": planned.memory / GB,
        "device (GB)": DEVICE.memory / GB,
    }
