"""Captions in ten languages as what a tower reads: patches with ink here, tokens at the peers.

The peers are CLIP's byte-pair tokens by open_clip, the same by Hugging Face's fast tokenizers, and
MiniLM's word pieces by these; the fastest counts, on one core or on all. Every side gives arrays:
open_clip's are padded to 77, the fast tokenizers' to the longest, ours are packed. There is nothing
to compare between patches and tokens: patches must be those of the rendered pictures, and tokens
as many rows as there are captions.
"""

import os
from collections.abc import Callable

import numpy as np
import open_clip
from transformers import CLIPTokenizerFast, PreTrainedTokenizerFast

from benchmarks._captions import captions as real_captions
from towers.data import sources
from towers.rendering import Patches, render, to_patches

METRIC = "text to patches, {captions:,} captions in ten languages"
PEER = "the fastest of three tokenizers"
GOAL = 1.5  # times faster than the peer
PEER_SETTINGS = {
    "tokenizer": ("open_clip BPE", "fast BPE", "fast WordPiece"),
    "parallel": ("false", "true"),
}
SIZES = {"full": {"captions": 9_000}, "laptop": {"captions": 2_000}, "smoke": {"captions": 40}}


def prepare(captions: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(tokenizer, parallel), each giving arrays, and the texts."""
    texts = real_captions(captions)
    tokenizers = _tokenizers()
    to_patches(texts[:1])  # maps the table of glyphs

    def ours() -> tuple[Patches, list[str]]:
        return to_patches(texts), texts

    def peer(tokenizer: str, parallel: str) -> np.ndarray:
        os.environ["TOKENIZERS_PARALLELISM"] = parallel
        return tokenizers[tokenizer](texts)

    return ours, peer


def _tokenizers() -> dict[str, Callable[[list[str]], np.ndarray]]:
    """The peers by name: texts to rows of ids."""
    clip = open_clip.SimpleTokenizer()
    fast = CLIPTokenizerFast(clip.encoder, list(clip.bpe_ranks))
    (pieces,) = sources.fetch("minilm").rglob("tokenizer.json")
    return {
        "open_clip BPE": lambda texts: clip(texts).numpy(),
        "fast BPE": _padded(fast),
        "fast WordPiece": _padded(PreTrainedTokenizerFast(tokenizer_file=str(pieces))),
    }


def _padded(fast: PreTrainedTokenizerFast) -> Callable[[list[str]], np.ndarray]:
    """The tokenizer beneath, without what transformers adds around it."""
    tokenizer = fast.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    return lambda texts: np.array([row.ids for row in tokenizer.encode_batch_fast(texts)])


def agree(ours: tuple[Patches, list[str]], peer: np.ndarray) -> bool:
    """Patches are those of the rendered pictures that have ink; every caption has its tokens."""
    patches, texts = ours
    images = render(texts).reshape(len(texts), 14, 16, 14, 16).swapaxes(2, 3)
    inked = (images != patches.background).any(axis=(3, 4))
    places = inked.reshape(len(texts), -1).nonzero()[1]
    return (
        np.array_equal(patches.pixels, images[inked])
        and np.array_equal(patches.positions, places)
        and len(peer) == len(texts)
    )
