"""Vision Transformers without a class token, pooled by attention, on whole or on packed sequences.

They are timm's, with big_vision's first weights: learned positions, layer norms with an epsilon of
1e-6, GELU by its tanh form. A packed sequence leaves patches out: each patch that is there keeps
the position of its place, and attention and pooling see no other.

Source: Tschannen et al. 2023, section 4.1; Lee et al. 2019 (pooling by attention).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import AttentionPoolLatent, Mlp, PatchEmbed, get_act_layer, lecun_normal_
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPS = 1e-6
"""Of all layer norms."""
GELU = get_act_layer("gelu_tanh")
"""By its tanh form."""
BIAS_STD = 1e-6
"""Of the first biases of the two layers behind each attention; all other biases begin at 0."""


def network(image: int, patch: int, width: int, depth: int, heads: int) -> VisionTransformer:
    """An untrained network: pictures to pooled states, `width` of them, not projected.

    Args:
        image: side of the pictures in pixels, a multiple of `patch`.
        patch: side of a patch in pixels.
        width: axis length of the states, a multiple of `heads`.
        depth: blocks.
        heads: of each attention, that of the pooling too.
    """
    made = VisionTransformer(
        image, patch, num_classes=0, global_pool="map", embed_dim=width, depth=depth,
        num_heads=heads, class_token=False, norm_layer=_Norm, act_layer="gelu_tanh",
        weight_init="skip",
    )  # fmt: skip
    return drawn(made)


class Trunk(nn.Module):
    """The blocks of a network and the norm behind them, without an input, pooled on demand."""

    def __init__(self, width: int, depth: int, heads: int, pooled: bool = False) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(
            Block(width, heads, qkv_bias=True, norm_layer=_Norm, act_layer=GELU)
            for _ in range(depth)
        ))  # fmt: skip
        self.norm = _Norm(width)
        self.attn_pool = (
            AttentionPoolLatent(width, num_heads=heads, norm_layer=_Norm, act_layer=GELU)
            if pooled else None
        )  # fmt: skip
        self.grad_checkpointing = False


def through(
    trunk: VisionTransformer | Trunk, embedded: Float[Tensor, "batch tokens width"]
) -> Float[Tensor, "batch width"]:
    """Features of whole sequences: the pooled state, or without a pool the last token's."""
    if trunk.grad_checkpointing:
        embedded = checkpoint_seq(trunk.blocks, embedded)
    else:
        embedded = trunk.blocks(embedded)
    states = trunk.norm(embedded)
    return states[:, -1] if trunk.attn_pool is None else trunk.attn_pool(states)


def packed(
    trunk: VisionTransformer,
    embedded: Float[Tensor, "kept width"],
    kept: Bool[Tensor, "batch tokens"],
) -> Float[Tensor, "batch width"]:
    """Pooled features of sequences of which only some tokens are kept.

    Linear layers and norms see the kept tokens only. Attention alone needs sequences of one length;
    it looks away from the rest.

    Args:
        trunk: with a pool.
        embedded: of the kept tokens, row after row of `kept`.
        kept: where they stand; at least one in each row.
    """
    (places,) = kept.flatten().nonzero(as_tuple=True)
    for block in trunk.blocks:
        if trunk.grad_checkpointing:
            embedded = checkpoint(_block, block, embedded, kept, places, use_reentrant=False)
        else:
            embedded = _block(block, embedded, kept, places)
    states = _spread(trunk.norm(embedded), kept, places)
    return trunk.attn_pool(states, attn_mask=kept[:, None, None])


@torch.no_grad()
def drawn(module: nn.Module) -> nn.Module:
    """Draw the first weights of a network anew, as big_vision does; the same module.

    Matrices are uniform within Xavier's bounds, each of query, key and value for itself; patch
    embeddings normal with a variance of 1 / fan-in, and positions of 1 / width.
    """
    for part in module.modules():
        if isinstance(part, Attention):
            _xavier(part.qkv, 3), _xavier(part.proj)
        elif isinstance(part, AttentionPoolLatent):
            _xavier(part.q), _xavier(part.kv, 2), _xavier(part.proj)
            nn.init.xavier_uniform_(part.latent[0])
        elif isinstance(part, Mlp):
            for layer in (part.fc1, part.fc2):
                _xavier(layer)
                nn.init.normal_(layer.bias, std=BIAS_STD)
        elif isinstance(part, PatchEmbed):
            lecun_normal_(part.proj.weight)
            nn.init.zeros_(part.proj.bias)
        elif isinstance(part, VisionTransformer):
            nn.init.normal_(part.pos_embed, std=part.embed_dim**-0.5)
    return module


class _Norm(nn.LayerNorm):
    def __init__(self, width: int, **options) -> None:
        super().__init__(width, eps=EPS, **options)


def _xavier(linear: nn.Linear, parts: int = 1) -> None:
    for part in linear.weight.chunk(parts):
        nn.init.xavier_uniform_(part)
    nn.init.zeros_(linear.bias)


def _block(block: Block, rows: Tensor, kept: Tensor, places: Tensor) -> Tensor:
    rows = rows + block.ls1(_attended(block.attn, block.norm1(rows), kept, places))
    return rows + block.ls2(block.mlp(block.norm2(rows)))


def _attended(attention: Attention, rows: Tensor, kept: Tensor, places: Tensor) -> Tensor:
    batch, tokens = kept.shape
    spread = _spread(attention.qkv(rows), kept, places)  # (batch, tokens, 3 width)
    spread = spread.view(batch, tokens, 3, attention.num_heads, attention.head_dim)
    query, key, value = spread.permute(2, 0, 3, 1, 4)  # (batch, heads, tokens, head_dim) each
    query, key = attention.q_norm(query), attention.k_norm(key)
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=kept[:, None, None])
    return attention.proj(seen.transpose(1, 2).flatten(0, 1).flatten(1)[places])


def _spread(rows: Tensor, kept: Tensor, places: Tensor) -> Tensor:
    """Rows of kept tokens in their places, zeros in all others: (batch, tokens, width)."""
    spread = rows.new_zeros(kept.numel(), rows.shape[1]).index_copy(0, places, rows)
    return spread.view(*kept.shape, -1)
