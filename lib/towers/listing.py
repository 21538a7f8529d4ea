"""The texts of `towers list`, `towers data` and `towers doctor`."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from towers import experiments as catalogue
from towers import files
from towers.records import SCALES, RecordsError

PACKAGES = (
    "towers", "torch", "torchvision", "timm", "open_clip_torch", "transformers", "accelerate",
    "numpy", "scikit-learn", "pandas", "papermill", "ipykernel", "snakemake", "jupyter-book",
)  # fmt: skip
GAP = "  "
WIDTH = 80
"""Characters in a line of the list of experiments."""


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Rows as left-aligned columns under a header, one line a row.

    Args:
        rows: cells, shown as `str` shows them.
        header: one heading a column.
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(GAP.join(map(str.ljust, row, widths)).rstrip() for row in cells)


def experiments(scale: str = "laptop", results: Path | None = None, as_json: bool = False) -> str:
    """The experiments, one line each: name, last run at a scale, state, title.

    Args:
        scale: whose last run and state are shown.
        results: folder of all results; default: the checkout's.
        as_json: all fields and all scales, as JSON.

    Returns:
        A table with at most 80 characters a line, long texts cut; or JSON: a list of objects with
        the fields of the YAML and `runs`, which maps a scale to `started`, `wall_seconds`, `commit`
        and `stale` (null or the reason).
    """
    items = catalogue.find().values()
    if as_json:
        entries = [_entry(item, results) for item in items]
        return json.dumps(entries, indent=1, ensure_ascii=False)
    rows = [_row(item, scale, results) for item in items]
    header = ("NAME", f"LAST {scale.upper()} RUN", "STATE", "TITLE")
    columns = list(zip(header, *rows, strict=True))
    used = sum(max(map(len, column)) + len(GAP) for column in columns[:-1])
    rows = [(*row[:-1], _cut(row[-1], WIDTH - used)) for row in rows]
    return table(rows, header)


def _run(item: catalogue.Experiment, scale: str, results: Path | None) -> dict | None:
    """The last run at a scale, as plain values; None if there is none."""
    stale, run = catalogue.staleness(item, scale, results), None
    if stale == catalogue.NEVER:
        return None
    with contextlib.suppress(RecordsError):  # damaged, as `stale` says
        run = catalogue.last_run(item, scale, results)
    facts = {name: getattr(run, name, None) for name in ("started", "wall_seconds", "commit")}
    return facts | {"stale": stale}


def _entry(item: catalogue.Experiment, results: Path | None) -> dict:
    fields = ("name", "title", "question", "paper", "serves", "needs", "gpu", "minutes")
    runs = {scale: _run(item, scale, results) for scale in SCALES}
    return {name: getattr(item, name) for name in fields} | {
        "runs": {scale: run for scale, run in runs.items() if run}
    }


def _row(item: catalogue.Experiment, scale: str, results: Path | None) -> tuple[str, ...]:
    run = _run(item, scale, results)
    when, state = "-", "never run"
    if run:
        state = "fresh" if run["stale"] is None else f"stale: {run['stale']}"
        when = (run["started"] or when)[:16].replace("T", " ")
    return _cut(item.name, 32), when, _cut(state, 22), item.title


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def sources() -> str:
    """The data sources: package, version, licence, and what is missing."""
    from towers.data import sources as data

    rows = [
        (row.name, row.package, row.wanted, row.found or "-", row.licence,
         "ok" if row.ok else row.advice)
        for row in data.status()
    ]  # fmt: skip
    return table(rows, ("NAME", "PACKAGE", "WANTED", "FOUND", "LICENCE", "STATE"))


def fetched(names: Sequence[str]) -> Iterator[str]:
    """Fetch and verify data sources, one line each as they arrive.

    Args:
        names: of the sources; none: all.
    """
    from towers.data import sources as data

    for name in names or [row.name for row in data.status()]:
        yield f"{name} {data.fetch(name)}"


def doctor() -> tuple[str, bool]:
    """Check packages, data and folders on this machine.

    Returns:
        A table, and whether everything is there that the book needs at laptop scale.
    """
    rows = [*_machine(), *_packages(), *_folders(), *_sources()]
    sound = all(state != "missing" for _, state, _ in rows)
    return table(rows, ("WHAT", "STATE", "DETAIL")), sound


def _machine() -> Iterable[tuple[str, str, str]]:
    yield "python", "ok", f"{platform.python_version()}, {sys.executable}"
    for tool, purpose in (("git", "results name their commit"), ("apt-get", "fetches data")):
        where = shutil.which(tool)
        yield tool, "ok" if where else "absent", where or f"optional: {purpose}"


def _packages() -> Iterable[tuple[str, str, str]]:
    for package in PACKAGES:
        try:
            yield package, "ok", importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "missing", f"run: pip install {package}"


def _folders() -> Iterable[tuple[str, str, str]]:
    count = len(catalogue.names())
    yield "experiments", "ok" if count else "missing", f"{count} in {files.repo_root()}"
    for name, folder in (("results", files.results_home()), ("cache", files.cache_home())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        writable = os.access(there, os.W_OK)
        free = f"{shutil.disk_usage(there).free / 1e9:.0f} GB free"
        yield name, "ok" if writable else "missing", f"{folder}, {free}"


def _sources() -> Iterable[tuple[str, str, str]]:
    from towers.data import sources as data

    for row in data.status():
        detail = f"{row.package} {row.found or row.wanted}, {row.licence}"
        place = f", {row.where}" if row.ok else f"; {row.advice}"
        yield f"data {row.name}", "ok" if row.ok else "missing", detail + place
