"""CLIP: the models of Tables 19 and 20, the recipes of their runs, and what these took.

The models are open_clip's architectures with QuickGELU, as OpenAI's weights have it, built without
memory. Settings, counts and compute are read from the networks that those architectures build,
never from a table.

Source: Radford et al. 2021, sections 2.2 to 2.5, appendix F, Tables 18 to 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from towers import names, published
from towers.losses import LOG_SCALE_MAX
from towers.models import DualTower, dual
from towers.models.counting import forward_flops, parameters
from towers.records import Measurement
from towers.training import Recipe, plan
from towers.training.plans import ACCELERATORS, DAY, GB

PAIRS = 400_000_000
"""In CLIP's training set (section 2.2)."""
DEVICE = ACCELERATORS["V100-32GB"]
FAMILIES = {"ResNet": "RN50", "ViT": "ViT-B/32"}
"""The columns of Table 18, and a model that stands for each."""


@dataclass(frozen=True)
class Model:
    """A CLIP model as the paper trained it.

    Attributes:
        name: as Table 19 or 20 has it.
        architecture: as `open_clip.list_models()` has it.
        table: 19 for a ResNet, 20 for a Vision Transformer.
        lr: peak learning rate.
        epochs: over the 400 million pairs; 1 where the model goes on from another.
        batch: pairs per update.
        weight_decay: decoupled, on all weights that are not gains or biases.
        warmup: updates until the peak.
        devices: V100 that it was trained on, where the paper says so.
        days: that this took, where the paper says so.
    """

    name: str
    architecture: str
    table: int
    lr: float
    epochs: int = 32
    batch: int = 32_768
    weight_decay: float = 0.2
    warmup: int = 2_000
    devices: int | None = None
    days: float | None = None

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's decay rates."""
        return (0.9, 0.999) if self.table == 19 else (0.9, 0.98)

    @property
    def eps(self) -> float:
        """Adam's addend to the denominator."""
        return 1e-8 if self.table == 19 else 1e-6

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.epochs * PAIRS // self.batch

    @property
    def tower(self) -> str:
        """Name of both towers for `models.dual`, which adds no projections (embed None)."""
        return f"open_clip:{self.architecture}/random"

    def build(self) -> DualTower:
        """The model on the meta device: shapes without memory, trainable."""
        return _built(self.name, self.tower)

    def settings(self) -> dict[str, object]:
        """A row of the paper's table, read from the network; the learning rate is the recipe's."""
        model = self.build()
        visual, text = model.image.encoder, model.text.encoder.model
        row = {"model": self.name, "Learning rate": self.lr, "Embedding dimension": model.embed,
               "Input resolution": model.image.transform.size}  # fmt: skip
        if self.table == 19:
            stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
            row["ResNet blocks"] = str(tuple(len(stage) for stage in stages))
            row["ResNet width"] = visual.attnpool.q_proj.in_features
        else:
            row |= _transformer("Vision", visual.transformer)
        return row | _transformer("Text", text.transformer)

    def recipe(self) -> dict[str, float]:
        """The values of Table 18: those of the recipe, and two that the code fixes elsewhere."""
        return {
            "Batch size": self.batch,
            "Vocabulary size": self.build().text.encoder.model.token_embedding.num_embeddings,
            "Training epochs": self.epochs,
            "Maximum temperature": round(torch.tensor(LOG_SCALE_MAX).exp().item(), 4),
            "Weight decay": self.weight_decay,
            "Warm-up iterations": self.warmup,
            "Adam β_1": self.betas[0],
            "Adam β_2": self.betas[1],
            "Adam ϵ": self.eps,
        }

    def compute(self) -> dict[str, float]:
        """Parameters and forward floating-point operations, one picture and one text.

        A multiplication and the addition that follows it are two operations; matrix products and
        convolutions are counted, as open_clip's own profile does.
        """
        return dict(_counted(self))


_LISTED = (
    Model("RN50", "RN50-quickgelu", 19, 5e-4),
    Model("RN101", "RN101-quickgelu", 19, 5e-4),
    Model("RN50x4", "RN50x4-quickgelu", 19, 5e-4),
    Model("RN50x16", "RN50x16-quickgelu", 19, 4e-4),
    Model("RN50x64", "RN50x64-quickgelu", 19, 3.6e-4, devices=592, days=18),
    Model("ViT-B/32", "ViT-B-32-quickgelu", 20, 5e-4),
    Model("ViT-B/16", "ViT-B-16-quickgelu", 20, 5e-4),
    Model("ViT-L/14", "ViT-L-14-quickgelu", 20, 4e-4, devices=256, days=12),
    Model("ViT-L/14-336px", "ViT-L-14-336-quickgelu", 20, 2e-5, epochs=1),
)
MODELS = {model.name: model for model in _LISTED}
"""The models of Tables 19 and 20 by name, in the tables' order."""


def settings(number: int) -> pd.DataFrame:
    """Table 19 or 20 rebuilt from the networks, with the paper's columns.

    Raises:
        ValueError: another table.
    """
    rows = [model.settings() for model in MODELS.values() if model.table == number]
    if not rows:
        raise ValueError(f"expected table 19 or 20 of the paper, got {number}")
    return pd.DataFrame(rows)


