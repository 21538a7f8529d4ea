"""Pairs to begin with: towers that were pretrained apart, and have never met.

What comes with packages is loaded by name. In the made world of `scenes` the book pretrains two
small towers of its own, once: the image tower learns which words describe a picture, and no text
is ever contrasted with it; the text tower learns which captions are about one scene (SimCSE with
pairs), and never sees a picture.

Source: Khan and Fu 2023, section 2.4 (DeiT and SimCSE); Gao et al. 2021 (SimCSE).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from towers import models, names
from towers.models import family, scratch
from towers.training.errors import TrainingError
from towers.training.kept_runs import kept
from towers.training.recipe import Recipe

COMMON: dict[str, Any] = {
    "steps": 800, "batch": 64, "lr": 2e-3, "warmup": 50, "weight_decay": 0.05, "clip_norm": 1.0,
    "embed": 64, "checkpoint_every": 10_000,
}  # fmt: skip
"""Of both pretrainings, where nothing else is said."""


@dataclass(frozen=True)
class Start:
    """Two towers as they are before they are aligned.

    Attributes:
        image: image tower, as `models.load` takes it; one from scratch is pretrained here.
        text: text tower; likewise.
        world: options of the scenes that towers from scratch are pretrained on, "size=64&..."; each
            scene has several captions.
        pretrained: which towers from scratch are; the others are as they were drawn.
        pictures: fields of the image tower's own training, in the place of `COMMON`.
        sentences: fields of the text tower's.
    """

    image: str
    text: str
    world: str = ""
    pretrained: Literal["both", "image", "text", "none"] = "both"
    pictures: Mapping[str, Any] = field(default_factory=dict)
    sentences: Mapping[str, Any] = field(default_factory=dict)
    _found: dict | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pretrained not in ("both", "image", "text", "none"):
            raise TrainingError(
                f"expected pretrained as both, image, text or none, got {self.pretrained!r}"
            )

    @property
    def recipes(self) -> dict[str, Recipe]:
        """How the towers that are pretrained here are: "image" and "text", or one, or none."""
        scenes = f"scenes:train?count=1000000&{self.world}"
        each = {
            "image": Recipe(
                image=self.image, text="scratch:bow?width=16&context=32&vocabulary=2048",
                data=(scenes,), objective="bag-of-words", name="before alignment",
                **(COMMON | dict(self.pictures)),
            ),
            "text": Recipe(
                image="scratch:vit?image=8&patch=8&width=16&depth=1&heads=1", text=self.text,
                data=(), text_pairs=(f"captions:{scenes.replace('1000000', '20000')}",),
                text_share=1.0, name="before alignment", **(COMMON | dict(self.sentences)),
            ),
        }  # fmt: skip
        wanted = {"both": ("image", "text"), "none": ()}.get(self.pretrained, (self.pretrained,))
        made = {"image": self.image, "text": self.text}
        return {side: each[side] for side in wanted if made[side].startswith(scratch.PREFIX)}

    def pair(self, embed: int, seed: int = 0, progress: bool = True) -> models.DualTower:
        """Both towers, with projections that know nothing yet.

        Args:
            embed: axis length of the shared space.
            seed: of the projections, and of towers that stay as they were drawn.
            progress: show a bar where a tower has to be pretrained first.

        Raises:
            TrainingError: as `kept`.
            ValueError: an unknown tower.
        """
        drawn = models.dual(self.image, self.text, embed, seed)
        found = {"image": drawn.image, "text": drawn.text} | copy.deepcopy(self._towers(progress))
        return models.DualTower(found["image"], found["text"], embed, drawn.name, seed)

    def _towers(self, progress: bool) -> dict[str, models.Tower]:
        """Those that are pretrained here, trained or read once."""
        if self._found is None:
            done = {side: kept(each, progress=progress).dual for side, each in self.recipes.items()}
            towers = {side: getattr(pair, side) for side, pair in done.items()}
            object.__setattr__(self, "_found", towers)
        return self._found


def around(image: models.ImageTower, text: str, embed: int, seed: int = 0) -> models.DualTower:
    """A pair around an image tower that knows something already.

    Args:
        image: the tower itself.
        text: name of a text tower, also of one that shares the image tower's network.
        embed: axis length of the shared space.
        seed: of the projections, and of what the text tower draws.

    Raises:
        ValueError: an unknown tower, or one that cannot share this network.
    """
    named = names.parse(text).having(seed=seed)
    if text.startswith(family.PREFIX):
        reader = scratch.sharing(named, image)
    elif text.startswith(scratch.PREFIX):
        reader = scratch.tower(named)
    else:
        reader = models.text_tower(text)
    return models.DualTower(image, reader, embed, f"{image.name} and {text}", seed)
