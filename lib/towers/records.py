"""Typed result rows with their provenance, written whole or not at all.

A protocol returns `Measurement`s; an experiment turns them into `Record`s. One JSON file per
experiment and scale, `results/<part>/<experiment>/<scale>.json`, holds them together with the
`Provenance` of the run: {"provenance": {...}, "records": [...]}.
"""

import contextlib
import io
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

from towers import files

if TYPE_CHECKING:
    import pandas as pd

SCALES = ("smoke", "laptop", "paper")


class RecordsError(ValueError):
    """A row, a provenance or a results file is not what it must be."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number that a protocol measured.

    Attributes:
        model: name of the model, as `models.load` takes it or as the notebook calls it.
        data: name of the data, for example "stamps:fr".
        metric: what was measured, for example "text retrieval R@1"; fractions, not percent.
        value: finite.
        low, high: ends of the interval around `value`, where there is one.
        n: how many items the value rests on.
        seed: of the run that gave the value, where there is one.
    """

    model: str
    data: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    seed: int | None = None

    def __post_init__(self):
        for name in ("model", "data", "metric"):
            _text(self, name)
        _real(self, "value")
        for name in ("low", "high"):
            _real(self, name, optional=True)
        _whole(self, "n")
        _whole(self, "seed", optional=True)
        if not (self.low is None or self.low <= self.value) or not (
            self.high is None or self.value <= self.high
        ):
            raise RecordsError(
                f"expected low <= value <= high for {self.metric!r} of {self.model!r} on "
                f"{self.data!r}, got {self.low} <= {self.value} <= {self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Record(Measurement):
    """A measurement as an experiment reports it, at one scale."""

    experiment: str
    scale: str

    def __post_init__(self):
        super().__post_init__()
        _text(self, "experiment")
        _scale(self.scale)

    @property
    def key(self) -> tuple:
        """What tells two records apart: everything but the numbers."""
        return self.experiment, self.scale, self.model, self.data, self.metric, self.seed


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How the records of one file came about.

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
        artifacts: files beside the JSON (relative to its folder) -> SHA-256.
    """

    experiment: str
    scale: str
    commit: str | None
    dirty: bool | None
    parameters: dict[str, Any]
    seeds: list[int]
    checksums: dict[str, str]
    versions: dict[str, str]
    hardware: dict[str, Any]
    started: str
    wall_seconds: float
    peak_memory_bytes: int
    code: str
    artifacts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("experiment", "started", "code"):
            _text(self, name)
        _scale(self.scale)
        _real(self, "wall_seconds")
        _whole(self, "peak_memory_bytes")
        if not (self.commit is None or isinstance(self.commit, str)):
            raise RecordsError(f"expected commit as text or null, got {_short(self.commit)}")
        if self.dirty not in (None, True, False):
            raise RecordsError(f"expected dirty as true, false or null, got {_short(self.dirty)}")
        if not isinstance(self.seeds, list) or any(type(seed) is not int for seed in self.seeds):
            raise RecordsError(f"expected seeds as whole numbers, got {_short(self.seeds)}")
        for name in ("parameters", "checksums", "versions", "hardware", "artifacts"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise RecordsError(f"expected {name} as a mapping of names, got {_short(value)}")


def write(path: Path, provenance: Provenance, records: Iterable[Record]) -> None:
    """Write one results file atomically.

    Args:
        path: the JSON file.
        provenance: of the run.
        records: at least one; all of the provenance's experiment and scale, no two with one key.

    Raises:
        RecordsError: a record does not belong here, or is there twice.
        OSError: the disk is full or fails; what stood at `path` still stands.
    """
    rows = list(records)
    _check_rows(rows, provenance)
    content = {"provenance": asdict(provenance), "records": [asdict(row) for row in rows]}
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordsError(f"expected literals in the provenance: {error}") from error
    files.atomic_write(Path(path), text + "\n")


def read(path: Path) -> tuple[Provenance, list[Record]]:
    """Read one results file, checking every field.

    Raises:
        RecordsError: there is no such file, it is damaged, or a field is not what it must be.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordsError(f"expected results at {path}, found none; run the experiment") from error
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"{path} is no JSON ({error}); run the experiment again") from error
    try:
        _exact(content, ("provenance", "records"))
        provenance = _build(Provenance, content["provenance"])
        rows = [_build(Record, row) for row in _listed(content["records"])]
        _check_rows(rows, provenance)
    except RecordsError as error:
        raise RecordsError(f"{path}: {error}") from error
    return provenance, rows


