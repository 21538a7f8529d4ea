"""Typed result rows with their provenance, written whole or not at all.

A protocol returns `Measurement`s; an experiment turns them into `Record`s. The result of a run is
one folder, `results/<part>/<experiment>/<scale>/`: `records.json` holds the records and the
`Provenance` of the run, {"provenance": {...}, "records": [...]}; beside it lie the executed
notebook and a CSV for each figure.
"""

import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from towers import checked, files
from towers.checked import Line, Real, Whole, plain, short

if TYPE_CHECKING:
    import pandas as pd

FILE = "records.json"
NOTEBOOK = "notebook.ipynb"
SCALES = ("smoke", "laptop", "paper")
KINDS = {
    frozenset({str}): "str", frozenset({int}): "Int64", frozenset({bool}): "boolean",
    frozenset({float}): "float64", frozenset({int, float}): "float64",
}  # fmt: skip
"""Types of a condition's values -> type of its column."""


class RecordsError(ValueError):
    """A row, a provenance or a results file is not what it must be."""


def _conditions(at: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """What a measurement was measured at, tidied."""
    tidy = {}
    for name, value in at.items():
        if not re.fullmatch("[a-z][a-z_]*", name) or name in OWN:
            raise ValueError(
                f"expected conditions named by small letters, other than a record's own fields, "
                f"got {short(name)}"
            )
        tidy[name] = plain(value)
        finite = not isinstance(tidy[name], float) or math.isfinite(tidy[name])
        if not isinstance(tidy[name], str | int | float) or not finite or tidy[name] == "":
            raise ValueError(
                f"expected {name} as a text, a finite number or a truth, got {short(value)}"
            )
    return tidy


OWN = {"model", "data", "metric", "value", "low", "high", "n", "seed", "chance", "at", "experiment",
       "scale"}  # fmt: skip
Conditions = Annotated[dict[str, Any], AfterValidator(_conditions)]
Scale = Literal[SCALES]


@checked.fields(RecordsError)
class Measurement:
    """One number that a protocol measured.

    Attributes:
        model: name of the model, as `models.load` takes it or as the notebook calls it.
        data: name of the data, for example "stamps[test]".
        metric: what was measured, for example "recall"; fractions, not percent.
        value: finite.
        low, high: ends of the interval around `value`, where there is one.
        n: how many items the value rests on.
        seed: of the run that gave the value, where there is one.
        chance: what guessing gives, where that is known.
        at: the conditions under which it was measured, each a text, a finite number or a truth:
            {"direction": "text retrieval", "k": 10, "language": "fr"}. A table of records has a
            column for each.

    Raises:
        RecordsError: a field is not what it must be.
    """

    model: Line
    data: Line
    metric: Line
    value: Real
    low: Real | None = None
    high: Real | None = None
    n: Whole
    seed: Whole | None = None
    chance: Real | None = None
    at: Conditions = field(default_factory=dict)

    def __post_init__(self):
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        if not low <= self.value <= high:
            raise RecordsError(f"expected low <= value <= high, got {self.low} to {self.high} of "
                               f"{self} with {self.value}")  # fmt: skip

    def __str__(self) -> str:
        """What was measured, of whom, on what and how, without the numbers."""
        where = [f"{name} {value}" for name, value in self.at.items()]
        where += [] if self.seed is None else [f"seed {self.seed}"]
        return ", ".join([f"{self.metric} of {self.model} on {self.data}", *where])


@checked.fields(RecordsError)
class Record(Measurement):
    """A measurement as an experiment reports it, at one scale."""

    experiment: Line
    scale: Scale

    @property
    def key(self) -> tuple:
        """What tells two records apart: everything but the numbers."""
        where = tuple(sorted(self.at.items()))
        return self.experiment, self.scale, self.model, self.data, self.metric, self.seed, where


@checked.fields(RecordsError)
class Provenance:
    """How the records of one result came about.

    Attributes:
        commit: of the repository, None outside git.
        dirty: whether tracked or new files differed from the commit, None outside git.
        parameters: name -> literal, the complete set.
        checksums: data or weights that the numbers rest on -> SHA-256.
        versions: package -> version.
        hardware: processor, cores, memory, accelerators.
        started: UTC, ISO 8601.
        peak_memory_bytes: of the process that ran the notebook.
        code: `experiments.fingerprint` when the run began.
        artifacts: the other files of the result -> SHA-256.

    Raises:
        RecordsError: a field is not what it must be.
    """

    experiment: Line
    scale: Scale
    commit: str | None
    dirty: bool | None
    parameters: dict[str, Any]
    seeds: list[int]
    checksums: dict[str, str]
    versions: dict[str, str]
    hardware: dict[str, Any]
    started: Line
    wall_seconds: Real
    peak_memory_bytes: Whole
    code: Line
    artifacts: dict[str, str] = field(default_factory=dict)


def folder(experiment: str, scale: str, results: Path | None = None) -> Path:
    """Where the result of an experiment at a scale lies, if it has run.

    Args:
        experiment: its name, for example "clip/zero_shot".
        scale: of the run.
        results: folder of all results; default: the checkout's (or `TOWERS_RESULTS`).
    """
    return (results or files.results_home()) / experiment / scale


def write(result: Path, provenance: Provenance, records: Iterable[Record]) -> None:
    """Write the records of a result atomically.

    Args:
        result: the folder, made if it is missing.
        provenance: of the run.
        records: at least one; all of the provenance's experiment and scale, no two with one key.

    Raises:
        RecordsError: a record does not belong here, or is there twice.
        OSError: the disk is full or fails; the records that stood there still stand.
    """
    rows = list(records)
    _check_rows(rows, provenance)
    content = {"provenance": asdict(provenance), "records": [asdict(row) for row in rows]}
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordsError(f"expected literals in the provenance: {error}") from error
    files.atomic_write(result / FILE, text + "\n")


def read(result: Path) -> tuple[Provenance, list[Record]]:
    """Read the records of a result, checking every field.

    Args:
        result: the folder.

    Raises:
        RecordsError: there is no such result, it is damaged, or a field is not what it must be.
    """
    path = result / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordsError(f"expected results at {path}, found none; run the experiment") from error
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"{path} is no JSON ({error}); run the experiment again") from error
    try:
        provenance = checked.build(Provenance, content["provenance"], RecordsError)
        rows = [checked.build(Record, row, RecordsError) for row in content["records"]]
        _check_rows(rows, provenance)
    except (KeyError, TypeError) as error:
        raise RecordsError(f"{path}: expected provenance and records; run it again") from error
    except RecordsError as error:
        raise RecordsError(f"{path}: {error}; run the experiment again") from error
    return provenance, rows


