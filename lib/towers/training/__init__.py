"""Training: whole runs from a recipe, their plans, and projections between frozen towers."""

from towers.training.budget import Accelerator, Plan
from towers.training.distillation import Distillation, distilled
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.extension import before_descent, extended
from towers.training.kept_runs import kept
from towers.training.pairs import History, fit
from towers.training.planning import plan
from towers.training.projections import Projections, collection, history, trained
from towers.training.recipe import Recipe
from towers.training.runs import Finished, train
from towers.training.starts import Start, around

__all__ = [
    "Accelerator",
    "Distillation",
    "Finished",
    "History",
    "Plan",
    "Projections",
    "Recipe",
    "Start",
    "TrainingError",
    "TrainingFailed",
    "around",
    "before_descent",
    "collection",
    "distilled",
    "extended",
    "fit",
    "history",
    "kept",
    "plan",
    "train",
    "trained",
]
