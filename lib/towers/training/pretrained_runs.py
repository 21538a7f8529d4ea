"""Pretrained towers, aligned under several policies: runs that chapters share.

A policy that locks the image tower takes any, and looks at each picture once, unless they come in
shards. A policy that moves both towers needs a transformer on both sides: where the image tower is
none, a small one that was distilled from it stands in.

Source: Khan and Fu 2023, sections 2.4 and 3, Tables 2, 3 and 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from towers.models import trainable
from towers.models.terms import Locked
from towers.training.distillation import Distillation, distilled
from towers.training.kept_runs import kept
from towers.training.recipe import Recipe
from towers.training.runs import Finished
from towers.training.starts import around

Key = tuple[str, int]
"""Name of a model and seed of its run."""


COMMON: dict[str, Any] = {
    "weight_decay": 0.02, "clip_norm": 1.0, "precision": "bf16", "checkpoint_every": 100_000,
}  # fmt: skip
"""Where the budget says nothing else; the decay is that of the authors' code."""


@dataclass(frozen=True)
class Alignments:
    """Runs that differ in what moves, and in the seed.

    Attributes:
        image: image tower with weights.
        text: text tower with weights.
        policies: name of the model -> what moves, as `models.trainable` has it.
        budget: the other fields of all recipes, such as data, steps and batch; over `COMMON`.
        seeds: of projections, adapters, order and drawn captions.
        rates: name of a model -> its learning rate, where it is not the budget's.
        student: fields of the `Distillation` of the tower that stands in for `image` where both
            towers move; empty: `image` itself moves.
    """

    image: str
    text: str
    policies: Mapping[str, str]
    budget: Mapping[str, Any]
    seeds: Sequence[int] = (0,)
    rates: Mapping[str, float] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)

    @property
    def distillation(self) -> Distillation | None:
        """How the tower that stands in is made; None where there is none.

        Raises:
            TrainingError: impossible fields.
        """
        return Distillation(teacher=self.image, **self.student) if self.student else None

    @property
    def recipes(self) -> dict[Key, Recipe]:
        """The recipe of each run, model by model.

        Raises:
            TrainingError: as `Recipe`, or of the distillation.
            ValueError: a policy of another grammar.
        """
        stands_in = self.distillation
        near = not any(str(name).startswith("shards:") for name in self.budget.get("data", ()))
        found = {}
        for name, policy in self.policies.items():
            locked = _locks_images(policy)
            image = self.image if locked or stands_in is None else stands_in.student
            own = COMMON | dict(self.budget)
            own["lr"] = self.rates.get(name, own.get("lr", Recipe.lr))
            for seed in self.seeds:
                found[name, seed] = Recipe(
                    image=image, text=self.text, policy=policy, cache_features=locked and near,
                    seed=seed, name=name, **own,
                )  # fmt: skip
        return found

    def run(self, progress: bool = True) -> dict[Key, Finished]:
        """All runs: from the cache, or trained now.

        Args:
            progress: show bars.

        Raises:
            TrainingError: as `kept`.
            TrainingFailed: as `kept` and `distilled`.
            ValueError: an unknown tower or collection, or a policy that does not suit the towers.
        """
        recipes, how = self.recipes, self.distillation
        stands_in = how and any(recipe.image == how.student for recipe in recipes.values())
        seen = distilled(how, progress) if stands_in else None
        done = {}
        for key, recipe in recipes.items():
            moved = how and recipe.image == how.student
            start = around(seen, recipe.text, recipe.embed, recipe.seed) if moved else None
            done[key] = kept(recipe, start, progress)
        return done


def _locks_images(policy: str) -> bool:
    wanted = trainable.read(policy)
    return wanted is not None and set(wanted.image) == {Locked()}
