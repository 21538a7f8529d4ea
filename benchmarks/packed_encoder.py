"""Captions in ten languages, forward and back through one network: inked patches, or all of them.

Both sides have timm's Vision Transformer with the same weights, without a class token and pooled by
attention, and the same pages. The peer's network sees all patches of every page and masks those
without ink in each attention and in the pool, so that values and gradients are ours. The notes tell
what whole pages take without masks, as the paper has them, whose features are others.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks._captions import captions as real_captions
from benchmarks._clip_losses import THREADS
from towers import models
from towers.models.readers import InkedPatches, Pages

METRIC = "{captions} captions, forward and back, {width} wide, {depth} deep, {image} px"
PEER = "timm's Vision Transformer on whole pages, blank patches masked"
GOAL = 4.0  # times less time
PEER_SETTINGS = {"threads": tuple(sorted({1, THREADS}))}
OURS = 1
"""Threads on our side: the few rows that are left do not pay for more."""
SIZES = {
    "full": {"captions": 32, "image": 224, "width": 384, "depth": 12},
    "laptop": {"captions": 32, "image": 224, "width": 192, "depth": 6},
    "smoke": {"captions": 10, "image": 64, "width": 32, "depth": 1},
}
PATCH, HEAD = 16, 32


def prepare(captions: int, image: int, width: int, depth: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving features and all gradients."""
    texts = real_captions(captions)
    dual = _dual(image, width, depth)
    tokens = InkedPatches(image, PATCH)(texts)
    pages, kept = _pages(dual, texts, image)
    network = dual.image.encoder
    ours = partial(_back, network, lambda: dual.text(tokens))
    theirs = partial(_back, network, lambda: _masked(network, pages, kept))
    return partial(_threaded, ours, OURS), lambda threads: _threaded(theirs, threads)


def agree(ours: list[Tensor], peer: list[Tensor]) -> bool:
    """Features and gradients to 1e-4 of their norm.

    All but the pool's query have 1e-6; its gradients are differences of sums that are nearly equal.
    """
    return all(
        (own - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6
        for own, theirs in zip(ours, peer, strict=True)
    )


def notes(ours: float, peer: float, captions: int, **shape: int) -> dict[str, float]:
    """How many patches are looked at, and what whole pages take that nobody masks."""
    texts, dual = real_captions(captions), _dual(**shape)
    pages, kept = _pages(dual, texts, shape["image"])
    network = dual.image.encoder
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        _threaded(partial(_back, network, lambda: network(pages)), THREADS)
        seconds.append(time.perf_counter() - start)
    return {
        "share of patches with ink": float(kept.float().mean()),
        "times less than whole pages without masks": min(seconds) / ours,
    }


def _dual(image: int, width: int, depth: int) -> models.DualTower:
    name = (
        f"scratch:map?image={image}&patch={PATCH}&width={width}&depth={depth}&heads={width // HEAD}"
    )
    return models.dual(name, "shared:pixels?packed=true", None)


def _pages(dual: models.DualTower, texts: list[str], image: int) -> tuple[Tensor, Tensor]:
    """Whole pages as the network's input, and which of their patches are kept."""
    pixels = Pages(image)(texts)["pixels"]
    cut = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
    kept = (cut != cut.amax()).any(2)
    kept[~kept.any(1), 0] = True
    return dual.image.transform.normalised(pixels[..., None].expand(-1, -1, -1, 3)), kept


def _masked(network: nn.Module, pages: Tensor, kept: Tensor) -> Tensor:
    mask = kept[:, None, None]
    states = network.forward_features(pages, attn_mask=mask)
    return network.attn_pool(states, attn_mask=mask)


def _back(network: nn.Module, forward: Callable[[], Tensor]) -> list[Tensor]:
    network.zero_grad()
    features = forward()
    features.square().sum().backward()
    return [features.detach(), *(weight.grad.clone() for weight in network.parameters())]


def _threaded(call: Callable, threads: int) -> list[Tensor]:
    torch.set_num_threads(threads)
    return call()
