"""Training: projections between frozen towers, asked for by their configuration."""

from towers.training.loop import History, TrainingError, fit
from towers.training.projections import Projections, collection, history, trained

__all__ = [
    "History",
    "Projections",
    "TrainingError",
    "collection",
    "fit",
    "history",
    "trained",
]
