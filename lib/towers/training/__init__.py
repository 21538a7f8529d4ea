"""Training: whole runs from a recipe, and projections between frozen towers."""

from towers.training.errors import TrainingError, TrainingFailed
from towers.training.pairs import History, fit
from towers.training.projections import Projections, collection, history, trained
from towers.training.recipe import Recipe
from towers.training.runs import Finished, train

__all__ = [
    "Finished",
    "History",
    "Projections",
    "Recipe",
    "TrainingError",
    "TrainingFailed",
    "collection",
    "fit",
    "history",
    "train",
    "trained",
]
