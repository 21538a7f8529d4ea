"""Tasks about sentences that come with packages, in the form of GLUE's.

========  ==================================================================  =========  =========
name      question                                                            like       metric
========  ==================================================================  =========  =========
movies    is this sentence of a film review positive?                         SST-2      accuracy
next      does the second sentence follow the first in its article?           QNLI, RTE  accuracy
order     is this sentence as it was printed, or were two words swapped?      CoLA       Matthews
titles    are these the title and the keywords of one drawing?                MRPC, QQP  F1
tweets    how positive is this short message, from -4 to 4?                   STS-B      Spearman
========  ==================================================================  =========  =========

The sentences of films, articles and messages, and what people thought of them, are those that
VADER was made with (package vaderSentiment); titles and keywords are Open Clip Art's. `rated_pairs`
has WordSim-353 and SimLex-999 (package gensim). What was not in the data is drawn from a fixed
seed: which pairs are torn apart (half of them), and which words change places.

Source: Tschannen et al. 2023, section 4.2 (the tasks of GLUE); Hutto and Gilbert 2014.
"""

import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from towers import files
from towers.data import clipart, sources
from towers.data.errors import DataError
from towers.data.intake import text_lines

SEPARATOR = "[SEP]"
"""Stands before the second sentence of a page, as in the paper."""
METRICS = ("accuracy", "F1", "Matthews", "Spearman")
"""What tasks are scored by."""
NEUTRAL = 0.5
"""Mean rating, from -4 to 4, up to which a film sentence is neither positive nor negative."""
TESTED = 0.25
"""Share of the sentences, or of the articles, that is kept for testing."""
WORD_PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
"""Lists of rated pairs of words, and their files."""
_PLAIN = re.compile(r"[A-Za-z]+")

