"""The stack of layers in a transformer that somebody else wrote, and the places inside a layer.

Layers are known by the class that they are of, never by what their names contain: timm's Vision
Transformers (also `scratch:map`, `scratch:pixels`, `scratch:words`), open_clip's own (also
`scratch:vit`, `scratch:transformer`), and the BERT family of transformers.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Anatomy:
    """Where a class of layers has what adapters look for; names inside the layer.

    Attributes:
        before: modules whose input a layerwise adapter changes: the norms of pre-norm layers.
        after: modules whose output it changes: the last ones before a residual and its norm.
        ends: the linear layers that end both sublayers.
    """

    ends: tuple[str, str]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


_BERT = Anatomy(
    ends=("attention.output.dense", "output.dense"),
    after=("attention.output.dropout", "output.dropout"),
)
_TRANSFORMERS = "transformers.models."
LAYERS = {
    "timm.models.vision_transformer.Block": Anatomy(
        ends=("attn.proj", "mlp.fc2"), before=("norm1", "norm2")
    ),
    "open_clip.transformer.ResidualAttentionBlock": Anatomy(
        ends=("attn.out_proj", "mlp.c_proj"), before=("ln_1", "ln_2")
    ),
    **{
        f"{_TRANSFORMERS}{kind}": _BERT
        for kind in (
            "bert.modeling_bert.BertLayer",
            "camembert.modeling_camembert.CamembertLayer",
            "deberta_v2.modeling_deberta_v2.DebertaV2Layer",
            "electra.modeling_electra.ElectraLayer",
            "roberta.modeling_roberta.RobertaLayer",
            "xlm_roberta.modeling_xlm_roberta.XLMRobertaLayer",
        )
    },
    f"{_TRANSFORMERS}distilbert.modeling_distilbert.TransformerBlock": Anatomy(
        ends=("attention.out_lin", "ffn.lin2"), after=("attention.out_lin", "ffn.dropout")
    ),
    f"{_TRANSFORMERS}mpnet.modeling_mpnet.MPNetLayer": Anatomy(
        ends=("attention.attn.o", "output.dense"), after=("attention.dropout", "output.dropout")
    ),
}
"""Anatomy by the class of the layers, under the name that it has where it is defined.

ALBERT is not among them: all its layers are one.
"""


@dataclass(frozen=True)
class Stack:
    """The layers of an encoder, one after the other.

    Attributes:
        path: their name in the encoder.
        layers: the container itself.
        anatomy: of each of them.
    """

    path: str
    layers: nn.Sequential | nn.ModuleList
    anatomy: Anatomy


def stack(encoder: nn.Module, name: str) -> Stack:
    """The one stack of known layers in an encoder.

    Args:
        encoder: of a tower.
        name: what to call it in an error.

    Raises:
        ValueError: it has none, or several.
    """
    stacks = []
    for path, module in encoder.named_modules():
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module):
            types = {type(layer) for layer in module}
            kinds = {LAYERS.get(f"{kind.__module__}.{kind.__qualname__}") for kind in types}
            if kinds != {None} and len(kinds) == 1:
                stacks.append(Stack(path, module, kinds.pop()))
    if len(stacks) != 1:
        raise ValueError(
            f"expected one stack of transformer layers of timm, open_clip or the BERT family in "
            f"{name}, got {len(stacks)}; choose another tower"
        )
    return stacks[0]
