"""Small runs that take a fraction of a second, in this process or in ranks of their own."""

import dataclasses
import hashlib

import torch

from tests import toy_towers
from towers import training
from towers.training import samples, states

PAIRS = 44
RECIPE = training.Recipe(
    image="toy:image", text="toy:text", data=("toys",), steps=12, warmup=2, batch=8, embed=6,
    lr=1e-2, clip_norm=1.0, accumulate=2, checkpoint_every=3, augment="crop",
)  # fmt: skip


def recipe(**changes):
    return dataclasses.replace(RECIPE, **changes)


def source(dual, pairs=PAIRS):
    captions = [(f"toy {n}", f"a toy {n}", f"{n} is a toy") for n in range(pairs)]
    return samples.CollectionSamples(
        toy_towers.collection(captions), samples.Squares(dual.image.transform, crop=True)
    )


def train(folder, dual=None, **changes):
    """A run in this process; what `training.train` takes besides the recipe is passed on."""
    options = {name: changes.pop(name) for name in ("resume", "evaluate") if name in changes}
    dual = dual or toy_towers.trainable()
    data = changes.pop("source", None) or source(dual)
    return training.train(
        recipe(**changes), folder, dual=dual, source=data, progress=False, **options
    )


def bits(folder, step):
    """One hash of everything in the checkpoint of a step: equal only if all bits are."""
    state = states.Checkpoints(folder / "checkpoints", 1).read(step)
    content = hashlib.sha256(repr((state.step, state.scaler, sorted(state.bad.items()))).encode())
    for tensors in (state.weights, state.moments):
        for name in sorted(tensors):
            content.update(name.encode())
            content.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


class Stop(Exception):
    """Ends a run from outside, as an interruption does."""
