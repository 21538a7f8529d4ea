"""A large contrastive batch in the memory of a small one: pairs of sentences, in chunks.

Both sides train one small BERT, without dropout, on the same tokens. Ours holds the graphs of a
chunk of both columns, the peer those of one column's, so that the peer may take twice the rows. The
peer has no learned scale: only the weights' gradients are compared.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from benchmarks._clip_losses import THREADS
from towers.losses import tiled_clip_loss
from towers.training.caching import cached_step

TOKENS, SCALE = 16, 20.0
METRIC = "step on {batch:,} pairs with cached gradients, in chunks of {chunk}"
PEER = "sentence-transformers CachedMultipleNegativesRankingLoss, both directions"
GOAL = 1 / 0.9  # times less time
PEER_SETTINGS = {"chunks": (1, 2)}  # of ours that one of theirs holds
SIZES = {
    "full": {"batch": 1_024, "chunk": 256, "layers": 4},
    "laptop": {"batch": 64, "chunk": 16, "layers": 4},
    "smoke": {"batch": 8, "chunk": 4, "layers": 1},
}


class Sentences(nn.Module):
    """Mean over the tokens of a small BERT, in the form that the peer asks for."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(vocab_size=1000, hidden_size=256, num_hidden_layers=layers,
                            num_attention_heads=4, intermediate_size=1024)  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        hidden = self.bert(features["input_ids"], features["attention_mask"]).last_hidden_state
        return {**features, "sentence_embedding": hidden.mean(1)}


def prepare(batch: int, chunk: int, layers: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(chunks), each giving loss and all gradients."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.randint(0, 1000, (2, batch, TOKENS), generator=generator)
    columns[1, :, ::2] = columns[0, :, ::2]  # pairs share half of their words
    images, texts = ({"input_ids": x, "attention_mask": torch.ones_like(x)} for x in columns)
    sentences = Sentences(layers)
    model = SentenceTransformer(modules=[sentences], device="cpu").eval()  # eval: no dropout
    ours = partial(_ours, model, images, texts, chunk)
    return ours, partial(_peer, model, [images, texts], chunk)


def agree(ours: list[Tensor], peer: list[Tensor]) -> bool:
    """Loss and gradients of all weights, in float32."""
    return all(
        (own - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6
        for own, theirs in zip(ours, peer, strict=True)
    )


def _ours(model: nn.Module, images: dict, texts: dict, chunk: int) -> list[Tensor]:
    torch.set_num_threads(THREADS)
    model.zero_grad()

    def embed(images: dict, texts: dict) -> tuple[Tensor, Tensor, Tensor]:
        columns = (model(part)["sentence_embedding"] for part in (images, texts))
        return *(F.normalize(part, dim=1) for part in columns), torch.tensor(SCALE)

    loss = cached_step(embed, images, texts, tiled_clip_loss, chunk=chunk, seed=0)
    return [loss, *(weights.grad.clone() for weights in model.parameters())]


def _peer(model: nn.Module, columns: list[dict], chunk: int, chunks: int) -> list[Tensor]:
    torch.set_num_threads(THREADS)
    model.zero_grad()
    loss_of = CachedMultipleNegativesRankingLoss(
        model,
        scale=SCALE,
        mini_batch_size=chunk * chunks,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    loss = loss_of(columns, labels=None)
    loss.backward()
    return [loss.detach(), *(weights.grad.clone() for weights in model.parameters())]
