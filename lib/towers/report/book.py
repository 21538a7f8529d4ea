"""From stale experiments to a book: run what can be run, then build from all that ran."""

import contextlib
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from towers import experiments, files
from towers.progress import tqdm
from towers.report import graph
from towers.report.assembly import assemble
from towers.report.chapters import (
    Chapter,
    expected_seconds,
    last_seconds,
    log_of,
    seconds_left,
    span,
)
from towers.report.html import Build, ReportError, first_page, in_reading_order, is_current

ENDED = ("done", "failed", "skipped")
STATES = ("waiting", "running", *ENDED)
LONG = 300.0
"""Seconds left from which older pages, of another scale or a report that was stopped, make way."""


def build(
    scale: str = "laptop", part: str | None = None, jobs: int = 2, force: bool = False
) -> Path:
    """Run every stale experiment, then build the book from all that ran.

    The book is built whatever fails: an experiment that fails or stalls is named, the others go
    on, and its page says what happened. Pages are built early, as soon as the first part has run,
    where there are none yet or those that are there would stay for long.

    Args:
        scale: the scale to run and to show.
        part: only experiments of this part are run; pages of other parts show what they have.
        jobs: experiments at a time.
        force: run experiments and build the book even if nothing has changed.

    Returns:
        The book's first page.

    Raises:
        ReportError: an experiment or the strict book build failed; the book is there all the same.
        ValueError: there is no such part.
    """
    root = files.repo_root()
    catalogue = experiments.find(root)
    chosen = [name for name in catalogue if part in (None, name.split("/")[0])]
    if not chosen:
        parts = sorted({name.split("/")[0] for name in catalogue})
        raise ValueError(f"expected a part among {', '.join(parts)}, got {part!r}")
    chosen = [name for name in in_reading_order(root) if name in chosen]
    stale = chosen if force else [*experiments.stale(map(catalogue.get, chosen), scale)]
    chapters = [
        Chapter(name, expected_seconds(catalogue[name], scale), catalogue[name].needs)
        for name in stale
    ]
    _say(_outlook(len(chosen), chapters, jobs))
    if chapters:
        opening = [name for name in stale if name.split("/")[0] == chosen[0].split("/")[0]]
        looks = graph.follow(chapters, opening, root, scale, jobs)
        with contextlib.closing(looks):
            _watch(looks, chapters, opening, root, scale, jobs)
    assemble(scale, root)
    complaint = None
    if force or not is_current(root, scale):
        _say("building the book ...")
        complaint = Build(root, scale).publish()
    _say(_account([catalogue[name] for name in chosen], chapters, scale))
    problems = [*filter(None, [_losses(len(chosen), chapters), complaint])]
    if problems:
        raise ReportError(f"{'; '.join(problems)}; the book is {files.shown(first_page(root))}")
    return first_page(root)


def _outlook(count: int, chapters: Sequence[Chapter], jobs: int) -> str:
    """How much is left to run."""
    line = f"{count - len(chapters)} of {count} chapters are up to date"
    if not chapters:
        return line
    names, left = ", ".join(c.name for c in chapters), span(seconds_left(chapters, jobs))
    return f"{line}; {len(chapters)} to run: {names}; about {left}"


def _watch(
    looks: Iterable[None],
    chapters: Sequence[Chapter],
    opening: Sequence[str],
    root: Path,
    scale: str,
    jobs: int,
) -> None:
    """Show where the chapters stand until all have ended; build the first pages in between."""
    start, told = time.monotonic(), set()
    with (
        tqdm(
            total=1.0, bar_format="|{bar:10}| {desc}", leave=False, dynamic_ncols=True, disable=None
        ) as bar,
        contextlib.closing(_FirstPages(root, scale)) as first_pages,
    ):
        for _ in looks:
            for chapter in chapters:
                if chapter.state in ENDED and chapter.name not in told:
                    told.add(chapter.name)
                    _say(_ending(chapter, scale))
            spent, left = time.monotonic() - start, seconds_left(chapters, jobs)
            if not any(c.name in opening and c.state not in ENDED for c in chapters):
                first_pages.look(left)
            bar.n = spent / (spent + left)
            bar.set_description_str(_standing(chapters, spent, left))


def _standing(chapters: Sequence[Chapter], spent: float, left: float) -> str:
    """Where the chapters stand, in a line that may be cut at its end."""
    names = {state: [c.name for c in chapters if c.state == state] for state in STATES}
    failed = f", {len(names['failed'])} failed" if names["failed"] else ""
    clock = tqdm.format_interval(spent)
    return (
        f"{len(names['done'])}/{len(chapters)} chapters{failed}, {clock}, "
        f"about {span(left)} left: {', '.join(names['running'])}"
    )


class _FirstPages:
    """A first book, built while chapters still run; it may fail."""

    def __init__(self, root: Path, scale: str):
        self.root, self.scale = root, scale
        self.due = True
        self.build: Build | None = None

    def look(self, left: float) -> None:
        """Start to build if the seconds left are worth it, or show what has been built."""
        try:
            if self.due and (left > LONG or not first_page(self.root).is_file()):
                self.due = False
                assemble(self.scale, self.root)
                self.build = Build(self.root, self.scale)
            elif self.build and not self.build.running:
                build, self.build = self.build, None
                complaint = build.publish()
                _say(f"first pages: {files.shown(first_page(self.root))}; the others follow")
                if complaint:
                    _say(f"warning: {complaint}")
        except Exception as error:  # what is wrong is said by the last build, with all the pages
            _say(f"warning: the first pages could not be built: {error}")

    def close(self) -> None:
        """End it: the whole book is built now."""
        if self.build:
            self.build.stop()


def _ending(chapter: Chapter, scale: str) -> str:
    """What became of a chapter, and what to do."""
    if chapter.state == "done":
        return f"{chapter.name}: done in {span(chapter.spent)}"
    again = f"towers run {chapter.name} --scale {scale}"
    if chapter.state == "skipped":
        return f"{chapter.name}: skipped, {chapter.cause}; then `{again}`"
    cause = chapter.cause.removeprefix(f"{chapter.name} ({scale}) failed in ")
    log = files.shown(log_of(chapter.name, scale))
    return f"{chapter.name}: failed, {cause}; its output is in {log}, `{again}` tries again"


def _account(
    chosen: Sequence[experiments.Experiment], chapters: Sequence[Chapter], scale: str
) -> str:
    """What each chapter has used of its budget, and again what is missing."""
    ran = {chapter.name: chapter for chapter in chapters}
    rows = [("CHAPTER", "STATE", "USED", "BUDGET")]
    for experiment in chosen:
        chapter, last = ran.get(experiment.name), last_seconds(experiment, scale)
        state = chapter.state if chapter else "fresh"
        seconds = chapter.spent if chapter and state == "failed" else last
        budget = span(60 * experiment.minutes[scale])
        rows.append((experiment.name, state, "-" if seconds is None else span(seconds), budget))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lost = [chapter for chapter in chapters if chapter.state in ("failed", "skipped")]
    return "\n".join([*lines, *(_ending(chapter, scale) for chapter in lost)])


def _losses(count: int, chapters: Sequence[Chapter]) -> str | None:
    """Which chapters have no new result; None if all have."""
    words = []
    for state in ("failed", "skipped"):
        names = [chapter.name for chapter in chapters if chapter.state == state]
        if names:
            words.append(f"{len(names)} {state} ({', '.join(names)})")
    return f"of {count} chapters {', '.join(words)}" if words else None


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
