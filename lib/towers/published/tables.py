"""The papers' own tables, one YAML file each (`<paper>/table_<number>.yaml`), read strictly.

A file holds `paper`, `number`, `title` (our words), `unit`, `source` (where the paper has it),
`columns` (name: type), `rows`, and if need be `note` (how we arranged it, where its parts come
from) and `garbled` (where the extracted text is broken, or the paper disagrees with itself).
Numbers are those printed, also where they are wrong; a cell without a number is null, never 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import pandas as pd
import yaml

UNITS = ("percent", "count", "mixed")
DTYPES = {"text": "str", "number": "float64", "integer": "Int64"}
REQUIRED = ("paper", "number", "title", "unit", "source", "columns", "rows")
OPTIONAL = ("note", "garbled")


class PublishedError(ValueError):
    """A published table or the ledger is malformed, or was asked for what it doesn't hold."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a paper.

    Attributes:
        paper: short name of the paper, e.g. "clip".
        number: the table's number in the paper.
        title: what it shows, in our words.
        unit: "percent" (of the whole table's numbers), "count" or "mixed" (differs by row or
            column, as the names say).
        source: section or appendix of the paper.
        note: how we arranged it and where its rows come from; None if there is nothing to say.
        garbled: where the extracted text is broken or the paper disagrees with itself, exactly;
            None if we found nothing.
        frame: the table in the paper's own (wide) layout, text columns first; a missing cell is
            NaN or NA.
    """

    paper: str
    number: int
    title: str
    unit: str
    source: str
    note: str | None
    garbled: str | None
    frame: pd.DataFrame

    def value(self, column: str, **where: str) -> float:
        """One number, in the table's unit.

        Args:
            column: name of a numeric column.
            **where: text columns and what they hold in the row, e.g. `model="CLIP"`; together
                they must name one row.

        Raises:
            PublishedError: unknown column, not exactly one such row, or a cell that is missing.
        """
        name = f"Table {self.number} of {self.paper}"
        for key in (column, *where):
            if key not in self.frame:
                raise PublishedError(
                    f"{name}: expected one of the columns {', '.join(self.frame)}, got {key!r}"
                )
        if not pd.api.types.is_numeric_dtype(self.frame[column]):
            raise PublishedError(
                f"{name}: expected a numeric column, got {column!r}, which is text"
            )
        rows = self.frame
        for key, wanted in where.items():
            rows = rows[rows[key] == wanted]
        if len(rows) != 1:
            raise PublishedError(f"{name}: expected {where} to name one row, it names {len(rows)}")
        cell = rows[column].iloc[0]
        if pd.isna(cell):
            raise PublishedError(f"{name}: {column!r} of {where} is missing in the paper's text")
        return float(cell)

    def tidy(self) -> pd.DataFrame:
        """One row a number: the text columns, then `column` and `value`; missing cells stay NaN."""
        names = [name for name, kind in self.frame.dtypes.items() if kind == DTYPES["text"]]
        numbers = self.frame.columns.difference(names, sort=False)
        floats = self.frame.astype(dict.fromkeys(numbers, float))
        return floats.melt(id_vars=names, var_name="column", value_name="value")


def table(paper: str, number: int) -> Table:
    """One table of a paper, freshly read.

    Args:
        paper: short name of the paper, e.g. "clip".
        number: the table's number in the paper.

    Raises:
        PublishedError: we hold no such table, or its file is malformed (names file and row).
    """
    held = _files(paper)
    if number not in held:
        raise PublishedError(
            f"expected the number of a table held for {paper} "
            f"({', '.join(map(str, held))}), got {number!r}"
        )
    return _read(held[number], paper, number)


def tables(paper: str | None = None) -> list[Table]:
    """All tables of a paper, or of all papers, ordered by paper and number.

    Args:
        paper: short name of the paper; None means every paper.

    Raises:
        PublishedError: we hold no such paper, or a file is malformed (names file and row).
    """
    papers = _papers() if paper is None else [paper]
    return [_read(file, name, number) for name in papers for number, file in _files(name).items()]


def read(text: str, name: str) -> Table:
    """A table from the text of its file.

    Args:
        text: YAML with the fields that the module's docstring lists.
        name: the file's name for the message.

    Raises:
        PublishedError: an unknown, missing or repeated key, a wrong type, a ragged row (one line
            that names file and row).
    """
    entry = check_keys(parse(text, name), REQUIRED, OPTIONAL, name)
    lines = {key: check_line(entry[key], key, name) for key in ("paper", "title", "source")}
    notes = {
        key: None if key not in entry else check_line(entry[key], key, name) for key in OPTIONAL
    }
    number, unit = entry["number"], entry["unit"]
    if type(number) is not int or number < 1:
        raise PublishedError(f"{name}: number: expected an integer from 1, got {number!r}")
    if unit not in UNITS:
        raise PublishedError(f"{name}: unit: expected one of {', '.join(UNITS)}, got {unit!r}")
    columns = _columns(entry["columns"], name)
    frame = _frame(entry["rows"], columns, unit, name)
    return Table(number=number, unit=unit, frame=frame, **lines, **notes)


def parse(text: str, name: str) -> object:
    """YAML without surprises: plain types only, no key twice.

    Args:
        text: the document.
        name: the file's name for the message.

    Raises:
        PublishedError: the text is no YAML or repeats a key (one line, with the line's number).
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise PublishedError(f"{name}: line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise PublishedError(f"{name}: {' '.join(str(error).split())}") from error


def check_keys(entry: object, required: Sequence[str], optional: Sequence[str], name: str) -> dict:
    """`entry` itself, if it is a mapping with all required and no unknown keys.

    Raises:
        PublishedError: it isn't (the message starts with `name`).
    """
    if not isinstance(entry, dict):
        raise PublishedError(f"{name}: expected a mapping, got {type(entry).__name__}")
    if missing := [key for key in required if key not in entry]:
        raise PublishedError(f"{name}: expected the key {missing[0]!r}, which is missing")
    if unknown := [key for key in entry if key not in (*required, *optional)]:
        allowed = ", ".join((*required, *optional))
        raise PublishedError(f"{name}: unknown key {unknown[0]!r}; allowed are {allowed}")
    return entry


def check_line(value: object, key: str, name: str) -> str:
    """`value` itself, if it is one line of text without blanks around it.

    Raises:
        PublishedError: it isn't (the message starts with `name` and `key`).
    """
    if not isinstance(value, str) or not value or value != " ".join(value.split()):
        raise PublishedError(f"{name}: {key}: expected one line of text, got {value!r}")
    return value


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _papers() -> list[str]:
    folders = (entry for entry in resources.files(__package__).iterdir() if entry.is_dir())
    return sorted(entry.name for entry in folders if entry.name[0] not in "_.")


def _files(paper: str) -> dict[int, Traversable]:
    if paper not in _papers():
        raise PublishedError(f"expected a paper ({', '.join(_papers())}), got {paper!r}")
    found = {}
    for file in resources.files(__package__).joinpath(paper).iterdir():
        if file.name.startswith("."):
            continue
        stem, _, suffix = file.name.partition(".")
        digits = stem.removeprefix("table_")
        if suffix != "yaml" or stem == digits or not (digits.isdecimal() and len(digits) == 2):
            raise PublishedError(f"{paper}/{file.name}: expected a name like table_01.yaml")
        found[int(digits)] = file
    return dict(sorted(found.items()))


def _read(file: Traversable, paper: str, number: int) -> Table:
    name = f"{paper}/{file.name}"
    loaded = read(file.read_text(encoding="utf-8"), name)
    if (loaded.paper, loaded.number) != (paper, number):
        raise PublishedError(
            f"{name}: expected paper {paper} and number {number}, "
            f"got {loaded.paper} and {loaded.number}"
        )
    return loaded


def _columns(columns: object, name: str) -> dict[str, str]:
    if not isinstance(columns, dict) or not columns:
        raise PublishedError(f"{name}: columns: expected a mapping of names to types")
    for column, kind in columns.items():
        check_line(column, "columns", name)
        if not isinstance(kind, str) or kind not in DTYPES:
            raise PublishedError(
                f"{name}: column {column!r}: expected one of {', '.join(DTYPES)}, got {kind!r}"
            )
    return columns


def _frame(rows: object, columns: Mapping[str, str], unit: str, name: str) -> pd.DataFrame:
    if not isinstance(rows, list) or not rows:
        raise PublishedError(f"{name}: rows: expected a list of rows")
    for index, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(columns):
            got = f"{len(row)} cells" if isinstance(row, list) else type(row).__name__
            raise PublishedError(
                f"{name}: row {index}: expected a list of {len(columns)} cells, got {got}"
            )
        for cell, (column, kind) in zip(row, columns.items(), strict=True):
            if not _fits(cell, kind, unit):
                raise PublishedError(
                    f"{name}: row {index}: column {column!r}: expected {kind} "
                    f"({unit}) or null, got {cell!r}"
                )
    cells = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            column: pd.Series(values, dtype=DTYPES[kind])
            for (column, kind), values in zip(columns.items(), cells, strict=True)
        }
    )


def _fits(cell: object, kind: str, unit: str) -> bool:
    if cell is None:
        return True
    if kind == "text":
        return isinstance(cell, str) and bool(cell) and cell == cell.strip()
    if type(cell) is int:
        return unit != "percent" or abs(cell) <= 100
    if kind == "integer" or type(cell) is not float or not math.isfinite(cell):
        return False
    return unit != "percent" or abs(cell) <= 100
