"""Tables of captions, one row a line: what cannot be read as a row costs that row alone."""

import csv
from collections.abc import Container, Iterator
from pathlib import Path

from towers.data.errors import DataError
from towers.data.images import read_bytes
from towers.data.intake import CANDIDATE, text_lines
from towers.data.reports import Tally

MAX_BYTES = 2**28
"""Size above which a table is refused."""
MAX_CELL_LINES = 64
"""Lines that a caption in quotes may have."""
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
COLUMNS = {"image": "image", "filepath": "image", "caption": "caption", "title": "caption",
           "language": "language", "label": "label"}  # fmt: skip
"""What columns may be called, ours and open_clip's, and what they hold."""


def rows(table: Path, pictures: Container[str], tally: Tally) -> Iterator[dict[str, str]]:
    """The rows of a table as column -> text; lines that are none are counted.

    A line with more cells than the header has, too few to hold image and caption, or quotes that
    do not match is no row. A caption in quotes may have several lines; where one of them begins a
    row itself, the quote was a stray one, and only the line that it stands in is lost.

    Args:
        table: UTF-8, separated by commas, tabs or semicolons, with the names of its columns
            (`COLUMNS`) in the first line. Bytes that are not UTF-8 come as lone surrogates.
        pictures: names that a row may give, to tell where one begins.
        tally: counts what is no row.

    Raises:
        DataError: the table is too large, or lacks its columns.
    """
    content = read_bytes(table, MAX_BYTES)
    lines = text_lines(content.decode("utf-8-sig", "surrogateescape"))
    separator, columns = _header(lines[0] if lines else "", table)
    image = columns.index("image")

    def begins_a_row(line: str) -> bool:
        cells = line.split(separator)
        name = cells[image].strip('" ') if len(cells) > image else ""
        return name in pictures or bool(CANDIDATE.search(name))

    place = 1
    while place < len(lines):
        cells, end = _cells(lines[place], separator), place + 1
        last = min(place + MAX_CELL_LINES, len(lines))
        while cells is None and end < last and not begins_a_row(lines[end]):
            end += 1
            cells = _cells("\n".join(lines[place:end]), separator)
        if cells is None:
            tally.dropped["damaged row"] += 1
            end = place + 1
        elif len(cells) > len(columns):
            tally.dropped["row with too many cells"] += 1
        elif cells:
            row = dict(zip(columns, cells, strict=False))
            if fault := _fault(row):
                tally.dropped[fault] += 1
            else:
                yield row
        place = end


def _header(line: str, table: Path) -> tuple[str, list[str]]:
    """The separator that shows an image and a caption column, and what the columns hold."""
    for separator in SEPARATORS:
        names = [cell.strip().lower() for cell in _cells(line, separator) or []]
        columns = [COLUMNS.get(name, name) for name in names]
        if columns.count("image") == columns.count("caption") == 1:
            return separator, columns
    raise DataError(
        f"expected columns image and caption (or filepath and title) in {str(table)!r}, separated "
        f"by {', '.join(SEPARATORS.values())}; got {ascii(line)[:80]}; name them in its first line"
    )


def _cells(text: str, separator: str) -> list[str] | None:
    """The cells of one row; None where its quotes do not match."""
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error:
        return None


def _fault(row: dict[str, str]) -> str | None:
    if not row.get("image"):
        return "row without image"
    return None if "caption" in row else "row with too few cells"
