"""Pairs of texts to train on beside images and their captions, by name.

The names are::

    translations:COLLECTION     captions of one item in two languages
    captions:COLLECTION         two captions of one item in one language
    sentences:PATH              two neighbouring sentences: a file of C4's layout (.json, .jsonl:
                                lines of JSON with "text") or of plain text (.txt: a paragraph a
                                line), or a folder of such files
    news                        the same of 300 articles of news that come with a package (gensim)
    parallel:PATH,PATH          lines of the same number in two files, as WMT has them
    backtranslation:PATH        a text and its back-translation, in two columns apart by a tab
    dropout:SOURCE              the first text of a pair of SOURCE, and the same without a fifth of
                                its words

Source: Tschannen et al. 2023, sections 3 and 4.1, Table 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int, UInt64

from towers import data, files
from towers.data import sources
from towers.training.errors import TrainingError
from towers.training.lines import Places, places
from towers.training.order import Stretches, drawn, key

DROPPED = 0.2
"""Share of the words that word dropout leaves out, on average; at least one stays."""

NEWS = "lee_background.cor"
"""The file of `news`: an article a line (Lee et al. 2005)."""
JSON, PLAIN = (".json", ".jsonl"), (".txt",)
_LANGUAGE, _FIRST, _SECOND, _KEPT = (
    key(word) for word in ("language", "first text", "second text", "kept word")
)


class TextPairs(Protocol):
    """A source of pairs of texts; it travels to the processes that read.

    Attributes:
        blocks: lengths of the stretches that lie together; their sum is the length.
        digest: names the content.
    """

    blocks: tuple[int, ...]
    digest: str

    def __len__(self) -> int: ...

    def pair(self, row: int, pick: int) -> tuple[str, str]: ...


@dataclass(frozen=True, eq=False)
class CaptionPairs:
    """Two captions of one item.

    Attributes:
        collection: each item of it has two such captions.
        languages: of the captions.
        across: whether the two are of different languages, or else of the same one.
    """

    collection: data.Collection
    languages: tuple[str, ...]
    across: bool

    @property
    def blocks(self) -> tuple[int, ...]:
        """All items lie together."""
        return (len(self.collection),)

    @property
    def digest(self) -> str:
        """SHA-256 over the collection's digest, the languages and the kind."""
        parts = (self.collection.digest, str(self.across), *self.languages)
        return files.sha256("\0".join(parts).encode())

    def __len__(self) -> int:
        return len(self.collection)

    def pair(self, row: int, pick: int) -> tuple[str, str]:
        """Two captions of an item, drawn by a pick; each language, then each caption, is as likely
        as the others.
        """
        groups = _groups(self.collection[row], self.languages, self.across)
        number = drawn(pick, _LANGUAGE, len(groups))
        one = groups[number]
        if self.across:
            rest = groups[:number] + groups[number + 1 :]
            other = rest[drawn(pick, key(_LANGUAGE, 2), len(rest))]
            return one[drawn(pick, _FIRST, len(one))], other[drawn(pick, _SECOND, len(other))]
        first = drawn(pick, _FIRST, len(one))
        second = (first + 1 + drawn(pick, _SECOND, len(one) - 1)) % len(one)
        return one[first], one[second]


@dataclass(frozen=True)
class Dropout:
    """The first texts of another source, each with itself without some of its words.

    Attributes:
        source: of the texts.
    """

    source: TextPairs

    @property
    def blocks(self) -> tuple[int, ...]:
        """Those of the source."""
        return self.source.blocks

    @property
    def digest(self) -> str:
        """SHA-256 over the source's digest and the share that is dropped."""
        return files.sha256(f"{self.source.digest} dropout {DROPPED}".encode())

    def __len__(self) -> int:
        return len(self.source)

    def pair(self, row: int, pick: int) -> tuple[str, str]:
        """A text, and what is left of it."""
        text, _ = self.source.pair(row, pick)
        words = text.split()
        kept = [
            word for place, word in enumerate(words)
            if drawn(pick, key(_KEPT, place), 1000) >= 1000 * DROPPED
        ]  # fmt: skip
        return text, " ".join(kept or words[:1])


class Joined(Stretches[TextPairs]):
    """Several sources of pairs, one after the other."""

    def pair(self, row: int, pick: int) -> tuple[str, str]:
        """The pair of a row of all parts; of several sentences, the two that a pick draws."""
        part, row = self.home(row)
        return part.pair(row, pick)


def read(
    source: TextPairs, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]
) -> tuple[list[str], list[str]]:
    """First and second texts of some rows."""
    pairs = [source.pair(*each) for each in zip(rows.tolist(), picks.tolist(), strict=True)]
    return [first for first, _ in pairs], [second for _, second in pairs]


def load(names: Sequence[str], languages: tuple[str, ...]) -> TextPairs:
    """The pairs of some sources.

    Args:
        names: as the module's text has them.
        languages: of captions of collections.

    Raises:
        ValueError: an unknown name, or a source that cannot be read or has no pair.
    """
    parts = [_named(name, languages) for name in names]
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _named(name: str, languages: tuple[str, ...]) -> TextPairs:
    kind, _, rest = name.partition(":")
    if kind == "dropout":
        return Dropout(_named(rest, languages))
    if kind in ("translations", "captions") and rest:
        return _captions(name, rest, languages, kind == "translations")
    if name == "news":
        return Joined((_sentences(sources.fetch("word-pairs") / NEWS),))
    paths = tuple(files.user_path(part) for part in rest.split(",") if part)
    if kind == "sentences" and len(paths) == 1:
        return Joined(tuple(_sentences(path) for path in _files(paths[0])))
    if kind == "parallel" and len(paths) == 2:
        return Joined((places(paths, "parallel"),))
    if kind == "backtranslation" and len(paths) == 1:
        return Joined((places(paths, "columns"),))
    raise TrainingError(
        "expected pairs of texts as translations:COLLECTION, captions:COLLECTION, sentences:PATH, "
        f"news, parallel:PATH,PATH, backtranslation:PATH or dropout:SOURCE, got {name!r}"
    )


def _captions(name: str, rest: str, languages: tuple[str, ...], across: bool) -> CaptionPairs:
    loaded = data.load(rest)
    kept = loaded.where(predicate=lambda item: bool(_groups(item, languages, across)))
    if not len(kept):
        wanted = "captions in two" if across else "two captions in one"
        raise TrainingError(
            f"expected items with {wanted} of {', '.join(languages)} for {name!r}, got none; name "
            "more languages or another collection"
        )
    return CaptionPairs(kept, languages, across)


def _groups(item: data.Item, languages: tuple[str, ...], across: bool) -> list[tuple[str, ...]]:
    """Captions by language, of which a pair can be taken; none where there is no pair."""
    groups = [item.captions[code] for code in languages if item.captions.get(code)]
    if across:
        return groups if len(groups) > 1 else []
    return [group for group in groups if len(group) > 1]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix in JSON + PLAIN)
    if not found:
        raise TrainingError(f"expected files {', '.join(JSON + PLAIN)} in {path}, got none")
    return found


def _sentences(path: Path) -> Places:
    return places((path,), "documents" if path.suffix in JSON else "paragraphs")
