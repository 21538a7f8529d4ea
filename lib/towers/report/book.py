"""`towers report`: runs the stale experiments, then builds the book from all results."""

import contextlib
import os
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
    last_seconds,
    log_of,
    seconds_left,
    span,
    waiting,
)
from towers.report.html import Build, ReportError, first_page, in_reading_order, is_current

ENDED = ("done", "failed", "skipped")
STATES = ("waiting", "running", *ENDED)
LONG = 300.0
"""With more seconds left than this, first pages replace older ones while chapters still run."""


def build(
    scale: str = "laptop", part: str | None = None, jobs: int = 2, force: bool = False
) -> Path:
    """Run every stale experiment, then build the book from all that ran.

    The book is built whatever fails: an experiment that fails or stalls is named, the others go
    on, and its page says what happened. First pages are built as soon as the first part has run, if
    there are none yet or much is left to run.

    Args:
        scale: the scale to run and to show.
        part: only experiments of this part are run; other pages show their last results.
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
    chapters = waiting(map(catalogue.get, stale), scale)
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
    _say(_account([catalogue[name] for name in chosen], chapters, scale, jobs))
    problems = [*filter(None, [_losses(len(chosen), chapters), complaint])]
    if problems:
        raise ReportError(f"{'; '.join(problems)}; the book is {files.shown(first_page(root))}")
    return first_page(root)


def _outlook(count: int, chapters: Sequence[Chapter], jobs: int) -> str:
    """The opening line: how many chapters are to run, and how long that will take."""
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
    """Show progress until all chapters have ended; build the first pages in between."""
    start, reported = time.monotonic(), set()
    with (
        tqdm(
            total=1.0, bar_format="|{bar:10}| {desc}", leave=False, dynamic_ncols=True, disable=None
        ) as bar,
        contextlib.closing(_FirstPages(root, scale)) as first_pages,
    ):
        for _ in looks:
            for chapter in chapters:
                if chapter.state in ENDED and chapter.name not in reported:
                    reported.add(chapter.name)
                    _say(_ending(chapter, scale))
            spent, left = time.monotonic() - start, seconds_left(chapters, jobs)
            if not any(c.name in opening and c.state not in ENDED for c in chapters):
                first_pages.look(left)
            bar.n = spent / (spent + left)
            bar.set_description_str(_standing(chapters, spent, left))


def _standing(chapters: Sequence[Chapter], spent: float, left: float) -> str:
    """The line beside the progress bar; a narrow terminal cuts its end."""
    names = {state: [c.name for c in chapters if c.state == state] for state in STATES}
    failed = f", {len(names['failed'])} failed" if names["failed"] else ""
    clock = tqdm.format_interval(spent)
    return (
        f"{len(names['done'])}/{len(chapters)} chapters{failed}, {clock}, "
        f"about {span(left)} left: {', '.join(names['running'])}"
    )


class _FirstPages:
    """A first build of the book, while chapters still run; a failure is only a warning."""

    def __init__(self, root: Path, scale: str):
        self.root, self.scale = root, scale
        self.due = True
        self.build: Build | None = None

    def look(self, left: float) -> None:
        """Start the build if enough seconds are left, or publish it when it has ended."""
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
        except Exception as error:  # the last build will report what is wrong
            _say(f"warning: the first pages could not be built: {error}")

    def close(self) -> None:
        """Stop the build: that of the whole book follows."""
        if self.build:
            self.build.stop()


def _ending(chapter: Chapter, scale: str) -> str:
    """How a chapter ended, and what to do."""
    if chapter.state == "done":
        return f"{chapter.name}: done in {span(chapter.spent)}"
    again = f"towers run {chapter.name} --scale {scale}"
    if chapter.state == "skipped":
        return f"{chapter.name}: skipped, {chapter.cause}; then `{again}`"
    cause = chapter.cause.removeprefix(f"{chapter.name} ({scale}) failed in ")
    log = files.shown(log_of(chapter.name, scale))
    return f"{chapter.name}: failed, {cause}; its output is in {log}, `{again}` tries again"


def _account(
    chosen: Sequence[experiments.Experiment],
    chapters: Sequence[Chapter],
    scale: str,
    jobs: int,
) -> str:
    """A table of the time that each chapter used and of its budget; below it, what is missing."""
    ran = {chapter.name: chapter for chapter in chapters}
    rows, used, budgets = [("CHAPTER", "STATE", "USED", "BUDGET", "")], [], []
    for experiment in chosen:
        chapter, seconds = ran.get(experiment.name), last_seconds(experiment, scale)
        state = chapter.state if chapter else "fresh"
        if state == "failed":
            seconds = chapter.spent
        budgets.append(60 * experiment.minutes[scale])
        over = "over" if (seconds or 0) > budgets[-1] else ""
        shown = "-" if seconds is None else span(seconds)
        rows.append((experiment.name, state, shown, span(budgets[-1]), over))
        used.append(Chapter(experiment.name, seconds or 0.0, experiment.needs))
    total, cores = sum(chapter.expected for chapter in used), os.cpu_count()
    rows.append(("all", "", span(total), span(sum(budgets)), "over" * (total > sum(budgets))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.append(f"{jobs} at a time on {cores} cores: {span(seconds_left(used, jobs))} for all")
    lost = [chapter for chapter in chapters if chapter.state in ("failed", "skipped")]
    return "\n".join([*lines, *(_ending(chapter, scale) for chapter in lost)])


def _losses(count: int, chapters: Sequence[Chapter]) -> str | None:
    """The chapters without a new result, as part of an error; None if all have one."""
    words = []
    for state in ("failed", "skipped"):
        names = [chapter.name for chapter in chapters if chapter.state == state]
        if names:
            words.append(f"{len(names)} {state} ({', '.join(names)})")
    return f"of {count} chapters {', '.join(words)}" if words else None


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
