"""Training: whole runs from a recipe, and what they would take."""

from towers.training.errors import TrainingError, TrainingFailed
from towers.training.extension import before_descent, extended
from towers.training.plans import Accelerator, Plan, plan
from towers.training.recipe import Recipe
from towers.training.runs import Finished, named, pair, train

__all__ = [
    "Accelerator",
    "Finished",
    "Plan",
    "Recipe",
    "TrainingError",
    "TrainingFailed",
    "before_descent",
    "extended",
    "named",
    "pair",
    "plan",
    "train",
]