Numbers = Int[np.ndarray, " items"] | Float[np.ndarray, " items"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Sentences, or pairs of them, with the right answers.

    Attributes:
        texts: the sentences, or the first ones.
        seconds: the second ones; empty where a task is about single sentences.
        targets: class numbers, or scores.
        groups: which examples belong together, for intervals.
    """

    texts: tuple[str, ...]
    seconds: tuple[str, ...]
    targets: Numbers
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.texts), len(self.targets), len(self.groups)}
        if len(lengths | ({len(self.seconds)} if self.seconds else set())) != 1 or not self.texts:
            raise DataError(
                f"expected as many targets as texts, at least one, got {len(self.targets)} for "
                f"{len(self.texts)} first and {len(self.seconds)} second ones"
            )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def pages(self) -> list[str]:
        """One text each: both sentences, with [SEP] to mark the start of the second."""
        if not self.seconds:
            return list(self.texts)
        pairs = zip(self.texts, self.seconds, strict=True)
        return [f"{first} {SEPARATOR} {second}" for first, second in pairs]

    def take(self, count: int, seed: int = 0) -> "Examples":
        """At most so many of them, drawn by a seed, in their order."""
        if count >= len(self):
            return self
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return self._rows(rows)

    def _rows(self, rows: Sequence[int]) -> "Examples":
        def chosen(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[row] for row in rows) if values else ()

        return Examples(chosen(self.texts), chosen(self.seconds),
                        self.targets[np.asarray(rows, int)], chosen(self.groups))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Task:
    """What to learn from, and what to answer.

    Attributes:
        name: of the task.
        metric: of `METRICS`.
        classes: how many; 0 where the answer is a score.
        train: to learn from.
        tests: to answer, by the name of the column of a table; mostly one, MNLI has two.
    """

    name: str
    metric: str
    classes: int
    train: Examples
    tests: Mapping[str, Examples]

    def take(self, train: int, test: int, seed: int = 0) -> "Task":
        """At most so many examples of each part, drawn by a seed."""
        tests = {name: part.take(test, seed) for name, part in self.tests.items()}
        return Task(self.name, self.metric, self.classes, self.train.take(train, seed), tests)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all sentences and answers."""
        parts = [self.train, *self.tests.values()]
        content = [[part.pages, part.targets.tolist()] for part in parts]
        return files.sha256(json.dumps([self.name, self.metric, content]).encode())


def load(name: str) -> Task:
    """The packaged task of a name.

    Raises:
        DataError: no such task, or its files cannot be had.
    """
    if name not in TASKS:
        raise DataError(f"expected a task among {', '.join(TASKS)}; got {name!r}")
    return TASKS[name]()


def rated_pairs(name: str) -> Examples:
    """Pairs of words with the mean of people's ratings of how alike (or related) they are.

    Args:
        name: of `WORD_PAIRS`: "wordsim353" (353 pairs, relatedness), "simlex999" (999 pairs,
            likeness); both from 0 to 10.

    Raises:
        DataError: no such list, or its file cannot be had.
    """
    if name not in WORD_PAIRS:
        raise DataError(f"expected rated pairs of {', '.join(WORD_PAIRS)}; got {name!r}")
    path = sources.fetch("word-pairs") / WORD_PAIRS[name]
    lines = text_lines(path.read_text(encoding="utf-8"))
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    firsts, seconds, ratings = zip(*rows, strict=True)
    numbers = tuple(map(str, range(len(rows))))
    return Examples(firsts, seconds, np.array(ratings, dtype=float), numbers)


@dataclass(frozen=True)
class _Rated:
    """A sentence of VADER's: its article, where it stands there, and its mean rating."""

    article: str
    place: int
    rating: float
    text: str


def _rated(name: str) -> list[_Rated]:
    """Sentences of one of VADER's files in their order, each text once."""
    path = sources.fetch("rated-sentences") / "hutto_ICWSM_2014.tar.gz"
    with tarfile.open(path) as archive:
        content = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read()
    sentences, seen = [], set()
    for line in text_lines(content.decode("utf-8-sig")):
        number, rating, text = line.split("\t")
        text = " ".join(text.replace("&amp;", "&").split())
        article, _, place = number.rpartition("_")
        if text not in seen:
            sentences.append(_Rated(article or number, int(place), float(rating), text))
        seen.add(text)
    return sentences


def _tested(key: str) -> bool:
    """Whether what has this key is kept for testing, by its hash."""
    return int(files.sha256(key.encode())[:8], 16) < TESTED * 16**8


def _task(
    name: str, metric: str, classes: int, rows: Sequence[tuple[str, str, float, str]]
) -> Task:
    """A task from rows of first text, second text, target and group; groups stay whole."""
    parts = []
    for tested in (False, True):
        texts, seconds, targets, groups = zip(
            *(row for row in rows if _tested(row[3]) == tested), strict=True
        )
        numbers = np.array(targets, dtype=int if classes else float)
        parts.append(Examples(texts, seconds if any(seconds) else (), numbers, groups))
    return Task(name, metric, classes, parts[0], {name: parts[1]})


def _movies() -> Task:
    rated = [s for s in _rated("movieReviewSnippets") if abs(s.rating) > NEUTRAL]
    rows = [(s.text, "", s.rating > 0, s.text) for s in rated]
    return _task("movies", "accuracy", 2, rows)


def _tweets() -> Task:
    rows = [(sentence.text, "", sentence.rating, sentence.text) for sentence in _rated("tweets")]
    return _task("tweets", "Spearman", 0, rows)


def _next() -> Task:
    """Neighbours in an editorial; half of them with another article's second sentence."""
    sentences = _rated("nytEditorialSnippets")
    pairs = [
        (first, second) for first, second in pairwise(sentences)
        if (first.article, first.place + 1) == (second.article, second.place)
    ]  # fmt: skip
    rows = []
    for tested in (False, True):
        part = [pair for pair in pairs if _tested(pair[0].article) == tested]
        seconds, targets = _torn([s.text for _, s in part], [s.article for _, s in part])
        rows += [
            (first.text, second, target, first.article)
            for (first, _), second, target in zip(part, seconds, targets, strict=True)
        ]
    return _task("next", "accuracy", 2, rows)


def _order() -> Task:
    """Editorials' sentences; in half of them two plain words, side by side, have changed places."""
    rng, rows = np.random.default_rng(0), []
    for sentence in _rated("nytEditorialSnippets"):
        words = sentence.text.split()
        places = [
            place for place in range(1, len(words) - 2)
            if _PLAIN.fullmatch(words[place]) and _PLAIN.fullmatch(words[place + 1])
            and words[place].lower() != words[place + 1].lower()
        ]  # fmt: skip
        if not places:
            continue
        place, kept = int(rng.choice(places)), bool(rng.integers(2))
        if not kept:
            words[place : place + 2] = words[place + 1], words[place]
        rows.append((" ".join(words), "", kept, sentence.article))
    return _task("order", "Matthews", 2, rows)


def _titles() -> Task:
    """First and last caption of a drawing; in half of the pairs the last is another drawing's."""
    parts = {}
    for part in ("train", "test"):
        said = [item.captions.get("en", ()) for item in clipart.clipart().split(part)]
        said = [texts for texts in said if len(texts) > 1]
        firsts, lasts = [texts[0] for texts in said], [texts[-1] for texts in said]
        seconds, targets = _torn(lasts, [str(row) for row in range(len(said))])
        numbers = tuple(map(str, range(len(said))))
        parts[part] = Examples(tuple(firsts), tuple(seconds), np.array(targets), numbers)
    return Task("titles", "F1", 2, parts["train"], {"titles": parts["test"]})


def _torn(seconds: Sequence[str], homes: Sequence[str]) -> tuple[list[str], list[int]]:
    """Second texts, half of them exchanged for one from another home, and which stayed (1)."""
    rng = np.random.default_rng(0)
    kept = rng.permutation(len(seconds)) < len(seconds) / 2
    texts = []
    for row, stays in enumerate(kept):
        other = row
        while not stays and homes[other] == homes[row]:
            other = int(rng.integers(len(seconds)))
        texts.append(seconds[other])
    return texts, kept.astype(int).tolist()


TASKS: dict[str, Callable[[], Task]] = {
    "movies": _movies, "next": _next, "order": _order, "titles": _titles, "tweets": _tweets,
}  # fmt: skip
"""Packaged tasks by name."""
