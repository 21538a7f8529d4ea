"""Text files whose lines are found at random: an index of offsets, made once and kept in the cache.

A file of any size is read once from end to end; from then on a line costs one seek. What is indexed
are the places where a pair of texts can be taken: a document of two sentences or more, a line with
two columns, or two lines of the same number in two files. Lines that ought to have one and do not
are counted; with too many of them the file is refused.
"""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from towers import files
from towers.data.intake import text_lines
from towers.data.reports import Report, too_many
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.order import drawn, key

VERSION = 2
"""Raise it when other places are found, or other texts at a place."""

_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？।]+|$)")
_WHICH = key("sentence")
_END = re.compile(rb"\r\n|\r|\n")

Texts = tuple[str, str]
Parse = Callable[[list[bytes]], list[str]]


def sentences(text: str) -> list[str]:
    """The sentences of a text, by a plain rule: a line or a closing mark before a space ends one.

    So "Dr. Who" is cut in two; the paper does not say how its corpus was split.
    """
    found = (each.strip() for line in text_lines(text) for each in _SENTENCE.findall(line))
    return [each for each in found if each]


@dataclass(frozen=True)
class Places:
    """Where pairs stand in one file, or in two files side by side.

    Attributes:
        paths: one or two.
        kind: of `KINDS`.
        offsets: of each place, in each file.
        digest: SHA-256 of the files' content and of how they are read.
    """

    paths: tuple[Path, ...]
    kind: str
    offsets: Int[np.ndarray, "places files"]
    digest: str

    @property
    def blocks(self) -> tuple[int, ...]:
        """All places lie together."""
        return (len(self),)

    def __len__(self) -> int:
        return len(self.offsets)

    def pair(self, place: int, pick: int) -> Texts:
        """The pair of a place; of several, as neighbouring sentences, the one that `pick` draws.

        Raises:
            TrainingFailed: the file changed while the run went on.
        """
        lines = []
        for path, offset in zip(self.paths, self.offsets[place].tolist(), strict=True):
            with path.open("rb") as file:
                file.seek(offset)
                lines.append(_END.split(file.readline(), maxsplit=1)[0])
        try:
            texts = KINDS[self.kind](lines)
        except _BadLine:
            texts = []
        if len(texts) < 2:
            raise TrainingFailed(
                f"expected texts at byte {offset} of {files.shown(path)} as when it was indexed, "
                "got others; leave files alone while a run reads them"
            )
        first = drawn(pick, _WHICH, len(texts) - 1) if self.kind in SPLIT else 0
        return texts[first], texts[first + 1]


def places(paths: tuple[Path, ...], kind: str) -> Places:
    """Where the pairs of some files stand, from the cache or found now.

    Args:
        paths: one file, or two whose lines belong together.
        kind: of `KINDS`.

    Raises:
        TrainingError: a file is missing or compressed, two files differ in their number of lines,
            too many lines are bad, or there is no pair.
    """
    about = json.dumps([VERSION, kind, *(_stated(path) for path in paths)])
    index = files.cache_home() / "lines" / f"{files.sha256(about.encode())[:32]}.npy"
    found = None
    with files.cache_lock(index):
        if not os.path.isfile(index):
            found = _indexed(paths, kind)
            _write(index, *found)
    try:
        offsets, digest, left_out = found or _read(index)
    except (ValueError, OSError, KeyError) as error:
        raise TrainingError(
            f"expected the index {files.shown(index)}, got {error}; remove it"
        ) from None
    if not len(offsets):
        raise TrainingError(
            f"expected {WANTED[kind]} in {', '.join(map(str, paths))}, got none; check its layout"
        )
    Report(len(offsets), left_out).say(", ".join(map(str, paths)))
    return Places(paths, kind, offsets, digest)


