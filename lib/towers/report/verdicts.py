"""Verdicts of the claims ledger, from the records of a scale by the ledger's own rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from towers import published
from towers.published.ledger import SEEDS, Claim, Rule, verdict
from towers.report import quotes

POINTS = ("percent", "fine", "interval", "gain")
"""Formats of shares: what they could have shown is said in percentage points."""


@dataclass(frozen=True)
class Outcome:
    """What became of one rule.

    Attributes:
        rule: of the ledger.
        holds: whether it does; None: undecided, or its record is not there.
        value: the record's, as text; or why there is none.
        reach: the smallest effect that could have been seen, as text; half of the interval.
        source: the record in words, None if it is not there.
    """

    rule: Rule
    holds: bool | None
    value: str
    reach: str = ""
    source: str | None = None


def decide(claim: Claim, scale: str, results: Path | None = None) -> tuple[str, Sequence[Outcome]]:
    """The verdict of a claim at a scale, and what became of its rules.

    A smoke run only shows that everything runs: it decides nothing. Nor does a rule whose record
    does not exist yet, or rests on fewer than `SEEDS` seeds where it asks for seeds.

    Args:
        claim: of `published.claims`.
        scale: whose records count.
        results: the results folder; the checkout's own if None.

    Returns:
        One of `published.VERDICTS`; the outcomes are in the rules' order.

    Raises:
        ValueError: a rule's words select no record or several, or one without the interval that
            the rule asks for.
    """
    if claim.verdict:
        return claim.verdict, []
    outcomes = [_outcome(rule, scale, results, claim.experiment) for rule in claim.rules]
    if all(outcome.source is None for outcome in outcomes):
        return "not run", outcomes
    return verdict([outcome.holds for outcome in outcomes]), outcomes


def _outcome(rule: Rule, scale: str, results: Path | None, experiment: str) -> Outcome:
    row, shown = quotes.select(rule.record, scale, results, experiment)
    if row is None:
        return Outcome(rule, None, shown)
    if scale == "smoke":  # the words were checked
        return Outcome(rule, None, "a smoke run decides nothing")
    text, source = quotes.shown(row, shown)
    if rule.over == "nothing":
        return Outcome(rule, rule.holds(row.value, row.value), text, source=source)
    if row.low is None or row.high is None:
        raise ValueError(f"expected a record with an interval for {rule.record!r}, {row} has none")
    half = (row.high - row.low) / 2
    reach = f"{100 * half:.1f} points" if shown in POINTS else f"{half:.2g}"
    seeds = {"items": SEEDS, "seeds": row.n}.get(rule.over, row.at.get("seeds", 1))
    if seeds < SEEDS:
        return Outcome(rule, None, f"{text}, from fewer than {SEEDS} seeds", reach, source)
    return Outcome(rule, rule.holds(row.low, row.high), text, reach, source)


def table(scale: str, results: Path | None = None, paper: str | None = None) -> list[dict]:
    """The ledger with its verdicts, for machines: one mapping a row, made of plain values.

    Args:
        scale: whose records count.
        results: the results folder; the checkout's own if None.
        paper: only its rows.

    Raises:
        ValueError: the ledger holds no such paper, or as `decide`.
    """
    rows = [claim for claim in published.claims() if paper in (None, claim.paper)]
    if not rows:
        papers = ", ".join(dict.fromkeys(claim.paper for claim in published.claims()))
        raise ValueError(f"expected a paper of the ledger ({papers}), got {paper!r}")
    entries = []
    for claim in rows:
        given, outcomes = decide(claim, scale, results)
        rules = [
            {
                "says": outcome.rule.says, "expect": outcome.rule.expect, "over": outcome.rule.over,
                "record": outcome.rule.record, "source": outcome.source, "value": outcome.value,
                "smallest_effect": outcome.reach or None, "holds": outcome.holds,
            }
            for outcome in outcomes
        ]  # fmt: skip
        entries.append(
            {"id": claim.id, "paper": claim.paper, "item": claim.item, "claim": claim.claim,
             "experiment": claim.experiment, "verdict": given, "rules": rules}
        )  # fmt: skip
    return entries
