"""Training: projections between frozen towers, asked for by their configuration."""

from towers.training.errors import TrainingError, TrainingFailed
from towers.training.pairs import History, fit
from towers.training.projections import Projections, collection, history, trained
from towers.training.recipe import Recipe

__all__ = [
    "History",
    "Projections",
    "Recipe",
    "TrainingError",
    "TrainingFailed",
    "collection",
    "fit",
    "history",
    "trained",
]
