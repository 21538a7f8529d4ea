"""Training: projections between frozen towers, asked for by their configuration."""

from towers.training.loop import History, TrainingError, fit
from towers.training.planning import Accelerator, Plan, plan
from towers.training.projections import Projections, collection, history, trained

__all__ = [
    "Accelerator",
    "History",
    "Plan",
    "Projections",
    "TrainingError",
    "collection",
    "fit",
    "history",
    "plan",
    "trained",
]
