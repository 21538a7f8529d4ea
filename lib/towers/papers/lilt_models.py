"""LilT's own towers: the configurations of its ablation, what moves in each, what runs take.

All are built without memory; nothing is computed.

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

Source: Khan and Fu 2023, sections 2.3 to 3.4, Tables 1 to 5.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import pandas as pd
import torch

from towers.models import DualTower, ImageTower, Preprocessing, TextTower, trainable
from towers.models.encoders import Pairing, Tokens
from towers.models.sentences import SentenceEncoder
from towers.records import Measurement
from towers.training import Accelerator, plan, schedules

PAIRS, BATCH, EPOCHS, DEVICES, LR = 591_753, 512, 15, 4, 1e-4
"""Of the paper, section 2.4; the rate is that of the authors' code."""
STEPS_PER_EPOCH = PAIRS // BATCH
A6000 = Accelerator("A6000-48GB", 48e9, {"fp32": 38.7e12, "bf16": 154.8e12}, 0.8)
UPDATES = (0, STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH // 2, EPOCHS * STEPS_PER_EPOCH - 1)
"""Whose learning rates are told: the first one, the peak, one halfway, the last one."""
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
        parts = model.report().set_index("part")
        rows.append({
            "row": model.letter, "model": model.name, "policy": model.policy, "given": model.given,
            **parts["trainable"].drop("pair").to_dict(),
            "trainable": parts["trainable"]["pair"], "parameters": parts["parameters"]["pair"],
            "share": parts["share"]["pair"],
        })  # fmt: skip
    return pd.DataFrame(rows)


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
    held = plan(dual, batch, batch, precision="fp32", accelerator=A6000, overhead=0).held
    taken = held["gradients"] + held["moments"] + held["activations"]
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
        run = plan(
            model.build(), BATCH, PAIRS * EPOCHS, name=f"({letter}) {model.name}", ranks=DEVICES,
            accelerator=accelerator,
        )  # fmt: skip
        moving = {"parameters that move": run.parameters, "share that moves": model.share}
        rows += [
            Measurement(model=run.model, metric=metric, value=value, at={"size": size}, **shared)
            for metric, value in moving.items()
        ]
        rows += run.records("memory per device (GB)", "hours", at={"size": size})
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
        one = plan(
            model.build(), BATCH, BATCH, name=f"({letter}) {model.name}", ranks=DEVICES,
            accelerator=A6000,
        )  # fmt: skip
        for pairs in amounts:
            run = replace(one, seen=pairs // BATCH * EPOCHS * BATCH)
            rows += run.records("updates", "hours", "memory per device (GB)", at={"pairs": pairs})
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
