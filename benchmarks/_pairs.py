"""A pair of towers, and the same pair as a model of open_clip in its own training loop."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import open_clip
import torch
from accelerate import Accelerator
from open_clip_train.train import train_one_epoch
from torch import Tensor, nn

from towers import models
from towers.training.batches import Batch
from towers.training.loop import Trainer
from towers.training.objectives import Contrastive
from towers.training.recipe import Recipe

VOCABULARY, START, END = 49_408, 49_406, 49_407
ADAM = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6}
DECAY = 0.2
EPOCHS = {
    "full": {"pairs": 256, "batch": 64, "image": 224, "patch": 32, "width": 384, "depth": 12,
             "context": 77},
    "laptop": {"pairs": 128, "batch": 32, "image": 96, "patch": 16, "width": 192, "depth": 6,
               "context": 32},
    "smoke": {"pairs": 8, "batch": 4, "image": 32, "patch": 16, "width": 64, "depth": 1,
              "context": 8},
}  # fmt: skip
"""Size -> an epoch over locked towers: its pairs, and the shape of what goes through them."""


def pair(
    image: int, patch: int, width: int, depth: int, context: int, device: str = "cpu"
) -> models.DualTower:
    """CLIP's two transformers, of one width and depth, with heads of 64."""
    shape = f"width={width}&depth={depth}&heads={width // 64}"
    return models.dual(
        f"scratch:vit?image={image}&patch={patch}&{shape}",
        f"scratch:transformer?context={context}&{shape}",
        width,
        device=device,
    )


def twin(dual: models.DualTower) -> nn.Module:
    """open_clip's CLIP with the same weights."""
    network, words = dual.image.encoder, dual.text.encoder.transformer
    shape = {"layers": len(words.transformer.resblocks), "width": dual.embed}
    model = open_clip.CLIP(
        dual.embed,
        shape | {"head_width": 64, "patch_size": network.conv1.kernel_size[0],
                 "image_size": dual.image.transform.size},
        shape | {"heads": dual.embed // 64, "context_length": words.context_length,
                 "vocab_size": VOCABULARY},
        output_dict=True,
    )  # fmt: skip
    state = {f"visual.{name}": weight for name, weight in network.state_dict().items()}
    state |= {"visual.proj": dual.image_proj.weight.T, "text_projection": dual.text_proj.weight.T,
              "logit_scale": dual.log_scale, **words.state_dict()}  # fmt: skip
    model.load_state_dict(state)
    return model


def inputs(dual: models.DualTower, batch: int, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Pixels of noise, and captions of 4 to all tokens that fit, for each step."""
    generator = torch.Generator().manual_seed(1)
    size, context = dual.image.transform.size, dual.text.encoder.transformer.context_length
    pixels = torch.randint(0, 256, (steps, batch, size, size, 3), generator=generator)
    ids = torch.randint(1, START, (steps, batch, context), generator=generator)
    ends = torch.randint(3, context, (steps, batch, 1), generator=generator)
    places = torch.arange(context)
    ids = torch.where(places < ends, ids, torch.where(places == ends, END, 0))
    ids[..., 0] = START
    return list(zip(pixels.to(torch.uint8), ids, strict=True))


def trainer(dual: models.DualTower, precision: str) -> Trainer:
    """Our loop, at a constant rate."""
    recipe = Recipe("made here", "made here", ("noise",), steps=10**9, weight_decay=DECAY, **ADAM,
                    warmup=0, schedule="constant", precision=precision)  # fmt: skip
    return Trainer(Contrastive(dual), recipe, Accelerator(cpu=True))


def updates(loop: Trainer, batches: Sequence[Batch]) -> list[float]:
    """Loss of each update."""
    coming = iter(batches)
    return [loop.update(step, coming).loss for step in range(len(batches))]


def epoch(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Callable:
    """open_clip's own epoch in fp32, with its optimiser: call it for the loss of each update."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": DECAY},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], **ADAM)
    options = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=True,
        grad_clip_norm=None, rank=0, local_rank=0, log_local=False, log_every_n_steps=10**9,
        batch_size=len(batches[0][0]), world_size=1, wandb=False,
    )  # fmt: skip
    data = {"train": SimpleNamespace(set_epoch=lambda _: None, dataloader=_Loader(batches))}
    loss_of = open_clip.ClipLoss()

    def run() -> list[float]:
        seen: list[Tensor] = []

        def watched(**outputs: Tensor) -> dict[str, Tensor]:
            found = loss_of(**outputs)
            seen.append(found["contrastive_loss"].detach())
            return found

        train_one_epoch(model, data, watched, 0, optimiser, None, None, None, options)
        return [loss.item() for loss in seen]

    return run


class _Loader(list):
    """Batches with the two numbers that open_clip asks a loader for."""

    @property
    def num_batches(self) -> int:
        return len(self)

    @property
    def num_samples(self) -> int:
        return sum(len(images) for images, _ in self)