def table(
    results: Path | None = None, scale: str | None = None, experiment: str | None = None
) -> "pd.DataFrame":
    """All records as one table.

    Args:
        results: the results folder; default: the checkout's (or `TOWERS_RESULTS`).
        scale: only this scale.
        experiment: only this experiment, for example "clip/zero_shot".

    Returns:
        As `frame`.

    Raises:
        RecordsError: a result is damaged.
    """
    results = results or files.results_home()
    pattern = f"{experiment or '*/*'}/{{}}/{FILE}"
    scales = SCALES if scale is None else [scale]
    paths = sorted(path for name in scales for path in results.glob(pattern.format(name)))
    return frame([row for path in paths for row in read(path.parent)[1]])


def frame(rows: Sequence[Record]) -> "pd.DataFrame":
    """Records as a table with one row each.

    Returns:
        The columns experiment, scale, model, data, metric, value, low, high, n, seed and chance,
        also where there is no row, and one for each condition that a row was measured at. A row
        without it has "" where the others have texts, and a missing number otherwise.
    """
    import pandas as pd

    columns = {
        "experiment": "str", "scale": "str", "model": "str", "data": "str", "metric": "str",
        "value": "float64", "low": "float64", "high": "float64", "n": "int64", "seed": "Int64",
        "chance": "float64",
    }  # fmt: skip
    plain = [{name: getattr(row, name) for name in columns} for row in rows]
    table = pd.DataFrame(plain, columns=list(columns)).astype(columns)
    for name in dict.fromkeys(name for row in rows for name in row.at):
        kinds = {type(row.at[name]) for row in rows if name in row.at}
        empty = "" if str in kinds else None
        values = [row.at.get(name, empty) for row in rows]
        table[name] = pd.Series(values, dtype=KINDS.get(frozenset(kinds), "object"))
    return table


def select(table: "pd.DataFrame", **wanted: object) -> "pd.DataFrame":
    """The rows of a table of records that have these values.

    Args:
        table: as `frame` gives it.
        wanted: column -> value, `metric="recall", k=10` for example; None: no such condition. A
            column that the table lacks is one that none of its rows has.
    """
    import pandas as pd

    keep = pd.Series(True, index=table.index)
    for name, value in wanted.items():
        if name not in table:
            keep &= value is None
        elif value is None:
            keep &= table[name].isna() | (table[name] == "")
        else:
            keep &= (table[name] == value).fillna(False).astype(bool)
    return table[keep]


def export(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as CSV or Parquet, atomically.

    Args:
        table: for example what `table()` gives.
        path: ends in .csv or .parquet.

    Raises:
        RecordsError: another ending.
    """
    path = files.user_path(path)
    if path.suffix == ".csv":
        files.atomic_write(path, table.to_csv(index=False))
    elif path.suffix == ".parquet":
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        files.atomic_write(path, buffer.getvalue())
    else:
        raise RecordsError(f"expected a file ending in .csv or .parquet, got {path.name!r}")


def _check_rows(rows: list[Record], provenance: Provenance) -> None:
    if not rows:
        raise RecordsError(f"expected at least one record of {provenance.experiment}, got none")
    seen = set()
    for row in rows:
        if (row.experiment, row.scale) != (provenance.experiment, provenance.scale):
            raise RecordsError(
                f"expected records of {provenance.experiment} at scale {provenance.scale}, "
                f"got one of {row.experiment} at scale {row.scale}"
            )
        if row.key in seen:
            raise RecordsError(f"expected one record of {row}, got two")
        seen.add(row.key)
