"""Numbers in sentences: one record, selected by words, as text."""

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
    """The text of one number and where it comes from.

    A sentence names what it has to: "clip/retrieval; in-domain; recall; k=10; de; interval". A word
    is a value that the record has in any column (model, data, metric or a condition), or
    `name=value` where the column matters, and numbers always. The experiment stands first, and may
    be left out on its own page. What is not said is the experiment's main seed where records have
    it, and no condition that only some of the records have. One record must be left.

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
    parts = [part.strip() for part in words.split(";")]
    experiment = parts.pop(0) if re.fullmatch(r"\w+/\w+", parts[0]) else page
    shows = [part for part in parts if part in FORMATS]
    said = [part for part in parts if part not in FORMATS]
    if not experiment or not said or len(shows) > 1 or len({*parts}) < len(parts):
        raise ValueError(
            "expected 'experiment; word; name=value; format', each once and with one format at "
            f"most, got {words!r}; formats are {', '.join(FORMATS)}"
        )
    path = records.folder(experiment, scale, results) / records.FILE
    if not path.is_file():
        experiments.get(experiment)
        return NOT_RUN, f"{experiment} has no records at {scale} scale"
    try:
        row = _only(*_read(path, path.stat().st_mtime_ns), said, f"{words!r} at scale {scale}")
        text = FORMATS[shows[0] if shows else "percent"](row)
        return text, f"{row.experiment} at {row.scale} scale: {row}, n = {row.n}"
    except ValueError:
        if stale := _stale(experiment, scale, results):
            return NOT_RUN, f"{experiment} at {scale} scale lacks this record; it is stale: {stale}"
        raise


def _stale(experiment: str, scale: str, results: Path | None) -> str | None:
    """Why an experiment's records may lack what its code of today records; None if they may not."""
    with contextlib.suppress(ValueError):
        return experiments.staleness(experiments.get(experiment), scale, results)
    return None


def _only(
    seed: int | None, rows: Sequence[records.Record], said: Sequence[str], what: str
) -> records.Record:
    """The one record that the words leave."""
    found = [(row, _columns(row)) for row in rows]
    named = set()
    for word in said:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            named.add(name)
            kept = [(row, columns) for row, columns in found if columns.get(name) == value]
        else:
            kept = [(row, columns) for row, columns in found if word in columns.values()]
            named |= {n for _, columns in kept for n, text in columns.items() if text == word}
        if not kept:
            raise ValueError(f"expected one record for {what}, found none; {_choice(found, word)}")
        found = kept
    common = set.intersection(*(set(columns) for _, columns in found))
    found = [each for each in found if not set(each[1]) - common - named - {*SELECTORS}] or found
    if "seed" not in named:
        found = [each for each in found if each[0].seed == seed] or found
    if len(found) > 1:
        apart = {name for _, columns in found for name in columns}
        apart = [name for name in apart if len({c.get(name) for _, c in found}) > 1]
        raise ValueError(
            f"expected one record for {what}, found {len(found)}; say more: they differ in "
            f"{', '.join(sorted(apart))}"
        )
    return found[0][0]


def _columns(row: records.Record) -> dict[str, str]:
    """What a word can name, by column."""
    columns = {name: getattr(row, name) for name in SELECTORS} | row.at
    return {name: str(value) for name, value in columns.items() if value is not None}


def _choice(found: Sequence[tuple[records.Record, dict[str, str]]], word: str) -> str:
    """What could stand in the place of a word that names nothing."""
    name = word.partition("=")[0]
    columns = [columns for _, columns in found]
    name = name if any(name in of for of in columns) else "metric"
    there = dict.fromkeys(of[name] for of in columns if name in of)
    return f"no {word!r}; {name} is one of {', '.join(there)}"


def cite(words: str) -> tuple[str, str]:
    """The text of one published number and where it stands.

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
