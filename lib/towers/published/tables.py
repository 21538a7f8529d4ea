"""The papers' own tables, one YAML file each (`<paper>/table_<number>.yaml`), read strictly.

A file holds `paper`, `number`, `title` (our words), `unit`, `source` (where the paper has it),
`columns` (name: type), `rows`, and if need be `note` (how we arranged it, where its parts come
from) and `garbled` (where the extracted text is broken, or the paper disagrees with itself).
Numbers are those printed, also where they are wrong; a cell without a number is null, never 0.
"""

import re
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, Field, PositiveInt, TypeAdapter, ValidationError

from towers import checked, strict_yaml

CELLS = {"text": str, "number": float, "integer": int}
DTYPES = {"text": "str", "number": "float64", "integer": "Int64"}


class PublishedError(ValueError):
    """A published table or the ledger is malformed, or lacks what was looked up in it."""


def _line(value: str | None) -> str:
    if not value or value != " ".join(value.split()):
        raise ValueError("one line of text without blanks around it")
    return value


def _cell(value: str) -> str:
    if not value or value != value.strip():
        raise ValueError("text")
    return value


Line = Annotated[str, AfterValidator(_line)]
Note = Annotated[str | None, AfterValidator(_line)]
"""A line that a file gives or leaves out; it is never null."""


@checked.fields(PublishedError)
class Table:
    """One table of a paper.

    Attributes:
        paper: short name of the paper, e.g. "clip".
        number: the table's number in the paper.
        title: what it shows, in our words.
        unit: "percent" (of the whole table's numbers), "count" or "mixed" (differs by row or
            column, as the names say).
        source: section or appendix of the paper.
        columns: name -> type of its cells, in the paper's own (wide) layout, text columns first.
        rows: a list of cells each; None: there is none.
        note: how we arranged it and where its rows come from; None if there is nothing to say.
        garbled: where the extracted text is broken or the paper disagrees with itself, exactly;
            None if we found nothing.
    """

    paper: Line
    number: PositiveInt
    title: Line
    unit: Literal["percent", "count", "mixed"]
    source: Line
    columns: Annotated[dict[Line, Literal[(*DTYPES,)]], Field(min_length=1)]
    rows: Annotated[list[Any], Field(min_length=1)]
    note: Note = None
    garbled: Note = None

    def __post_init__(self):
        bounds = Field(ge=-100, le=100) if self.unit == "percent" else Field()
        limits = {"text": AfterValidator(_cell), "number": bounds, "integer": bounds}
        cells = {
            kind: TypeAdapter(Annotated[CELLS[kind], limit] | None, config=checked.STRICT)
            for kind, limit in limits.items()
        }
        for index, row in enumerate(self.rows, start=1):
            if not isinstance(row, list) or len(row) != len(self.columns):
                raise PublishedError(
                    f"expected row {index} to be a list of {len(self.columns)} cells, "
                    f"got {checked.short(row)}"
                )
            for cell, (column, kind) in zip(row, self.columns.items(), strict=True):
                try:
                    cells[kind].validate_python(cell)
                except ValidationError:
                    raise PublishedError(
                        f"expected {kind} ({self.unit}) or null in row {index}, column "
                        f"{column!r}, got {checked.short(cell)}"
                    ) from None

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table, text columns first; a missing cell is NaN or NA."""
        cells = zip(self.columns.items(), zip(*self.rows, strict=True), strict=True)
        return pd.DataFrame(
            {name: pd.Series(values, dtype=DTYPES[kind]) for (name, kind), values in cells}
        )

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
    content = parse(text, name)
    try:
        return checked.build(Table, content, PublishedError)
    except PublishedError as error:
        raise PublishedError(f"{name}: {error}") from None


def parse(text: str, name: str) -> object:
    """YAML without surprises: plain types only, no key twice.

    Args:
        text: the document.
        name: the file's name for the message.

    Raises:
        PublishedError: the text is no YAML or repeats a key (one line, with the line's number).
    """
    try:
        return strict_yaml.load(text)
    except ValueError as error:
        raise PublishedError(f"{name}: {error}") from error


def _papers() -> list[str]:
    folders = (entry for entry in resources.files(__package__).iterdir() if entry.is_dir())
    return sorted(entry.name for entry in folders if entry.name[0] not in "_.")


def _files(paper: str) -> dict[int, Traversable]:
    if paper not in _papers():
        raise PublishedError(f"expected a paper ({', '.join(_papers())}), got {paper!r}")
    numbered = {}
    for file in resources.files(__package__).joinpath(paper).iterdir():
        if file.name.startswith("."):
            continue
        named = re.fullmatch(r"table_(\d\d)\.yaml", file.name)
        if not named:
            raise PublishedError(f"{paper}/{file.name}: expected a name like table_01.yaml")
        numbered[int(named[1])] = file
    return dict(sorted(numbered.items()))


def _read(file: Traversable, paper: str, number: int) -> Table:
    name = f"{paper}/{file.name}"
    loaded = read(file.read_text(encoding="utf-8"), name)
    if (loaded.paper, loaded.number) != (paper, number):
        raise PublishedError(
            f"{name}: expected paper {paper} and number {number}, "
            f"got {loaded.paper} and {loaded.number}"
        )
    return loaded
