"""The contrastive loss over several processes (gloo), with each rank's extra peak memory."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks._clip_losses import pairs, step
from benchmarks._memory import SERVER, extra_peak
from towers.losses import sharded_clip_loss

EMBED, TILE = 512, 256


def per_rank(side: str, ranks: int, batch: int) -> tuple[float, list[float]]:
    """The largest rank's extra memory in GB; the loss, and the norm of all image gradients."""
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_work, (side, ranks, batch, Path(folder)), ranks, start_method=SERVER)
        found = [torch.load(Path(folder, f"{rank}.pt")) for rank in range(ranks)]
    amounts, losses, norms = zip(*found, strict=True)
    return max(amounts), [sum(losses) / ranks, sum(norm**2 for norm in norms) ** 0.5]


def _work(rank: int, side: str, ranks: int, batch: int, folder: Path) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # of the peer's gather
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                            world_size=ranks)  # fmt: skip
    loss_of = _loss_of(side, rank, ranks)
    _step(loss_of, 64, rank, ranks)  # libraries take their own memory first
    amount, (loss, images, *_) = _step(loss_of, batch, rank, ranks)
    torch.save((amount, loss.item(), images.double().norm().item()), folder / f"{rank}.pt")
    dist.destroy_process_group()


def _step(loss_of: Callable, batch: int, rank: int, ranks: int) -> tuple[float, tuple]:
    *whole, scale = pairs(batch, EMBED)
    own = [part.detach().chunk(ranks)[rank].clone().requires_grad_() for part in whole]
    del whole
    dist.barrier()
    return extra_peak(lambda: step(loss_of, (*own, scale), 1))


def _loss_of(side: str, rank: int, ranks: int) -> Callable:
    if side == "ours":
        return lambda *leaves: sharded_clip_loss(*leaves, tile=TILE)
    # of its two forms that are right the one that holds less
    return open_clip.ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=ranks)
