"""Numbers in sentences: one record, selected by words, as text."""

from functools import cache
from pathlib import Path

from towers import files, records

SELECTORS = ("model", "data", "metric", "seed")


def _percent(record: records.Record) -> str:
    return f"{100 * record.value:.1f} %"


def _interval(record: records.Record) -> str:
    if record.low is None or record.high is None:
        raise ValueError(f"expected a record with an interval, {record.metric!r} has none")
    return f"{100 * record.value:.1f} % ({100 * record.low:.1f} to {100 * record.high:.1f})"


FORMATS = {
    "percent": _percent,
    "interval": _interval,
    "points": lambda record: f"{100 * record.value:+.1f} points",
    "times": lambda record: f"{record.value:.0f} times",
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
            leave exactly one record of that experiment at `scale`. FORMAT is `percent` (the
            default), `interval` (percent with its 95 % interval), `points` (signed percentage
            points), `times`, `value`, `count` or `n`.
        scale: the scale whose records are read.
        results: the results folder; the checkout's own if None.

    Returns:
        The number as text, and a one-line description of its record for a tooltip.

    Raises:
        ValueError: the words are malformed or select no record or several.
    """
    experiment, *pairs = (part.strip() for part in words.split(";"))
    chosen = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    show = chosen.pop("show", "percent")
    if len(chosen) + ("show=" in words) != len(pairs) or set(chosen) - set(SELECTORS):
        raise ValueError(f"expected 'experiment; {'=; '.join(SELECTORS)}=; show=', got {words!r}")
    if show not in FORMATS:
        raise ValueError(f"expected show= one of {', '.join(FORMATS)}, got {show!r}")
    path = (results or files.repo_root() / "results") / f"{experiment}/{scale}.json"
    if not path.is_file():
        raise ValueError(f"expected records of {experiment} at scale {scale}, none were written")
    rows = [
        row
        for row in _rows(path, path.stat().st_mtime_ns)
        if all(str(getattr(row, key)) == value for key, value in chosen.items())
    ]
    if len(rows) != 1:
        raise ValueError(f"expected one record for {words!r} at scale {scale}, found {len(rows)}")
    row = rows[0]
    seed = "" if row.seed is None else f", seed {row.seed}"
    return FORMATS[show](row), (
        f"{experiment} at {scale} scale: {row.metric} of {row.model} on {row.data}, n = {row.n}{seed}"
    )
