"""Samples that a head is fine-tuned on: questions above their pictures, and tasks on sentences.

Questions are named by what they are about::

    scenes:PART?like=TEXT,TEXT                  questions about scenes; `like` as `of_scenes` has it
    COLLECTION?nouns=LABEL:NOUN,LABEL:NOUN      what a picture shows, see `of_classes`
    vqav2:PATH[train], vqav2:PATH[val]          VQAv2 from local files

Further options are those of the scenes; `hidden=question` or `hidden=picture`, what a model must do
without; and `held=true` for a tenth of the pictures, `held=false` for all others. Tasks are those
of `sentences`, and `glue:FOLDER/NAME` for one of GLUE's.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, UInt64

from towers import data, files, names
from towers.data import glue, scenes, sentences, vqav2
from towers.data import questions as asked
from towers.data.questions import Questions
from towers.data.sentences import Examples, Task
from towers.metrics.vqa import normalised
from towers.models.answering import Pages, frequent
from towers.training.samples import Items, Read

HELD = 0.1
"""Share of the pictures that are held out, to choose a learning rate on."""


@dataclass(frozen=True, eq=False)
class Labelled(Items):
    """Pages of questions with their answers as texts, or pages of sentences with their targets.

    Attributes:
        collection: the questions, or the sentences.
        images: pages of questions; of sentences the right answers, which stand in their place.
        said: the text of each: the answer to a question, `normalised`, or the page of sentences.
        digest: names the content.
    """

    collection: Questions | Examples
    images: Pages | np.ndarray
    said: list[str]
    digest: str

    def texts(self, row: int) -> list[str]:
        """The text of a row, alone."""
        return [self.said[row]]

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """What stands in the picture's place, and the text, of each row."""
        return Read(self.images[rows], [self.said[row] for row in rows], Counter())


def answered(name: str, size: int) -> Labelled:
    """Questions on pages of a size, without those whose answer is too rare to be a class.

    Raises:
        ValueError: as `questions`, or fewer than two answers.
    """
    whole = questions(name)
    said = [normalised(question.answer) for question in whole]
    kept = set(frequent(said))
    pairs = zip(whole, said, strict=True)
    part = replace(whole, asked=[question for question, answer in pairs if answer in kept])
    digest = files.sha256(f"{part.digest} {size}".encode())
    return Labelled(part, Pages(part, size), [one for one in said if one in kept], digest)


def sentences_of(name: str, most: int = 0, seed: int = 0) -> Labelled:
    """The sentences that a task is learnt from.

    Args:
        name: as `task` takes it.
        most: of them, drawn by the seed; 0: all.
        seed: of the draw.
    """
    whole = task(name)
    part = whole.train.take(most or len(whole.train), seed)
    return Labelled(part, part.targets, part.pages, replace(whole, train=part, tests={}).digest)


def questions(name: str) -> Questions:
    """The questions of a name; see the module's text for the grammar.

    Raises:
        ValueError: an unknown name or option, or questions that cannot be had.
    """
    parts = names.parse(name)
    known, options = _named.__kwdefaults__, parts.options.items()
    ours = {key: text for key, text in options if key in known}
    others = {key: text for key, text in options if key not in known}
    place = str(names.Name(parts.scheme, parts.place, others))
    return _named(place, **names.options(_named, names.Name(parts.scheme, parts.place, ours)))


def task(name: str) -> Task:
    """The task of a name: a packaged one, or one of GLUE's.

    Raises:
        DataError: no such task, or its files cannot be had.
    """
    if name.startswith("glue:"):
        return glue.glue(*name.removeprefix("glue:").rsplit("/", 1))
    return sentences.load(name)


def _named(
    place: str,
    *,
    like: tuple[str, ...] = ("*",),
    nouns: tuple[str, ...] = (),
    hidden: str = "",
    held: bool | None = None,
) -> Questions:
    if place.startswith("scenes:"):
        loaded = asked.of_scenes(scenes.from_name(place), like)
    elif place.startswith("vqav2:"):
        path, _, part = place.removeprefix("vqav2:").removesuffix("]").rpartition("[")
        loaded = vqav2.load(path, part)
    else:
        loaded = asked.of_classes(data.load(place), dict(one.split(":") for one in nouns))
    loaded = loaded.without(hidden)
    return loaded if held is None else loaded.parted(HELD)[held]
