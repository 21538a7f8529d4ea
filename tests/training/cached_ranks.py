"""A small pair of towers with dropout, and what two processes of `test_caching` do with it."""

from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from towers.losses import sharded_clip_loss
from towers.training.caching import cached_step

RANKS, BATCH, WIDTH = 2, 12, 7


class Pair(nn.Module):
    """Two towers; texts come as named tensors."""

    def __init__(self, dropout=0.3, dtype=torch.float64):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.image = self.tower(dropout, dtype)
            self.text = self.tower(dropout, dtype)
        self.log_scale = nn.Parameter(torch.tensor(2.0, dtype=dtype))

    @staticmethod
    def tower(dropout, dtype):
        return nn.Sequential(
            nn.Linear(WIDTH, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 5)
        ).to(dtype)

    def forward(self, images, texts):
        texts = texts["tokens"] * texts["mask"][:, None]
        embeds = F.normalize(self.image(images), dim=1), F.normalize(self.text(texts), dim=1)
        return *embeds, self.log_scale.exp()


def batch(count=BATCH, dtype=torch.float64):
    generator = torch.Generator().manual_seed(9)
    images, tokens = torch.randn(2, count, WIDTH, generator=generator, dtype=dtype)
    return images, {"tokens": tokens, "mask": torch.ones(count, dtype=dtype)}


def grads(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def times_ranks(images, texts, scale):
    return RANKS * sharded_clip_loss(images, texts, scale, tile=4)


def work(rank, store, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS,
                            timeout=timedelta(seconds=30))  # fmt: skip
    model = DistributedDataParallel(Pair(dropout=0.0))
    images, texts = batch()
    rows = slice(rank * BATCH // RANKS, (rank + 1) * BATCH // RANKS)
    own = images[rows], {name: tensor[rows] for name, tensor in texts.items()}
    losses = []
    for _ in range(2):  # twice: DDP refuses a second step if the first left a weight out
        model.zero_grad()
        losses += [cached_step(model, *own, times_ranks, chunk=4, seed=rank, no_sync=model.no_sync)]
    torch.save({"losses": losses, "grads": grads(model.module)}, folder / f"{rank}.pt")
    dist.destroy_process_group()
