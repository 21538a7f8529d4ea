"""The claims ledger: what each table and figure of the papers claims, and what became of it here.

`book/claims.yaml` is a list of rows, one for each table and figure; the book shows them as a
page. A verdict about a number stands only beside the experiment that gave the number.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from towers.files import repo_root
from towers.published.tables import PublishedError, check_keys, check_line, parse

VERDICTS = ("reproduced", "partly", "not reproduced", "not run", "illustration")
JUDGED = VERDICTS[:3]
ITEM = re.compile(r"(Table|Figure) ([1-9][0-9]*)")
EXPERIMENT = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Claim:
    """One row of the ledger.

    Attributes:
        id: `<paper>-<table or figure>-<number>`, e.g. "clip-table-1".
        paper: short name of the paper.
        item: as the paper names it, e.g. "Table 1".
        section: where the paper has it, e.g. "Section 3.1.3".
        claim: what the paper claims there, in our words with its key figure.
        experiment: our experiment that serves it, `<part>/<name>`; None if there is none yet.
        verdict: one of `VERDICTS`.
        note: one line for the reader; what serves it, or when it will be, or why never.
    """

    id: str
    paper: str
    item: str
    section: str
    claim: str
    experiment: str | None
    verdict: str
    note: str


def claims(path: Path | None = None) -> list[Claim]:
    """The ledger's rows in the file's order.

    Args:
        path: the YAML file; None means `book/claims.yaml` of this checkout.

    Raises:
        PublishedError: an unknown or missing key, a wrong type, an unknown verdict, a judgement
            without an experiment, or an item given twice (one line naming file and row).
        FileNotFoundError: there is no such file.
    """
    path = repo_root() / "book" / "claims.yaml" if path is None else path
    rows = parse(path.read_text(encoding="utf-8"), path.name)
    if not isinstance(rows, list):
        raise PublishedError(f"{path.name}: expected a list of rows, got {type(rows).__name__}")
    found: dict[str, Claim] = {}
    for index, row in enumerate(rows, start=1):
        claim = _claim(row, f"{path.name}: row {index}")
        if claim.id in found:
            raise PublishedError(f"{path.name}: row {index}: {claim.id} is given twice")
        found[claim.id] = claim
    return list(found.values())


def _claim(row: object, name: str) -> Claim:
    keys = [field.name for field in fields(Claim)]
    entry = check_keys(row, keys, (), name)
    for key in keys:
        if key != "experiment" or entry[key] is not None:
            check_line(entry[key], key, name)
    claim = Claim(**entry)
    item = ITEM.fullmatch(claim.item)
    if item is None:
        raise PublishedError(f"{name}: item: expected e.g. Table 1, got {claim.item!r}")
    expected = f"{claim.paper}-{item[1].lower()}-{item[2]}"
    if claim.id != expected:
        raise PublishedError(f"{name}: id: expected {expected}, got {claim.id!r}")
    if claim.verdict not in VERDICTS:
        raise PublishedError(
            f"{name}: verdict: expected one of {', '.join(VERDICTS)}, got {claim.verdict!r}"
        )
    if claim.experiment is not None and not EXPERIMENT.fullmatch(claim.experiment):
        raise PublishedError(
            f"{name}: experiment: expected part/name or null, got {claim.experiment!r}"
        )
    if claim.experiment is None and claim.verdict in JUDGED:
        raise PublishedError(
            f"{name}: verdict: {claim.verdict!r} needs an experiment that gave the number, got null"
        )
    return claim
