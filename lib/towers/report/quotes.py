"""Numbers in sentences: finds the one record that some words select, and formats its value."""

import contextlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from towers import experiments, published, records

NOT_RUN = "(not run yet)"
SELECTORS = ("model", "data", "metric", "seed")


def _percent(record: records.Record) -> str:
    return f"{100 * record.value:.1f} %"


def _gain(record: records.Record) -> str:
    low, high = _ends(record)
    return f"{100 * record.value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _interval(record: records.Record) -> str:
    low, high = _ends(record)
    return f"{100 * record.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _estimate(record: records.Record) -> str:
    low, high = _ends(record)
    return f"{record.value:.3g} ({low:.3g} to {high:.3g})"


def _ends(record: records.Record) -> tuple[float, float]:
    if record.low is None or record.high is None:
        raise ValueError(f"expected a record with an interval, {record} has none")
    return record.low, record.high


def _chance(record: records.Record) -> str:
    return f"{100 * _guessing(record):.1f} %"


def _times(record: records.Record) -> str:
    return f"{record.value / _guessing(record):.0f} times"


def _guessing(record: records.Record) -> float:
    if not (record.chance or 0) > 0:
        raise ValueError(f"expected a record with its chance, {record} has none")
    return record.chance


FORMATS: dict[str, Callable[[records.Record], str]] = {
    "percent": _percent,
    "fine": lambda record: f"{100 * record.value:.2f} %",
    "interval": _interval,
    "gain": _gain,
    "estimate": _estimate,
    "value": lambda record: f"{record.value:.3g}",
    "count": lambda record: f"{record.value:,.0f}",
    "n": lambda record: f"{record.n:,}",
    "chance": _chance,
    "times chance": _times,
}


@cache
def _read(path: Path, modified: int) -> tuple[int | None, tuple[records.Record, ...]]:
    """The main seed of a result, and its records."""
    provenance, rows = records.read(path.parent)
    return provenance.parameters.get("seed"), tuple(rows)


def quote(
    words: str, scale: str, results: Path | None = None, page: str | None = None
) -> tuple[str, str]:
    """The text of one measured number, and a description of the record it comes from.

    For example "clip/retrieval; in-domain; recall; k=10; de; interval". The experiment comes first,
    and may be left out on its own page. Each further word selects records: it is a value in any
    column (model, data, metric or a condition), or `name=value` for a certain column, as numbers
    need. If no word is about the seed, records of the experiment's main seed are preferred; and
    records without conditions that no word is about, if only some records have these. One record
    must be left.

    Args:
        words: separated by semicolons. One of them may be a format: `percent` (the default), `fine`
            (percent with two decimals), `interval` (percent with its 95 % interval), `gain` (signed
            percentage points with their interval), `estimate` (the plain value with its interval),
            `value`, `count`, `n`, `chance` (of the record, in percent) or `times chance`.
        scale: the scale whose records are read.
        results: the results folder; the checkout's own if None.
        page: the experiment on whose page the sentence stands, if it stands on one.

    Returns:
        The number as text, and a one-line description of its record for a tooltip. Of an
        experiment that has not run at this scale, or whose last good run is stale and lacks the
        record, "(not run yet)".

    Raises:
        ValueError: the words are malformed, name no experiment, or select no record or several.
    """
    row, how = select(words, scale, results, page)
    return (NOT_RUN, how) if row is None else shown(row, how)


def select(
    words: str, scale: str, results: Path | None = None, page: str | None = None
) -> tuple[records.Record | None, str]:
    """The record that words of a quote select, and the format that they ask for.

    Args and errors as of `quote`.

    Returns:
        None and why, of an experiment that has not run at this scale, or whose last good run is
        stale and lacks the record.
    """
    parts = [part.strip() for part in words.split(";")]
    experiment = parts.pop(0) if re.fullmatch(r"\w+/\w+", parts[0]) else page
    formats = [part for part in parts if part in FORMATS]
    selectors = [part for part in parts if part not in FORMATS]
    if not experiment or not selectors or len(formats) > 1 or len({*parts}) < len(parts):
        raise ValueError(
            "expected 'experiment; word; name=value; format', each once and with one format at "
            f"most, got {words!r}; formats are {', '.join(FORMATS)}"
        )
    path = records.folder(experiment, scale, results) / records.FILE
    if not path.is_file():
        experiments.get(experiment)
        return None, f"{experiment} has no records at {scale} scale"
    try:
        seed, rows = _read(path, path.stat().st_mtime_ns)
        row = _only(rows, seed, selectors, f"{words!r} at scale {scale}")
    except ValueError:
        if stale := _stale(experiment, scale, results):
            return None, f"{experiment} at {scale} scale lacks this record; it is stale: {stale}"
        raise
    return row, formats[0] if formats else "percent"


