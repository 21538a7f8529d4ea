"""The claims ledger: what each table and figure of the papers claims, and whether it holds here.

`book/claims.yaml` is a list of rows, one for each table and figure; the book shows them as a
page. Nobody types a verdict about a result: a row holds rules, fixed before the run, and the
verdict follows from what was recorded.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from towers import checked
from towers.files import repo_root
from towers.published.tables import Line, PublishedError, parse

VERDICTS = (
    "reproduced", "partly", "not reproduced", "inconclusive", "not run", "illustration",
)  # fmt: skip
TYPED = VERDICTS[-2:]
"""Verdicts that no record can give."""
SEEDS = 3
"""Trained models that a rule asks for at least, where training is by chance."""
EXPECTED = re.compile(r"(above|below|within|equals) (-?\d+(?:\.\d+)?)")
ITEM = re.compile(r"(Table|Figure) ([1-9][0-9]*)")
EXPERIMENT = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*")


@checked.fields(PublishedError)
class Rule:
    """What decides a claim, or a part of one; fixed before the run.

    Attributes:
        says: what is so if the claim holds here, in our experiment's terms.
        record: words that select one record, as in a quoted number.
        expect: where its whole interval lies then: "above X", "below X", or "within X" (from -X to
            X: a match, X is the margin); "equals X" for what is counted and has no interval. In the
            record's unit: fractions, not percent.
        over: what the interval rests on; where models were trained, "items and seeds", of which
            there must be at least `SEEDS`.
    """

    says: Line
    record: Line
    expect: Line
    over: Literal["items and seeds", "items", "seeds", "nothing"] = "items and seeds"

    def __post_init__(self):
        expected = EXPECTED.fullmatch(self.expect)
        if expected is None:
            raise PublishedError(
                f"expected `above`, `below`, `within` or `equals` and a number, got {self.expect!r}"
            )
        if (expected[1] == "equals") != (self.over == "nothing"):
            raise PublishedError(
                f"expected `equals` where nothing was drawn (over: nothing) and there alone, got "
                f"{self.expect!r} over {self.over}"
            )
        if expected[1] == "within" and float(expected[2]) <= 0:
            raise PublishedError(f"expected a margin above 0, got {self.expect!r}")

    def holds(self, low: float, high: float) -> bool | None:
        """Whether what is between `low` and `high` is as expected; None where it may be or not."""
        how, number = EXPECTED.fullmatch(self.expect).groups()
        wanted = {
            "above": (float(number), math.inf),
            "below": (-math.inf, float(number)),
            "within": (-float(number), float(number)),
            "equals": (float(number), float(number)),
        }[how]
        if how in ("above", "below"):  # the border itself is on neither side
            inside, outside = (
                wanted[0] < low and high < wanted[1],
                high <= wanted[0] or low >= wanted[1],
            )
        else:
            inside, outside = (
                wanted[0] <= low and high <= wanted[1],
                high < wanted[0] or low > wanted[1],
            )
        return True if inside else False if outside else None


def _rules(given: Any) -> Any:
    """Rules as the file has them."""
    if not isinstance(given, list):
        return given
    return tuple(checked.build(Rule, content, PublishedError) for content in given)


def verdict(outcomes: Sequence[bool | None]) -> str:
    """What rules come to together, one outcome each.

    Returns:
        "reproduced" if all hold, "not reproduced" if some fail and none holds, "partly" if some
        hold, "inconclusive" if nothing is decided.

    Raises:
        ValueError: there is none.
    """
    if not outcomes:
        raise ValueError("expected the outcome of at least one rule, got none")
    if all(outcomes):
        return "reproduced"
    if any(outcomes):
        return "partly"
    return "not reproduced" if False in outcomes else "inconclusive"


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
        verdict: one of `TYPED`; None where rules decide.
        rules: that decide, all of them together.
        note: one line for the reader; what serves it, or when it will be, or why never.
    """

    id: Line
    paper: Line
    item: Line
    section: Line
    claim: Line
    experiment: Line | None
    note: Line
    verdict: Literal[TYPED] | None = None
    rules: Annotated[tuple[Rule, ...], BeforeValidator(_rules)] = ()

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
        if (self.verdict is None) != bool(self.rules):
            raise PublishedError(
                f"expected a verdict of {', '.join(TYPED)}, or rules that give one, got "
                f"{self.verdict!r} and {len(self.rules)} rules"
            )
        if self.experiment is None and self.rules:
            raise PublishedError("expected an experiment that gives the rules' records, got null")


def claims(path: Path | None = None) -> list[Claim]:
    """The ledger's rows in the file's order.

    Args:
        path: the YAML file; None means `book/claims.yaml` of this checkout.

    Raises:
        PublishedError: an unknown or missing key, a wrong type, an unknown verdict, one that is
            typed beside rules, rules without an experiment, or an item given twice (one line naming
            file and row).
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
