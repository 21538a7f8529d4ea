"""Towers of several sizes, all pretrained alike, aligned with several amounts of pairs.

Source: Khan and Fu 2023, sections 3.3 and 6.4 to 6.7, Table 4, Figs. 6 to 10.
"""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from towers import models
from towers.models import scratch, trainable
from towers.records import Measurement
from towers.training.budget import GB
from towers.training.errors import TrainingError
from towers.training.kept_runs import kept
from towers.training.lilt_runs import A6000, BATCH, DEVICES, EPOCHS
from towers.training.planning import plan
from towers.training.recipe import Recipe
from towers.training.runs import Finished
from towers.training.starts import Start


@dataclass(frozen=True)
class Step:
    """One run: which towers, what moves, how many pairs.

    Attributes:
        image: size of the image tower.
        text: size of the text tower.
        policy: name of the policy.
        pairs: different pictures that are learnt from, each with its captions.
        pretrained: which towers are, as `Start` has it.
        seed: of projections, adapters, order and drawn captions.
    """

    image: str
    text: str
    policy: str
    pairs: int
    pretrained: str = "both"
    seed: int = 0

    @property
    def towers(self) -> str:
        """Size of the pair: one word where both towers have it."""
        return self.image if self.image == self.text else f"{self.image} image, {self.text} text"

    @property
    def title(self) -> str:
        """What the trained pair is called."""
        known = "" if self.pretrained == "both" else f", pretrained: {self.pretrained}"
        return f"{self.policy}, {self.towers}, {self.pairs:,} pairs{known}"

    @property
    def at(self) -> dict[str, str | int]:
        """The conditions of its records: towers, pairs and, unless both are, `pretrained`."""
        known = {} if self.pretrained == "both" else {"pretrained": self.pretrained}
        return {"towers": self.towers, "pairs": self.pairs} | known


@dataclass(frozen=True)
class Ladder:
    """What the runs have in common.

    Attributes:
        images: size -> image tower.
        texts: size -> text tower.
        policies: name -> what moves, as `models.trainable` has it.
        source: what is learnt from; "{pairs}" stands for the amount.
        budget: the other fields of all recipes, such as steps and batch.
        start: fields of every `Start` but for the towers and which are pretrained.
        drawn: tower that brings weights -> one from scratch, its stand-in where it shall have none.
    """

    images: Mapping[str, str]
    texts: Mapping[str, str]
    policies: Mapping[str, str]
    source: str
    budget: Mapping[str, Any]
    start: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, models.Tower] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def begins(self, step: Step) -> Start:
        """The towers of a run before it.

        Raises:
            KeyError: a size that is none of the ladder's.
            TrainingError: as `Start`; or a tower brings weights that it shall not have.
        """
        towers = {"image": self.images[step.image], "text": self.texts[step.text]}
        for side, name in towers.items():
            if step.pretrained not in ("both", side):
                towers[side] = self.drawn.get(name, name)
                if not towers[side].startswith(scratch.PREFIX):
                    raise TrainingError(
                        f"expected a tower from scratch where the {side} tower is not pretrained, "
                        f"got {towers[side]}; name one of its shape in drawn"
                    )
        return Start(**towers, pretrained=step.pretrained, **self.start)

    def recipe(self, step: Step) -> Recipe:
        """The recipe of a run.

        Raises:
            KeyError: a size or policy that is none of the ladder's.
            TrainingError: as `Recipe`.
        """
        start = self.begins(step)
        return Recipe(
            image=start.image, text=start.text,
            data=(self.source.replace("{pairs}", str(step.pairs)),), name=step.title,
            policy=self.policies[step.policy], seed=step.seed, **self.budget,
        )  # fmt: skip

    def report(self, step: Step) -> pd.DataFrame:
        """What moves in a run's pair, see `trainable.report`.

        Raises:
            KeyError: a size or policy that is none of the ladder's.
            TrainingError: as `kept`.
            ValueError: a policy that does not suit the towers.
        """
        pair = trainable.apply(self.pair(step), self.policies[step.policy], step.seed)
        return trainable.report(pair)

    def climb(self, steps: Iterable[Step], progress: bool = True) -> dict[Step, Finished]:
        """The runs, from the cache or trained now; one that is asked for twice runs once.

        Args:
            steps: which.
            progress: show bars.

        Raises:
            KeyError: a size or policy that is none of the ladder's.
            TrainingError: as `kept`.
            ValueError: a policy that does not suit the towers.
        """
        done = {}
        for step in dict.fromkeys(steps):
            recipe = self.recipe(step)
            done[step] = kept(recipe, self.pair(step, progress), progress)
        return done

    def pair(self, step: Step, progress: bool = True) -> models.DualTower:
        """The pair of a run before it; a tower that is pretrained here is read once.

        Args:
            step: the run.
            progress: show bars.

        Raises:
            KeyError: a size that is none of the ladder's.
            TrainingError: as `kept`.
            ValueError: an unknown tower.
        """
        start, embed = self.begins(step), self.recipe(step).embed
        drawn = models.dual(start.image, start.text, embed, step.seed)
        found = {"image": drawn.image, "text": drawn.text}
        for side, recipe in start.recipes.items():
            if recipe.digest not in self._known:
                self._known[recipe.digest] = getattr(kept(recipe, progress=progress).dual, side)
            found[side] = copy.deepcopy(self._known[recipe.digest])
        return models.DualTower(found["image"], found["text"], embed, drawn.name, step.seed)


def grid(
    sizes: Iterable[str], policies: Iterable[str], amounts: Iterable[int], seeds: Iterable[int]
) -> list[Step]:
    """All combinations, with towers of one size.

    Args:
        sizes: of both towers.
        policies: names of the policies.
        amounts: pairs.
        seeds: of the runs.
    """
    return [
        Step(size, size, policy, pairs, seed=seed)
        for policy, size, pairs, seed in itertools.product(policies, sizes, amounts, seeds)
    ]


def changed(steps: Iterable[Step], **changes: Any) -> list[Step]:
    """The same runs with other fields."""
    return [replace(step, **changes) for step in steps]


def planned(amounts: Sequence[int], letters: str = "fg") -> list[Measurement]:
    """What Table 4's and Figure 9's amounts would take on the paper's devices, with base towers.

    Args:
        amounts: pairs; each is seen in as many epochs as the paper's own.
        letters: of the configurations of Table 1.

    Returns:
        "updates", "hours" and "memory per device (GB)" of each configuration, at each number of
        `pairs`; nothing is computed.

    Raises:
        KeyError: a letter that is none of the table's.
    """
    rows = []
    for letter in letters:
        model = models.lilt_models()[letter]
        found = plan(model.build(), BATCH, BATCH, ranks=DEVICES, accelerator=A6000)
        for pairs in amounts:
            updates = pairs // BATCH * EPOCHS
            values = {
                "updates": updates, "hours": 24 * found.days * updates,
                "memory per device (GB)": found.memory / GB,
            }  # fmt: skip
            rows += [
                Measurement(model=f"({letter}) {model.name}", data=A6000.name, metric=key,
                            value=value, n=DEVICES, at={"pairs": pairs})
                for key, value in values.items()
            ]  # fmt: skip
    return rows
