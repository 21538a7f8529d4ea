"""What the processes of `test_sharded` do; every rank leaves its findings in a file."""

import math
from datetime import timedelta

import open_clip
import torch
import torch.distributed as dist
import torch.nn.functional as F

from tests.losses.pairs import unit_pairs
from towers.losses import sharded_clip_loss

RANKS = 4
BATCH, EMBED, WIDTH = 24, 6, 10
CASES = {  # dtype, scale, noise of the texts
    "float64": (torch.float64, 14.0, 1.0),
    "float32": (torch.float32, 14.0, 1.0),
    "float32 at 100": (torch.float32, 100.0, 1.0),
    "float64, pairs as opposites": (torch.float64, 1e4, -2.0),
}


class Model(torch.nn.Module):
    """Two linear towers and a scale, the same on every rank."""

    def __init__(self, scale, dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        draw = torch.randn(2, WIDTH, EMBED, generator=generator, dtype=torch.float64).to(dtype)
        self.image, self.text = (torch.nn.Parameter(weights) for weights in draw)
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale), dtype=dtype))

    def forward(self, images, texts):
        embeds = F.normalize(images @ self.image, dim=1), F.normalize(texts @ self.text, dim=1)
        return *embeds, self.log_scale.exp()


def inputs(case):
    """The whole batch's inputs of the towers, and a fresh model."""
    dtype, scale, noise = CASES[case]
    images, texts = unit_pairs(BATCH, WIDTH, seed=11, dtype=dtype, noise=noise)
    return images, texts, Model(scale, dtype)


def learnt(model, loss):
    """Loss and gradients of all weights after `backward`."""
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters()}}


def own_rows(rank, ranks, *tensors):
    return [tensor.chunk(ranks)[rank] for tensor in tensors]


def work(rank, store, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS,
                            timeout=timedelta(seconds=30))  # fmt: skip
    groups = {count: dist.new_group(list(range(count))) for count in (1, 2)} | {RANKS: None}
    found = {}
    for count, group in groups.items():
        if rank < count:
            found[count] = {case: share(case, rank, count, group) for case in CASES}
    found["refusals"] = {name: refusal(name, rank) for name in WRONG}
    found["nan"] = with_nan(rank)
    found["locked texts"] = locked(rank)
    found["open_clip"] = {
        (local, grad): shipped(rank, local, grad)
        for local in (True, False) for grad in (True, False)
    }  # fmt: skip
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def share(case, rank, ranks, group):
    images, texts, model = inputs(case)
    embeds = model(*own_rows(rank, ranks, images, texts))
    return learnt(model, sharded_clip_loss(*embeds, tile=5, group=group))


def with_nan(rank):
    """One rank's text is no number: every rank must hear of it."""
    images, texts, model = inputs("float32")
    texts[3, 0] = math.nan
    return learnt(model, sharded_clip_loss(*model(*own_rows(rank, RANKS, images, texts)), tile=4))


def locked(rank):
    """A text tower that does not learn."""
    images, texts, model = inputs("float64")
    model.text.requires_grad_(False)
    return learnt(model, sharded_clip_loss(*model(*own_rows(rank, RANKS, images, texts))))


def shipped(rank, local, with_grad):
    """open_clip's loss for several ranks, in each of its four forms."""
    images, texts, model = inputs("float64")
    loss_of = open_clip.ClipLoss(
        local_loss=local, gather_with_grad=with_grad, rank=rank, world_size=RANKS
    )
    return learnt(model, loss_of(*model(*own_rows(rank, RANKS, images, texts))))


def _uneven(rank, images, texts, scale):
    keep = len(images) - (rank == 2)
    return images[:keep], texts[:keep], scale


WRONG = {  # what one rank does differently
    "uneven": _uneven,
    "shapes": lambda rank, i, t, s: (i, t[:-1] if rank == 1 else t, s),
    "zero": lambda rank, i, t, s: (i, t, s * (rank != 3)),
    "scale": lambda rank, i, t, s: (i, t, s + (rank == 3)),
    "precision": lambda rank, i, t, s: (i.double() if rank == 1 else i, t, s),
    "axis": lambda rank, i, t, s: (i[:, rank // 3 :], t[:, rank // 3 :], s),
    "gradient": lambda rank, i, t, s: (i, t.detach() if rank == 0 else t, s),
}


def refusal(name, rank):
    images, texts, model = inputs("float32")
    embeds = model(*own_rows(rank, RANKS, images, texts))
    try:
        sharded_clip_loss(*WRONG[name](rank, *embeds))
    except ValueError as error:
        return str(error)
    return None
