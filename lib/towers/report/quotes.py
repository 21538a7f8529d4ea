"""Numbers in sentences: one record, selected by words, as text."""

import contextlib
from functools import cache
from pathlib import Path

from towers import experiments, files, published, records

NOT_RUN = "(not run yet)"
SELECTORS = ("model", "data", "metric", "seed")


def _percent(record: records.Record) -> str:
    return f"{100 * record.value:.1f} %"


def _gain(record: records.Record) -> str:
    if record.low is None or record.high is None:
        raise ValueError(f"expected a record with an interval, {record.metric!r} has none")
    ends = f"{100 * record.low:+.1f} to {100 * record.high:+.1f}"
    return f"{100 * record.value:+.1f} points ({ends})"


def _interval(record: records.Record) -> str:
    if record.low is None or record.high is None:
        raise ValueError(f"expected a record with an interval, {record.metric!r} has none")
    return f"{100 * record.value:.1f} % ({100 * record.low:.1f} to {100 * record.high:.1f})"


def _estimate(record: records.Record) -> str:
    if record.low is None or record.high is None:
        raise ValueError(f"expected a record with an interval, {record.metric!r} has none")
    return f"{record.value:.3g} ({record.low:.3g} to {record.high:.3g})"


FORMATS = {
    "percent": _percent,
    "fine": lambda record: f"{100 * record.value:.2f} %",
    "interval": _interval,
    "gain": _gain,
    "estimate": _estimate,
    "value": lambda record: f"{record.value:.3g}",
    "count": lambda record: f"{record.value:,.0f}",
    "n": lambda record: f"{record.n:,}",
}


@cache
def _rows(path: Path, modified: int) -> tuple[records.Record, ...]:
    return tuple(records.read(path)[1])


def quote(words: str, scale: str, results: Path | None = None) -> tuple[str, str]:
    """The text of one number and where it comes from.

    Args:
        words: `experiment; metric=...; data=...; model=...; show=FORMAT`. The selectors must
            leave exactly one record of that experiment at `scale`. With `over=METRIC` the text is
            how many times the value of that metric (same model, data and seed) it is. FORMAT is
            `percent` (the default), `fine` (percent with two decimals), `interval` (percent with
            its 95 % interval), `gain` (signed percentage points with their interval), `estimate`
            (the plain value with its interval), `value`, `count` or `n`.
        scale: the scale whose records are read.
        results: the results folder; the checkout's own if None.

    Returns:
        The number as text, and a one-line description of its record for a tooltip. Of an
        experiment that has not run at this scale, or whose last good run is stale and lacks the
        record, "(not run yet)".

    Raises:
        ValueError: the words are malformed, name no experiment, or select no record or several.
    """
    experiment, *pairs = (part.strip() for part in words.split(";"))
    chosen = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(chosen) != len(pairs) or set(chosen) - {*SELECTORS, "over", "show"}:
        allowed = "=; ".join((*SELECTORS, "over", "show"))
        raise ValueError(f"expected 'experiment; {allowed}=', each once, got {words!r}")
    show, over = chosen.pop("show", "percent"), chosen.pop("over", None)
    if show not in FORMATS:
        raise ValueError(f"expected show= one of {', '.join(FORMATS)}, got {show!r}")
    path = (results or files.results_home()) / f"{experiment}/{scale}.json"
    if not path.is_file():
        experiments.get(experiment)
        return NOT_RUN, f"{experiment} has no records at {scale} scale"
    try:
        return _quoted(path, chosen, show, over, f"{words!r} at scale {scale}")
    except ValueError:
        if stale := _stale(experiment, scale, results):
            return NOT_RUN, f"{experiment} at {scale} scale lacks this record; it is stale: {stale}"
        raise


def _stale(experiment: str, scale: str, results: Path | None) -> str | None:
    """Why an experiment's records may lack what its code of today records; None if they may not."""
    with contextlib.suppress(ValueError):
        return experiments.staleness(experiments.get(experiment), scale, results)
    return None


def _quoted(
    path: Path, chosen: dict[str, str], show: str, over: str | None, what: str
) -> tuple[str, str]:
    """The text of one record of a file, and its description."""
    rows = _rows(path, path.stat().st_mtime_ns)
    row = _only(rows, chosen, what)
    text = FORMATS[show](row)
    if over:
        same = {key: str(getattr(row, key)) for key in SELECTORS} | {"metric": over}
        base = _only(rows, same, f"{what}, its over={over}")
        if not base.value > 0:
            raise ValueError(f"expected {over!r} above 0 to divide by, it is {base.value}")
        text = f"{row.value / base.value:.0f} times"
    seed = "" if row.seed is None else f", seed {row.seed}"
    return text, (
        f"{row.experiment} at {row.scale} scale: {row.metric} of {row.model} on {row.data}, "
        f"n = {row.n}{seed}" + (f"; divided by {over}" if over else "")
    )


def _only(rows: tuple[records.Record, ...], chosen: dict[str, str], what: str) -> records.Record:
    """The one record whose fields read as chosen."""
    found = [r for r in rows if all(str(getattr(r, key)) == value for key, value in chosen.items())]
    if len(found) != 1:
        raise ValueError(f"expected one record for {what}, found {len(found)}")
    return found[0]


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
