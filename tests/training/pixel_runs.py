"""Small runs of CLIPPO and its baselines on toys, in this process or in ranks of their own."""

import torch

from tests import toy_towers
from towers import models, training
from towers.training import samples

IMAGE = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"


class Rhymes:
    """Pairs of texts: a number, and the number after it."""

    blocks, digest = (24,), "rhymes"

    def __len__(self):
        return 24

    def pair(self, row, pick):
        return f"toy {row}", f"toy {row + 1}"


def train(folder, text, image=IMAGE, **changes):
    """A run on 24 toys; half of each batch are texts where `text_share` says so."""
    recipe = training.Recipe(**{
        "image": image, "text": text, "data": ("toys",), "steps": 8, "warmup": 2, "batch": 8,
        "embed": 8, "lr": 3e-3, "optimiser": "adafactor", "weight_decay": 1e-4, "clip_norm": 1.0,
        "schedule": "reciprocal-sqrt", "checkpoint_every": 3, **changes,
    })  # fmt: skip
    dual = models.dual(recipe.image, recipe.text, recipe.embed, recipe.seed)
    toys = toy_towers.collection([(f"toy {n}", f"{n} is a toy") for n in range(24)])
    source = samples.CollectionSamples(toys, samples.Squares(dual.image.transform))
    return training.train(
        recipe, folder, dual=dual, source=source if recipe.text_share < 1 else None,
        pairs=Rhymes() if recipe.text_share else None, progress=False,
    )  # fmt: skip


def weights(folder, text, **changes):
    """A run in a rank; the checksum of what it has in the end."""
    torch.set_num_threads(1)
    return train(folder, text, **changes).dual.checksum