def _stated(path: Path) -> list:
    """What tells a file from another without reading it."""
    try:
        stat = path.stat()
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise TrainingError(f"expected a text file at {path}, got {error.strerror}") from None
    if compressed:
        raise TrainingError(f"expected plain text in {path}, got gzip; unpack it first")
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _indexed(paths: tuple[Path, ...], kind: str) -> tuple[np.ndarray, str, Counter]:
    digests = [hashlib.sha256(f"{VERSION} {kind}".encode()) for _ in paths]
    streams = [_lines(path, digest) for path, digest in zip(paths, digests, strict=True)]
    found, left_out = [], Counter()
    try:
        for lines in zip(*streams, strict=True):
            contents = [content for _, content in lines]
            try:
                texts = KINDS[kind](contents) if any(map(bytes.strip, contents)) else []
            except _BadLine as fault:
                left_out[str(fault)] += 1
                continue
            if len(texts) > 1:
                found.append([offset for offset, _ in lines])
    except ValueError:
        raise TrainingError(
            f"expected as many lines in {paths[0]} as in {paths[-1]}, got other numbers of them; "
            "give two files that belong together"
        ) from None
    report = Report(len(found), left_out)
    if too_many(left_out.total(), report.found):
        raise TrainingError(
            f"expected {WANTED[kind]} in {', '.join(map(str, paths))}, got "
            f"{left_out.total()} bad lines of {report.found} ({report.line()}); repair them"
        )
    digest = files.sha256("".join(each.hexdigest() for each in digests).encode())
    return np.array(found, dtype=np.int64).reshape(-1, len(paths)), digest, left_out


def _lines(path: Path, digest) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        offset = 0
        for stretch in file:  # to the next \\n; a lone \\r ends a line as well
            digest.update(stretch)
            start = 0
            for end in _END.finditer(stretch):
                yield offset + start, stretch[start : end.start()]
                start = end.end()
            if start < len(stretch):
                yield offset + start, stretch[start:]
            offset += len(stretch)


def _write(index: Path, offsets: np.ndarray, digest: str, left_out: Counter) -> None:
    content = io.BytesIO()
    np.save(content, offsets)
    about = {"digest": digest, "left_out": left_out}
    if files.keep(index.with_suffix(".json"), json.dumps(about)):
        files.keep(index, content.getvalue())


def _read(index: Path) -> tuple[np.ndarray, str, Counter]:
    about = json.loads(index.with_suffix(".json").read_text())
    return np.load(index, mmap_mode="r"), about["digest"], Counter(about["left_out"])


class _BadLine(ValueError):
    """A line that is not of its file's layout; the text is a reason to count."""


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _BadLine("not UTF-8") from None


def _document(lines: list[bytes]) -> list[str]:
    """Sentences of a line of JSON with "text", as C4 has them."""
    try:
        text = json.loads(_text(lines[0]))["text"]
    except _BadLine:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _BadLine('no JSON with "text"') from None
    if not isinstance(text, str):
        raise _BadLine('no JSON with "text"')
    return sentences(text)


def _paragraph(lines: list[bytes]) -> list[str]:
    return sentences(_text(lines[0]))


def _columns(lines: list[bytes]) -> list[str]:
    found = [part.strip() for part in _text(lines[0]).split("\t")]
    if len(found) != 2 or not all(found):
        raise _BadLine("not two columns")
    return found


def _parallel(lines: list[bytes]) -> list[str]:
    found = [_text(line).strip() for line in lines]
    if not all(found):
        raise _BadLine("empty on one side")
    return found


KINDS: dict[str, Parse] = {
    "documents": _document,
    "paragraphs": _paragraph,
    "columns": _columns,
    "parallel": _parallel,
}
"""How lines are read: what can be paired in them, less than two texts where nothing can."""

SPLIT = ("documents", "paragraphs")
"""Kinds whose places have several pairs, each of two neighbours."""

WANTED = {
    "documents": 'lines of JSON with a "text" of two sentences',
    "paragraphs": "lines of two sentences",
    "columns": "lines of two columns, apart by a tab",
    "parallel": "lines that are not empty in either file",
}
"""What a file is expected to have, in words."""
