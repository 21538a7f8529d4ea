"""Sets of scenes: pictures, captions, questions and labels, each a pure function of its row."""

from dataclasses import dataclass, fields
from functools import cached_property, partial

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from towers.data import chance
from towers.data.errors import DataError
from towers.data.items import Collection, Item, content_key
from towers.data.reports import Report
from towers.data.scenes import drafts, drawing, meanings, probes, questions
from towers.data.scenes.drafts import Facts
from towers.data.scenes.languages import LANGUAGES, say
from towers.data.scenes.meanings import FAMILIES, Meaning
from towers.data.scenes.questions import Question
from towers.data.scenes.world import COUNTS, SPLITS, STYLES, Scene
from towers.files import sha256
from towers.names import write

VERSION = "1"
"""Of the world: another one draws or says something else."""
MIXED = "mixed"
"""The style that is another one in each picture."""
SMALLEST, GREATEST = 32, 512
"""Pixels of a side."""
_CHUNK = 4096


@dataclass(frozen=True)
class Scenes:
    """So many pictures of the world of scenes, with what can be said and asked about them.

    Nothing is drawn before it is asked for, and row 7 is the same whatever the count. The scenes
    themselves depend on the seed, the split and the number of objects alone: the same row in
    another style, size or language shows the same things.

    Attributes:
        count: pictures.
        split: "train", "val" and "test" are alike and hold nothing of what is held out;
            "combinations", "counts" and "relations" hold some of it, of the one kind, in each
            picture.
        style: of `world.STYLES`, or "mixed": any of them.
        size: of a picture's sides, in pixels.
        languages: of the captions, of `languages.LANGUAGES`.
        seed: of everything.
        objects: in each picture; None: one to four.
        families: of the captions, of `meanings.FAMILIES`.
        label: the task, of `probes.CLASSES`, that gives the collection its classes.

    Raises:
        DataError: a value that is not among these; of the methods, a row that is not there, or no
            such task.
    """

    count: int
    split: str = "train"
    style: str = "flat"
    size: int = 64
    languages: tuple[str, ...] = ("en",)
    seed: int = 0
    objects: int | None = None
    families: tuple[str, ...] = FAMILIES
    label: str = "shape"

    def __post_init__(self) -> None:
        object.__setattr__(self, "languages", tuple(self.languages))
        object.__setattr__(self, "families", tuple(self.families))
        for name, given, known in (
            ("split", (self.split,), SPLITS),
            ("style", (self.style,), (*STYLES, MIXED)),
            ("languages", self.languages, tuple(LANGUAGES)),
            ("families", self.families, FAMILIES),
            ("objects", (self.objects,), (None, *COUNTS)),
            ("label", (self.label,), tuple(probes.CLASSES)),
        ):
            if not given or not set(given) <= set(known) or len(set(given)) < len(given):
                options, found = (", ".join(map(str, names)) for names in (known, given))
                raise DataError(f"expected {name} of scenes among {options}; got {found or 'none'}")
        for name, given, least, most in (
            ("count", self.count, 1, 2**48),
            ("size", self.size, SMALLEST, GREATEST),
            ("seed", self.seed, 0, 2**63),
        ):
            if type(given) is not int or not least <= given <= most:
                raise DataError(f"expected {name} of scenes from {least} to {most}, got {given!r}")
        if self.objects == 1 and self.split in ("counts", "relations"):
            raise DataError(f"expected several objects in split {self.split!r}, got objects=1")

    def __len__(self) -> int:
        return self.count

    @property
    def name(self) -> str:
        """What `data.load` takes: "scenes:train?count=2000&style=outline"."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "split"}
        default = {f.name: f.default for f in fields(self)}
        said = {key: value for key, value in given.items() if value != default[key]}
        return write(f"scenes:{self.split}", **said)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the version and all settings: another one is other data."""
        return sha256(f"{VERSION} {self.name}".encode())

    @cached_property
    def _key(self) -> int:
        return chance.secret("scenes", VERSION, self.seed, self.split, self.objects)

    def facts(self, rows: Int[np.ndarray, " rows"]) -> Facts:
        """The scenes of some rows, in columns."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self.count):
            raise DataError(
                f"expected rows of scenes from 0 to {self.count - 1}, got {rows.min()} to "
                f"{rows.max()}"
            )
        return drafts.facts(self._key, rows, self.split, self.objects)

    def scene(self, row: int) -> Scene:
        """What one picture shows."""
        return self.facts(np.array([row])).scenes()[0]

    def pixels(self, rows: Int[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows size size 3"]:
        """The pictures of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        return self._drawn(rows, self.facts(rows))

    def texts(self, row: int) -> dict[str, tuple[str, ...]]:
        """Language -> captions, one of each family, all true of the picture and all different.

        A picture of like things has none of "relation" (and then, where "relation" is the only
        family, its description).
        """
        return self._texts(np.array([row]), [self.scene(row)])[0]

    def questions(self, row: int) -> tuple[Question, ...]:
        """Questions about one picture, each with its answer, in English."""
        dice = self._dice("questions", np.array([row]), questions.DICE)[0]
        return questions.questions(self.scene(row), dice, self.split)

    def labels(self, task: str) -> Int[np.ndarray, " count"]:
        """The class numbers of all pictures.

        Args:
            task: of `probes.CLASSES`: "count", or the "shape", "colour", "size", "place" or
                "combination" (colour and shape) of the largest thing.
        """
        chunks = (
            np.arange(start, min(start + _CHUNK, self.count))
            for start in range(0, self.count, _CHUNK)
        )
        return np.concatenate([probes.labels(self.facts(rows), task) for rows in chunks])

    def prompts(self, task: str) -> tuple[tuple[str, ...], ...]:
        """English sentences for each class of a task, to make a zero-shot classifier of."""
        return probes.prompts(task)

    def read(
        self, rows: Int[np.ndarray, " rows"], picks: Int[np.ndarray, " rows"]
    ) -> tuple[UInt8[np.ndarray, "rows size size 3"], list[str]]:
        """The pictures of some rows, each with one of its captions.

        Args:
            rows: wanted.
            picks: for each row a number from 0, whose rest by the number of the row's captions, in
                all languages, says which.
        """
        rows = np.asarray(rows, dtype=np.int64)
        found = self.facts(rows)
        said = self._meanings(rows, found.scenes())
        spoken = self._dice("words", rows, len(FAMILIES))
        texts = []
        for about, dice, pick in zip(said, spoken, np.asarray(picks).tolist(), strict=True):
            language, family = divmod(pick % (len(about) * len(self.languages)), len(about))
            name = list(about)[family]
            texts.append(say(self.languages[language], about[name], dice[FAMILIES.index(name)]))
        return self._drawn(rows, found), texts

    def collection(self) -> Collection:
        """The same as a collection, whose pictures are drawn when they are looked at."""
        rows = np.arange(self.count)
        found = self.facts(rows)
        texts = self._texts(rows, found.scenes())
        names = [probes.CLASSES[self.label][number] for number in probes.labels(found, self.label)]
        styles = [self.style if self.style != MIXED else STYLES[n] for n in self._styles(rows)]
        counts = [probes.CLASSES["count"][number - 1] for number in found.count]
        items = tuple(
            Item(
                key=content_key(f"{place} {style} {self.size}".encode()),
                name=f"{self.split}/{row}",
                image=partial(_picture, self, row),
                captions=texts[row],
                targets={"class": names[row]},
                category=counts[row],
                style=style,
                group=content_key(place.encode()),
                split=self.split if self.split in ("train", "val") else "test",
            )
            for row, style in enumerate(styles)
            for place in [f"scenes {VERSION} {self.seed} {self.split} {self.objects} {row}"]
        )
        return Collection(
            self.name, items, Report(self.count), "Apache-2.0", f"scenes {VERSION}",
            class_names=probes.CLASSES[self.label],
        )  # fmt: skip

    def _dice(self, purpose: str, rows: np.ndarray, number: int) -> list[list[int]]:
        return chance.bits(chance.secret(self._key, purpose), rows, number).tolist()

    def _styles(self, rows: np.ndarray) -> Int[np.ndarray, " rows"]:
        """Which of `STYLES` a picture of style "mixed" has."""
        numbers = chance.bits(chance.secret(self._key, "styles"), rows, 1)[:, 0]
        return chance.below(numbers, len(STYLES))

    def _drawn(self, rows: np.ndarray, found: Facts) -> UInt8[np.ndarray, "rows size size 3"]:
        ink = chance.bits(chance.secret(self._key, "ink"), rows, drawing.INK)
        if self.style != MIXED:
            return drawing.pixels(found, ink, self.style, self.size)
        pictures = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        styles = self._styles(rows)
        for number in np.unique(styles):
            (mine,) = np.nonzero(styles == number)
            part = Facts(*(column[mine] for column in found))
            pictures[mine] = drawing.pixels(part, ink[mine], STYLES[number], self.size)
        return pictures

    def _meanings(self, rows: np.ndarray, scenes: list[Scene]) -> list[dict[str, Meaning]]:
        dice = self._dice("meanings", rows, meanings.DICE)
        return [
            meanings.meanings(scene, die, self.split, self.families)
            for scene, die in zip(scenes, dice, strict=True)
        ]

    def _texts(self, rows: np.ndarray, scenes: list[Scene]) -> list[dict[str, tuple[str, ...]]]:
        dice = self._dice("words", rows, len(FAMILIES))
        return [
            {
                language: tuple(
                    say(language, meaning, die[FAMILIES.index(family)])
                    for family, meaning in about.items()
                )
                for language in self.languages
            }
            for about, die in zip(self._meanings(rows, scenes), dice, strict=True)
        ]


def _picture(scenes: Scenes, row: int) -> Image.Image:
    return Image.fromarray(scenes.pixels(np.array([row]))[0])
