"""GLUE from a local folder, as it is distributed: a folder a task, TSV files in it.

The answers of GLUE's test sets are secret; as in the paper what is answered is the development set.
WNLI is left out, as there. Where the eight tasks are had from: https://gluebenchmark.com/tasks.

Source: Wang et al. 2019; Tschannen et al. 2023, section 4.2 and Table 2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from towers.data.errors import DataError
from towers.data.folders import local_path
from towers.data.intake import text_lines
from towers.data.reports import Report, too_many
from towers.data.sentences import Examples, Task

NUMBERS = {"0": 0, "1": 1}
ENTAILMENT = {"not_entailment": 0, "entailment": 1}
INFERENCE = {"contradiction": 0, "neutral": 1, "entailment": 2}


@dataclass(frozen=True)
class Layout:
    """How the files of one task look.

    Attributes:
        folder: of the task.
        metric: of `sentences.METRICS`.
        texts: names of one or two columns.
        target: name of the column with the answer.
        classes: what the answer may be, and its number; None where it is a score.
        header: names of the columns where the files have no line of them.
        dev: the column of the paper's table -> the file that is answered.
        examples: to learn from, as distributed.
        ragged: whether lines with too few columns are passed by, as QQP has some.
    """

    folder: str
    metric: str
    texts: tuple[str, ...]
    target: str
    classes: dict[str, int] | None
    dev: dict[str, str]
    examples: int
    header: tuple[str, ...] = ()
    ragged: bool = False


_PAIR = ("sentence1", "sentence2")
LAYOUTS = {
    "MNLI": Layout("MNLI", "accuracy", _PAIR, "gold_label", INFERENCE,
                   {"MNLI-M": "dev_matched.tsv", "MNLI-MM": "dev_mismatched.tsv"}, 392_702),
    "QQP": Layout("QQP", "F1", ("question1", "question2"), "is_duplicate", NUMBERS,
                  {"QQP": "dev.tsv"}, 363_846, ragged=True),
    "QNLI": Layout("QNLI", "accuracy", ("question", "sentence"), "label", ENTAILMENT,
                   {"QNLI": "dev.tsv"}, 104_743),
    "SST-2": Layout("SST-2", "accuracy", ("sentence",), "label", NUMBERS,
                    {"SST-2": "dev.tsv"}, 67_349),
    "COLA": Layout("CoLA", "Matthews", ("sentence",), "label", NUMBERS,
                   {"COLA": "dev.tsv"}, 8_551,
                   header=("source", "label", "mark", "sentence")),
    "STS-B": Layout("STS-B", "Spearman", _PAIR, "score", None, {"STS-B": "dev.tsv"}, 5_749),
    "MRPC": Layout("MRPC", "F1", ("#1 String", "#2 String"), "Quality", NUMBERS,
                   {"MRPC": "dev.tsv"}, 3_668),
    "RTE": Layout("RTE", "accuracy", _PAIR, "label", ENTAILMENT, {"RTE": "dev.tsv"}, 2_490),
}  # fmt: skip
"""The tasks by the names of the paper's tables, in their order."""
COLUMNS = tuple(column for layout in LAYOUTS.values() for column in layout.dev)
"""The nine columns that the paper's average is over; MNLI counts twice."""


def glue(folder: Path | str, name: str) -> Task:
    """One task of GLUE.

    Args:
        folder: that holds a folder for each task, "CoLA" or "MNLI" for example.
        name: of `LAYOUTS`.

    Raises:
        DataError: no such task; a file is missing, or not of GLUE's layout (names file and line).
    """
    if name not in LAYOUTS:
        raise DataError(f"expected a task of GLUE among {', '.join(LAYOUTS)}; got {name!r}")
    layout, home = LAYOUTS[name], local_path(folder) / LAYOUTS[name].folder
    train = _read(home / "train.tsv", layout)
    tests = {column: _read(home / file, layout) for column, file in layout.dev.items()}
    return Task(name, layout.metric, len(layout.classes or ()), train, tests)


def _read(path: Path, layout: Layout) -> Examples:
    try:
        lines = text_lines(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "other bytes than UTF-8"
        raise DataError(
            f"expected GLUE's file {path}, got {what}; download the task from "
            "https://gluebenchmark.com/tasks and unpack it there"
        ) from None
    header = list(layout.header) or (lines or [""])[0].split("\t")
    wanted = (*layout.texts, layout.target)
    if missing := [column for column in wanted if column not in header]:
        raise DataError(
            f"{path}: expected the columns {', '.join(wanted)} in the first line, "
            f"{', '.join(missing)} is missing; leave the file as it is distributed"
        )
    places = [header.index(column) for column in wanted]
    rows, odd = [], 0
    for number, line in enumerate(lines if layout.header else lines[1:], 2 - bool(layout.header)):
        cells = line.split("\t")
        if not line:
            continue
        if len(cells) < len(header) and not layout.ragged:
            raise DataError(f"{path}: line {number}: expected {len(header)} columns, got "
                            f"{len(cells)}; it may be cut off")  # fmt: skip
        if len(cells) != len(header):  # of one with more, nobody knows which cell is which
            odd += 1
            continue
        *texts, answer = (cells[place] for place in places)
        rows.append((*texts, _target(answer, layout, f"{path}: line {number}")))
    if not rows:
        raise DataError(f"{path}: expected at least one example, got none")
    if too_many(odd, odd + len(rows)):
        raise DataError(
            f"{path}: expected {len(header)} columns a line, got other numbers in {odd} of "
            f"{odd + len(rows)} lines; leave the file as it is distributed"
        )
    Report(len(rows), {"line of other columns": odd}).say(str(path))
    *columns, targets = zip(*rows, strict=True)
    seconds = columns[1] if len(columns) > 1 else ()
    return Examples(columns[0], seconds, np.array(targets), tuple(map(str, range(len(rows)))))


def _target(answer: str, layout: Layout, where: str) -> int | float:
    if layout.classes is not None and answer in layout.classes:
        return layout.classes[answer]
    try:
        score = float(answer)
    except ValueError:
        score = float("nan")
    if layout.classes is None and np.isfinite(score):
        return score
    allowed = ", ".join(layout.classes) if layout.classes else "a number"
    raise DataError(f"{where}: expected {allowed} in {layout.target}, got {answer[:40]!r}")
