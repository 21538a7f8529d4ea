"""The claims ledger: what each table and figure of the papers claims, and whether it holds here.

`book/claims.yaml` is a list of rows, one for each table and figure; the book shows them as a
page. A verdict about a number stands only beside the experiment that gave the number.
"""

import re
from pathlib import Path
from typing import Literal

from towers import checked
from towers.files import repo_root
from towers.published.tables import Line, PublishedError, parse

VERDICTS = ("reproduced", "partly", "not reproduced", "not run", "illustration")
JUDGED = VERDICTS[:3]
ITEM = re.compile(r"(Table|Figure) ([1-9][0-9]*)")
EXPERIMENT = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*")


@checked.fields(PublishedError)
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

    id: Line
    paper: Line
    item: Line
    section: Line
    claim: Line
    experiment: Line | None
    verdict: Literal[VERDICTS]
    note: Line

    def __post_init__(self):
        item = ITEM.fullmatch(self.item)
        if item is None:
            raise PublishedError(f"expected item to be like Table 1, got {self.item!r}")
        expected = f"{self.paper}-{item[1].lower()}-{item[2]}"
        if self.id != expected:
            raise PublishedError(f"expected id to be {expected}, got {self.id!r}")
        if self.experiment and not EXPERIMENT.fullmatch(self.experiment):
            raise PublishedError(
                f"expected experiment to be part/name or null, got {self.experiment!r}"
            )
        if self.experiment is None and self.verdict in JUDGED:
            raise PublishedError(
                f"expected an experiment that gave the number of {self.verdict!r}, got null"
            )


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
    ledger: dict[str, Claim] = {}
    for index, row in enumerate(rows, start=1):
        try:
            claim = checked.build(Claim, row, PublishedError)
        except PublishedError as error:
            raise PublishedError(f"{path.name}: row {index}: {error}") from None
        if claim.id in ledger:
            raise PublishedError(f"{path.name}: row {index}: {claim.id} is given twice")
        ledger[claim.id] = claim
    return list(ledger.values())
