"""Runs stale chapters by Snakemake, and follows them by the files that they write."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from towers import files
from towers.report.chapters import ERROR, Chapter, last_words, log_of

LOOK = 0.5
"""Seconds between two looks."""


def follow(
    chapters: Sequence[Chapter],
    first: Sequence[str],
    root: Path,
    scale: str,
    jobs: int,
) -> Iterator[None]:
    """Run chapters, each after those it needs.

    Args:
        chapters: to run; their state, time and cause of failure are kept up to date.
        first: names of those that are to run before all others.
        root: the checkout.
        scale: of the runs.
        jobs: chapters at a time.

    Yields:
        Nothing, twice a second, and once more when every chapter has ended.
    """
    for chapter in chapters:
        _mark(chapter, root, scale).unlink(missing_ok=True)
        log_of(chapter.name, scale, root).unlink(missing_ok=True)
    log = root / f"_build/logs/{scale}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--nolock", "--keep-going"]
    command += ["--rerun-incomplete", "--cores", str(jobs), "--config", f"scale={scale}"]
    command += [f"chapters={' '.join(chapter.name for chapter in chapters)}"]
    if first:
        command += ["--prioritize", *(f"_build/ran/{scale}/{name}" for name in first)]
    environment = _environment(min(jobs, len(chapters)))
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, cwd=root, stdout=sink, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
    seen: dict[str, float] = {}
    try:
        while process.poll() is None:
            time.sleep(LOOK)
            for chapter in chapters:
                _look(chapter, seen, root, scale)
            _skip(chapters)
            yield
    finally:
        if process.poll() is None:  # its whole group, or it would wait for its chapters
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    _settle(chapters, seen, root, scale, log)
    yield


def _environment(at_once: int) -> dict[str, str]:
    """Our environment, with our commands on the path and the cores divided among the chapters."""
    bins = Path(sys.executable).parent
    threads = max(1, (os.cpu_count() or 1) // at_once)
    path = f"{bins}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": str(threads)}


def _mark(chapter: Chapter, root: Path, scale: str) -> Path:
    return root / f"_build/ran/{scale}/{chapter.name}"


def _look(chapter: Chapter, seen: dict[str, float], root: Path, scale: str) -> None:
    """Update a chapter from its mark and its log; `seen` holds when each log first appeared."""
    log = log_of(chapter.name, scale, root)
    if chapter.state in ("done", "failed") or not log.exists():
        return
    now = time.monotonic()
    chapter.spent = now - seen.setdefault(chapter.name, now)
    chapter.state = "running"
    words = last_words(log)
    if _mark(chapter, root, scale).exists():
        chapter.state = "done"
    elif words.startswith(ERROR):
        chapter.state, chapter.cause = "failed", words.removeprefix(ERROR)


def _settle(
    chapters: Sequence[Chapter], seen: dict[str, float], root: Path, scale: str, log: Path
) -> None:
    """Give every chapter its final state, once Snakemake has ended."""
    for chapter in chapters:
        _look(chapter, seen, root, scale)
        if chapter.state == "running":
            chapter.state = "failed"
            chapter.cause = f"{chapter.name} ({scale}) ended without a word; was memory short?"
            with log_of(chapter.name, scale, root).open("a") as output:
                output.write(f"{ERROR}{chapter.cause}\n")  # for the chapter's page
    _skip(chapters)
    for chapter in chapters:
        if chapter.state == "waiting":
            chapter.state = "skipped"
            chapter.cause = f"Snakemake stopped before it; its log is {files.shown(log)}"


def _skip(chapters: Sequence[Chapter]) -> None:
    """Skip chapters that need one that failed or was skipped."""
    for _ in chapters:  # as often as needs can follow on each other
        lost = {chapter.name for chapter in chapters if chapter.state in ("failed", "skipped")}
        for chapter in chapters:
            needs = [need for need in chapter.needs if need in lost]
            if chapter.state == "waiting" and needs:
                chapter.state, chapter.cause = "skipped", f"it needs {', '.join(needs)}"