def recover(results: Path | None = None) -> list[str]:
    """Finish the publications of results that a dying process left half-way.

    Returns:
        What was finished, as "<part>/<experiment>/<scale>"; usually nothing.
    """
    results = results or files.results_home()
    folders = sorted({path.parent for path in results.glob(f"*/*/.*{files.READY}")})
    return [
        f"{folder.relative_to(results).as_posix()}/{name}"
        for folder in folders
        for name in files.recover(folder)
    ]


def paths(results: Path | None = None) -> list[Path]:
    """All results files, after finishing interrupted publications where the disk allows it."""
    results = results or files.results_home()
    with contextlib.suppress(OSError):  # a read-only or full disk: every file there is still whole
        recover(results)
    return sorted(path for scale in SCALES for path in results.glob(f"*/*/{scale}.json"))


def table(
    results: Path | None = None, scale: str | None = None, experiment: str | None = None
) -> "pd.DataFrame":
    """All records as one table.

    Args:
        results: the results folder; default: the checkout's (or `TOWERS_RESULTS`).
        scale: only this scale.
        experiment: only this experiment, for example "clip/zero_shot".

    Returns:
        One row a record; columns are the fields of `Record`, also where there is no row.

    Raises:
        RecordsError: a results file is damaged.
    """
    results = results or files.results_home()
    rows: list[Record] = []
    for path in paths(results):
        name = path.parent.relative_to(results).as_posix()
        if scale in (None, path.stem) and experiment in (None, name):
            rows += read(path)[1]
    return frame(rows)


def frame(rows: Sequence[Record]) -> "pd.DataFrame":
    """Records as a table with one row each and stable column types."""
    import pandas as pd

    columns = {
        "experiment": "str", "scale": "str", "model": "str", "data": "str", "metric": "str",
        "value": "float64", "low": "float64", "high": "float64", "n": "int64", "seed": "Int64",
    }  # fmt: skip
    plain = [{name: getattr(row, name) for name in columns} for row in rows]
    return pd.DataFrame(plain, columns=list(columns)).astype(columns)


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
            raise RecordsError(
                f"expected one record of {row.metric!r} for {row.model!r} on {row.data!r} "
                f"with seed {row.seed}, got two"
            )
        seen.add(row.key)


def _build(kind: type, content: Any) -> Any:
    _exact(content, [item.name for item in fields(kind)])
    return kind(**content)


def _exact(content: Any, names: Sequence[str]) -> None:
    if not isinstance(content, Mapping) or set(content) != set(names):
        found = sorted(map(str, content)) if isinstance(content, Mapping) else _short(content)
        raise RecordsError(f"expected the fields {sorted(names)}, got {found}")


def _listed(content: Any) -> list:
    if not isinstance(content, list):
        raise RecordsError(f"expected a list of records, got {_short(content)}")
    return content


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _text(row: object, name: str) -> None:
    value = getattr(row, name)
    odd = {"Cc", "Cs", "Zl", "Zp"}  # controls, halves of characters, ends of lines and paragraphs
    if not isinstance(value, str) or not value.strip() or odd & set(map(category, value)):
        raise RecordsError(f"expected {name} as one line of text, got {_short(value)}")


def _scale(value: object) -> None:
    if value not in SCALES:
        raise RecordsError(f"expected scale as one of {', '.join(SCALES)}, got {_short(value)}")


def _real(row: object, name: str, optional: bool = False) -> None:
    value = getattr(row, name)
    if value is None and optional:
        return
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise RecordsError(f"expected {name} as a finite number, got {_short(value)}")
    object.__setattr__(row, name, float(value))


def _whole(row: object, name: str, optional: bool = False) -> None:
    value = getattr(row, name)
    if value is None and optional:
        return
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 0:
        raise RecordsError(f"expected {name} as a whole number >= 0, got {_short(value)}")
    object.__setattr__(row, name, int(value))
