"""Questions about pictures, each with its answers: of scenes, and of any collection's classes.

VQAv2 from local files is in `towers.data.vqav2`.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image

from towers.data import chance
from towers.data.errors import BadImage, DataError
from towers.data.items import Collection
from towers.data.scenes.sets import Scenes

Pictures = Callable[[Sequence[int]], list[Image.Image]]
"""Numbers of pictures -> the pictures, in colour."""
HIDDEN = ("", "question", "picture")
_WHITE = Image.new("RGB", (32, 32), "white")


@dataclass(frozen=True)
class Asked:
    """A question about a picture.

    Attributes:
        picture: number of the picture in its set.
        text: the question.
        kind: "yes/no", "number" or "other".
        answers: of the annotators, one each; a single one where there is no doubt.
    """

    picture: int
    text: str
    kind: str
    answers: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The most frequent one; of several the first."""
        return Counter(self.answers).most_common(1)[0][0]


@dataclass(frozen=True, eq=False)
class Questions(Sequence[Asked]):
    """Questions over the pictures of a set, in a fixed order.

    Attributes:
        name: for records.
        asked: the questions.
        pictures: those that the questions are about.
        version: SHA-256 of what the pictures are.
        hidden: what a model must do without: "", "question" or "picture".
        groups: for each picture the group of near duplicates that it belongs to; None: its own.
    """

    name: str
    asked: tuple[Asked, ...]
    pictures: Pictures
    version: str
    hidden: str = ""
    groups: Mapping[int, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", tuple(self.asked))
        if self.hidden not in HIDDEN or not self.asked:
            raise DataError(
                f"expected questions in {self.name!r}, and hidden among {', '.join(HIDDEN[1:])} or "
                f"nothing; got {len(self.asked)} questions and {self.hidden!r}"
            )

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, index):
        """The question at an index; for a slice, the set of those questions."""
        if isinstance(index, slice):
            return replace(self, asked=self.asked[index])
        return self.asked[index]

    def without(self, hidden: str) -> "Questions":
        """The same without their texts ("question"), or with white pictures ("picture")."""
        return replace(self, hidden=hidden)

    def seen(self, rows: Iterable[int]) -> tuple[list[Image.Image], list[str]]:
        """Pictures and texts of some questions, as a model gets them."""
        questions = [self.asked[row] for row in rows]
        texts = ["" if self.hidden == "question" else question.text for question in questions]
        if self.hidden == "picture":
            return [_WHITE] * len(questions), texts
        return self.pictures([question.picture for question in questions]), texts

    def parted(self, share: float, seed: int = 0) -> tuple["Questions", "Questions"]:
        """Two parts that share no picture, and no near duplicates of one.

        Args:
            share: of the pictures' groups that go into the second part, drawn by a seeded hash.
            seed: of the draw.

        Raises:
            DataError: one of the parts would be empty.
        """
        limit = share * 2.0**64
        held = [chance.secret(seed, group) < limit for group in self.clusters.tolist()]
        both = [*zip(self.asked, held, strict=True)]
        parts = [tuple(q for q, h in both if h is side) for side in (False, True)]
        if not all(parts):
            raise DataError(f"expected a share that parts {self.name!r} in two, got {share}")
        return replace(self, asked=parts[0]), replace(self, asked=parts[1])

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of questions, in order of appearance."""
        return tuple(dict.fromkeys(question.kind for question in self.asked))

    @cached_property
    def clusters(self) -> Shaped[np.ndarray, " questions"]:
        """For each question the group of its picture: what intervals must draw whole."""
        of = self.groups or {}
        return np.array([of.get(q.picture, str(q.picture)) for q in self.asked])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the pictures' version, the questions, their answers, and what is hidden."""
        content = hashlib.sha256(f"{self.version} {self.hidden}\n".encode())
        for question in self.asked:
            line = [question.picture, question.text, question.kind, question.answers]
            content.update(json.dumps(line).encode() + b"\n")
        return content.hexdigest()


def readable(read: Callable[[int], Image.Image], numbers: Sequence[int]) -> list[Image.Image]:
    """Pictures by their numbers; where one cannot be read, a line says so and it is white."""
    pictures = []
    for number in numbers:
        try:
            pictures.append(read(number))
        except BadImage as error:
            print(f"towers: a white page stands for picture {number} ({error})", file=sys.stderr)
            pictures.append(_WHITE)
    return pictures


def of_scenes(scenes: Scenes, like: Sequence[str] = ("*",)) -> Questions:
    """All questions about some scenes, each with its one answer.

    Args:
        scenes: whose rows are the pictures.
        like: patterns with "*" for any text; a question that fits none of them is left out.

    Raises:
        DataError: no question fits.
    """
    asked = [
        Asked(row, question.text, question.kind, (question.answer,))
        for row in range(len(scenes))
        for question in scenes.questions(row)
        if any(fnmatchcase(question.text, pattern) for pattern in like)
    ]

    def pictures(rows: Sequence[int]) -> list[Image.Image]:
        return [Image.fromarray(each) for each in scenes.pixels(np.asarray(rows))]

    return Questions(scenes.name, tuple(asked), pictures, scenes.digest)


def of_classes(
    collection: Collection, nouns: Mapping[str, str], seed: int = 0, text: str = "what is this?"
) -> Questions:
    """What a picture shows, and whether it shows that, for pictures that carry a class.

    Each picture has two questions: "what is this?", kind "other", whose answer is the label's noun;
    and "is this NOUN?", kind "yes/no", with the picture's own noun or, as often, another one.

    Args:
        collection: items of a class of `nouns`; others are left out.
        nouns: label -> how it is said, with its article: {"animals": "an animal"}.
        seed: of yes and no, and of the other noun.
        text: the first question.

    Raises:
        DataError: fewer than two of the labels are there.
    """
    rows = [row for row, item in enumerate(collection) if item.targets.get("class") in nouns]
    labels = sorted({collection[row].targets["class"] for row in rows})
    if len(labels) < 2:
        raise DataError(
            f"expected at least two of the labels {', '.join(nouns)} in {collection.name}, got "
            f"{', '.join(labels) or 'none'}"
        )
    asked = []
    for row, dice in zip(rows, _dice(collection, rows, seed), strict=True):
        shown = collection[row].targets["class"]
        others = [label for label in labels if label != shown]
        said, answer = (shown, "yes") if dice[0] & 1 else (others[dice[1] % len(others)], "no")
        asked += [
            Asked(row, text, "other", (nouns[shown],)),
            Asked(row, f"is this {nouns[said]}?", "yes/no", (answer,)),
        ]
    return Questions(
        collection.name, tuple(asked), partial(readable, collection.image),
        collection.digest, groups=dict(enumerate(collection.groups.tolist())),
    )  # fmt: skip


def _dice(collection: Collection, rows: list[int], seed: int) -> Int[np.ndarray, "rows 2"]:
    """Two random numbers a picture, which depend on nothing but the picture and the seed."""
    return np.array([
        [chance.secret(seed, collection[row].key, draw) >> 8 for draw in range(2)] for row in rows
    ])  # fmt: skip