def shown(row: records.Record, how: str) -> tuple[str, str]:
    """A record in one of `FORMATS`, and a line about it for a tooltip."""
    return FORMATS[how](row), f"{row.experiment} at {row.scale} scale: {row}, n = {row.n}"


def _stale(experiment: str, scale: str, results: Path | None) -> str | None:
    """Why an experiment's records are out of date; None if they are not."""
    with contextlib.suppress(ValueError):
        return experiments.staleness(experiments.get(experiment), scale, results)
    return None


def _only(
    rows: Sequence[records.Record], seed: int | None, selectors: Sequence[str], what: str
) -> records.Record:
    """The one record that all words select."""
    left = [(row, _columns(row)) for row in rows]
    named = set()  # columns that a word is about
    for word in selectors:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            named.add(name)
            kept = [(row, columns) for row, columns in left if columns.get(name) == value]
        else:
            kept = [(row, columns) for row, columns in left if word in columns.values()]
            named |= {n for _, columns in kept for n, text in columns.items() if text == word}
        if not kept:
            raise ValueError(f"expected one record for {what}, found none; {_choice(left, word)}")
        left = kept
    plain = named.union(SELECTORS).union(set.intersection(*(set(columns) for _, columns in left)))
    left = [(row, columns) for row, columns in left if columns.keys() <= plain] or left
    if "seed" not in named:
        left = [(row, columns) for row, columns in left if row.seed == seed] or left
    if len(left) > 1:
        names = {name for _, columns in left for name in columns}
        differing = [name for name in names if len({c.get(name) for _, c in left}) > 1]
        raise ValueError(
            f"expected one record for {what}, found {len(left)}; say more: they differ in "
            f"{', '.join(sorted(differing))}"
        )
    return left[0][0]


def _columns(row: records.Record) -> dict[str, str]:
    """The columns of a record whose values a word may name, as text."""
    columns = {name: getattr(row, name) for name in SELECTORS} | row.at
    return {name: str(value) for name, value in columns.items() if value is not None}


def _choice(left: Sequence[tuple[records.Record, dict[str, str]]], word: str) -> str:
    """What could stand in the place of a word that selects nothing."""
    name = word.partition("=")[0]
    if not any(name in columns for _, columns in left):
        name = "metric"
    values = dict.fromkeys(columns[name] for _, columns in left if name in columns)
    return f"no {word!r}; {name} is one of {', '.join(values)}"


def cite(words: str) -> tuple[str, str]:
    """The text of one number of a paper's table, and its place in the paper.

    Args:
        words: `PAPER TABLE; column=...; model=...`, any text columns of the table as selectors.

    Returns:
        The number as text with its unit, and its place in the paper for a tooltip.

    Raises:
        ValueError: the words are malformed, or name no table or not one row of it.
    """
    place, *pairs = (part.strip() for part in words.split(";"))
    chosen = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    paper, _, number = place.partition(" ")
    if len(chosen) != len(pairs) or "column" not in chosen or not number.isdigit():
        raise ValueError(f"expected 'paper number; column=...; selector=...', got {words!r}")
    column = chosen.pop("column")
    table = published.table(paper, int(number))
    unit = " %" if table.unit == "percent" else ""
    where = ", ".join(chosen.values())
    title = f"published: {paper}, Table {number} ({table.source}), {column}, {where}"
    return f"{table.value(column, **chosen):g}{unit}", title