def recipes() -> pd.DataFrame:
    """Table 18 rebuilt: the recipe that all ResNets and all Vision Transformers share."""
    columns = {kind: MODELS[name].recipe() for kind, name in FAMILIES.items()}
    return pd.DataFrame(columns).rename_axis("hyperparameter").reset_index()


def compute() -> pd.DataFrame:
    """Parameters and compute of all models, one row each."""
    return pd.DataFrame([{"model": m.name} | m.compute() for m in MODELS.values()])


def beside(number: int) -> pd.DataFrame:
    """The cells of Table 18, 19 or 20, the paper's beside ours, one row each.

    Args:
        number: of the table.

    Returns:
        Columns `model`, `setting`, `published`, `ours`, and whether it `agrees`. Rows and settings
        that one side lacks are there, and do not agree.

    Raises:
        ValueError: another table.
    """
    ours = recipes() if number == 18 else settings(number)
    key = "hyperparameter" if number == 18 else "model"
    sides = {"published": published.table("clip", number).frame, "ours": ours}
    long = [
        frame.astype(object).melt(id_vars=key, var_name="other", value_name=side)
        for side, frame in sides.items()
    ]
    cells = long[0].merge(long[1], on=[key, "other"], how="outer", sort=False)
    names = {key: "setting", "other": "model"} if number == 18 else {"other": "setting"}
    cells = cells.rename(columns=names)[["model", "setting", "published", "ours"]]
    return cells.assign(agrees=cells.published == cells.ours)


def evaluate() -> list[Measurement]:
    """How many cells of each table agree, and what each model counts and computes."""
    rows = []
    for number in (18, 19, 20):
        agrees = beside(number).agrees
        rows.append(_row("CLIP", f"Table {number}", "cells that agree", agrees.mean(), len(agrees)))
    counted = compute().set_index("model")
    for model, counts in counted.iterrows():
        rows += [_row(model, "one pair", metric, value) for metric, value in counts.items()]
        for what in ("image FLOPs", "FLOPs"):
            times = counts[what] / counted[what]["RN50"]
            rows.append(_row(model, "one pair", f"{what} over RN50", times))
    return rows


def elsewhere() -> list[Measurement]:
    """What open_clip's own training takes where nobody says otherwise, for the rows of Table 18."""
    from open_clip_train.params import parse_args

    rows = []
    for family, model in FAMILIES.items():
        given = parse_args(["--model", MODELS[model].architecture])
        values = {
            "Batch size": given.batch_size,
            "Training epochs": given.epochs,
            "Weight decay": given.wd,
            "Warm-up iterations": given.warmup,
            "Adam β_1": given.beta1,
            "Adam β_2": given.beta2,
            "Adam ϵ": given.eps,
        }
        rows += [_row("open_clip_train", family, name, value) for name, value in values.items()]
    return rows


def recipe(model: Model, data: Sequence[str], **fields: Any) -> Recipe:
    """The recipe of a model of Tables 19 and 20, in bf16 where the paper had fp16.

    Args:
        model: of `MODELS`.
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


def costs() -> list[Measurement]:
    """Devices, days, memory and the reached share of the peak, of the runs that the paper states.

    The utilisation takes three times the way forward for an update; what the authors computed twice
    to save memory is not in it. Memory is planned with checkpointing of all Transformers.
    """
    return [
        Measurement(model=model.name, data=DEVICE.name, metric=metric, value=float(value), n=1)
        for model in MODELS.values()
        if model.days
        for metric, value in _values(model).items()
    ]


def _values(model: Model) -> dict[str, float]:
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
        "activations per device (GB)": planned.held["activations"] / GB,
        "memory per device (GB)": planned.memory / GB,
        "device (GB)": DEVICE.memory / GB,
    }


@lru_cache(maxsize=16)
def _built(name: str, tower: str) -> DualTower:
    return dual(tower, tower, None, name=name, device="meta")


@lru_cache(maxsize=16)
def _counted(model: Model) -> dict[str, float]:
    dual = model.build()
    image, text = forward_flops(dual.image), forward_flops(dual.text)
    return {
        "image parameters": parameters(dual.image),
        "text parameters": parameters(dual.text),
        "parameters": parameters(dual),
        "image FLOPs": image,
        "text FLOPs": text,
        "FLOPs": image + text,
    }


def _transformer(side: str, network: torch.nn.Module) -> dict[str, int]:
    """Layers, width and heads of a transformer of open_clip, named as in the paper's tables."""
    heads = {block.attn.num_heads for block in network.resblocks}
    name = f"{side} Transformer"
    return {f"{name} layers": len(network.resblocks), f"{name} width": network.width,
            f"{name} heads": heads.pop()}  # fmt: skip


def _row(model: str, data: str, metric: str, value: float, n: int = 1) -> Measurement:
    return Measurement(model=model, data=data, metric=metric, value=float(value), n=n)
