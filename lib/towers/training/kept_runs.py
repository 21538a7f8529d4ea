"""Runs that chapters share: trained once, kept in the cache, gone on with where they stopped."""

import copy
import json

from towers import files
from towers.experiments import fingerprints
from towers.models import DualTower
from towers.models.encoders import made_of
from towers.training import making, runs
from towers.training.recipe import Recipe
from towers.training.runs import Finished

CODE = "towers.training.runs"
"""What trains, with what it reaches for a recipe: see `experiments.chosen`."""


def kept(recipe: Recipe, start: DualTower | None = None, progress: bool = True) -> Finished:
    """The run of a recipe, from the cache or trained now.

    Runs lie in `cache_home()/runs`, under a hash of the recipe, the first weights where they are
    given, the data and the code that computes this recipe, so that another of these is another run.
    One that stopped goes on from its last checkpoint. A second process that asks for the same
    waits.

    Args:
        recipe: what to train; its `name`, `workers` and what else changes no weight is no part of
            the hash.
        start: a pair to begin with, which stays as it is; by default the one that the recipe names.
        progress: show a bar.

    Returns:
        As `train`; the pair is frozen, in evaluation mode and called what this recipe calls it.

    Raises:
        TrainingError: as `train`.
        TrainingFailed: as `train`.
        ValueError: an unknown tower or collection.
    """
    pair = making.pair(recipe, copy.deepcopy(start))
    parts = [recipe.digest, making.digest(making.parts(recipe, pair))]
    said = recipe.settings | {"validation": recipe.validation}  # its outcome is in the log
    code = fingerprints.of_code([CODE, *made_of(pair)], said)
    parts += [code, *([start.checksum] if start else [])]
    folder = files.cache_home() / "runs" / files.sha256(json.dumps(parts).encode())[:32]
    with files.locked(folder):
        finished = runs.train(recipe, folder, dual=copy.deepcopy(start), progress=progress)
    finished.dual.requires_grad_(False).eval()
    return finished
