"""The CLIP models of Tables 19 and 20, built without memory, with their counts and their compute.

They are open_clip's architectures with QuickGELU, as OpenAI's weights have it. Settings, counts and
compute are read from the networks that those architectures build, never from a table.

Source: Radford et al. 2021, sections 2.4 and 2.5, appendix F.
"""

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from towers.losses import LOG_SCALE_MAX
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tokens
from towers.models.pretrained import dual

PAIRS = 400_000_000
"""In CLIP's training set (section 2.2)."""


@dataclass(frozen=True)
class PaperModel:
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


def paper_models() -> dict[str, PaperModel]:
    """The models of Tables 19 and 20 by name, in the tables' order."""
    listed = (
        PaperModel("RN50", "RN50-quickgelu", 19, 5e-4),
        PaperModel("RN101", "RN101-quickgelu", 19, 5e-4),
        PaperModel("RN50x4", "RN50x4-quickgelu", 19, 5e-4),
        PaperModel("RN50x16", "RN50x16-quickgelu", 19, 4e-4),
        PaperModel("RN50x64", "RN50x64-quickgelu", 19, 3.6e-4, devices=592, days=18),
        PaperModel("ViT-B/32", "ViT-B-32-quickgelu", 20, 5e-4),
        PaperModel("ViT-B/16", "ViT-B-16-quickgelu", 20, 5e-4),
        PaperModel("ViT-L/14", "ViT-L-14-quickgelu", 20, 4e-4, devices=256, days=12),
        PaperModel("ViT-L/14-336px", "ViT-L-14-336-quickgelu", 20, 2e-5, epochs=1),
    )
    return {model.name: model for model in listed}


def settings(number: int) -> pd.DataFrame:
    """Table 19 or 20 rebuilt from the networks, with the paper's columns.

    Raises:
        ValueError: another table.
    """
    rows = [model.settings() for model in paper_models().values() if model.table == number]
    if not rows:
        raise ValueError(f"expected table 19 or 20 of the paper, got {number}")
    return pd.DataFrame(rows)


def recipes() -> pd.DataFrame:
    """Table 18 rebuilt: the recipe that all ResNets and all Vision Transformers share."""
    chosen = {"ResNet": "RN50", "ViT": "ViT-B/32"}
    columns = {kind: paper_models()[name].recipe() for kind, name in chosen.items()}
    return pd.DataFrame(columns).rename_axis("hyperparameter").reset_index()


def compute() -> pd.DataFrame:
    """Parameters and compute of all models, one row each."""
    return pd.DataFrame([{"model": m.name} | m.compute() for m in paper_models().values()])


def parameters(module: torch.nn.Module) -> int:
    """Learned numbers of a model."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops(tower: ImageTower | TextTower) -> int:
    """Floating-point operations of one input's way forward, by tracing shapes.

    Args:
        tower: on the meta device, so that nothing is computed, or elsewhere, where it is.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower(example(tower, 1))
    return counter.get_total_flops()


def example(tower: ImageTower | TextTower, batch: int) -> torch.Tensor | Tokens:
    """Inputs of the right shape on the tower's device; texts fill the tower's context or page."""
    if isinstance(tower, ImageTower):
        side = tower.transform.size
        return torch.zeros(batch, 3, side, side, device=tower.device)
    tokens = tower.tokenize(["word " * 1000])
    return {n: each.expand(batch, *each.shape[1:]).to(tower.device) for n, each in tokens.items()}


@lru_cache(maxsize=16)
def _built(name: str, tower: str) -> DualTower:
    return dual(tower, tower, None, name=name, device="meta")


@lru_cache(maxsize=16)
def _counted(model: PaperModel) -> dict[str, float]:
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
