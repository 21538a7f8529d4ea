"""The configurations of LilT's ablation, built without memory, with what moves in each.

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

Source: Khan and Fu 2023, sections 2.3 to 3.1 and 3.4, Table 1.
"""

import copy
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pandas as pd
import torch

from towers.models import trainable
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, Pairing, TextTower, Tokens
from towers.models.preprocessing import Preprocessing
from towers.models.sentences import SentenceEncoder

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
class LiltModel:
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


def lilt_models(size: Size = "base") -> dict[str, LiltModel]:
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
    return {row[0]: LiltModel(*row, size=size) for row in listed}


def shares(size: Size = "base") -> pd.DataFrame:
    """The sum behind each share: parameters that move in each part, one row a configuration.

    Beside the rows of Table 1 stand both kinds of adapters alone, without layer norms: with
    projections these are the ones below 7 %.
    """
    alone = [LiltModel("", f"{kind} adapters alone", kind, False, size)
             for kind in ("layerwise", "deep")]  # fmt: skip
    rows = []
    for model in (*lilt_models(size).values(), *alone):
        found = model.report().set_index("part")
        rows.append({
            "row": model.letter, "model": model.name, "policy": model.policy, "given": model.given,
            **found["trainable"].drop("pair").to_dict(),
            "trainable": found["trainable"]["pair"], "parameters": found["parameters"]["pair"],
            "share": found["share"]["pair"],
        })  # fmt: skip
    return pd.DataFrame(rows)


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
def _report(model: LiltModel) -> pd.DataFrame:
    return trainable.report(model.build())
