"""Recall at 1, 5 and 10 in both directions, as many captions for each image.

Both sides get the same score matrix. The peer runs as its own `evaluate` runs it: in batches, once
for each k and direction.
"""

from collections.abc import Callable

import numpy as np
import torch
from clip_benchmark.metrics.zeroshot_retrieval import batchify
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k as peer_recall

from towers.metrics import recall_at_k

METRIC = "recall@1/5/10, {images:,} images x {captions:,} captions, both directions"
PEER = "clip-benchmark recall_at_k"
GOAL = 5.0  # times faster than the peer
PEER_SETTINGS = {"threads": (1, 2)}  # tried first; the fastest is kept
SIZES = {
    "full": {"images": 5_000, "captions": 25_000},
    "laptop": {"images": 1_000, "captions": 5_000},
    "smoke": {"images": 100, "captions": 500},
}

KS = (1, 5, 10)
BATCH = 64  # the peer's default; 16 was slower


def prepare(images: int, captions: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving six recalls in one order.

    The scores are of random unit vectors with a pull towards the right image, rich in ranks.
    """
    rng = np.random.default_rng(0)
    image_of = np.arange(captions) * images // captions
    vectors = rng.standard_normal((images, 64), dtype=np.float32)
    texts = 0.45 * vectors[image_of] + rng.standard_normal((captions, 64), dtype=np.float32)
    scores = texts @ vectors.T
    captions_of = np.arange(captions).reshape(images, -1)

    def ours() -> list[float]:
        image_recall = recall_at_k(scores, image_of, KS)
        text_recall = recall_at_k(scores.T, captions_of, KS)
        return [*image_recall.values(), *text_recall.values()]

    tensor = torch.from_numpy(scores)
    pairs = torch.zeros(scores.shape, dtype=torch.bool)
    pairs[torch.arange(captions), torch.from_numpy(image_of)] = True

    def peer(threads: int) -> list[float]:
        torch.set_num_threads(threads)
        return [
            (batchify(peer_recall, x, y, BATCH, "cpu", k=k) > 0).float().mean().item()
            for x, y in ((tensor, pairs), (tensor.T, pairs.T))
            for k in KS
        ]

    return ours, peer


def agree(ours: list[float], peer: list[float]) -> bool:
    """No two scores tie, so that both count the same hits; the peer averages in float32."""
    return bool(np.allclose(ours, peer, rtol=0, atol=1e-6))
