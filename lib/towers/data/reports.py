"""What loading data kept, left out and mended: counted, told in a line, and refused if too bad."""

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from towers.data.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FORGIVEN = 9
"""Bad ones that never stop anything, if something is left."""
MAX_BAD = 0.05
"""Share of bad ones above which a set is refused, unless somebody says otherwise."""
UNNAMED = "named nowhere"
"""Reason of a picture that its table or annotations leave out: said, but no fault of the set."""
_ADVICE = {
    "outside the folder": "copy what the links point to (cp -rL), or link whole folders",
    "dot in its name": "name members KEY.ending, with no other dot in KEY",
    "row with too many cells": "put quotes around captions that hold the separator",
}


@dataclass(frozen=True)
class Report:
    """What loading kept and dropped.

    Attributes:
        kept: items of the collection as loaded.
        dropped: short reason -> candidates left out for it.
        mended: short reason -> things repaired inside kept items (a caption removed or cut; in
            the collections that come with the library, a size supplied to an SVG without one).
    """

    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", +Counter(self.dropped))
        object.__setattr__(self, "mended", +Counter(self.mended))

    @property
    def found(self) -> int:
        """Candidates looked at."""
        return self.kept + self.dropped.total()

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.kept + other.kept, self.dropped + other.dropped, self.mended + other.mended
        )

    def line(self) -> str:
        """What was left out and mended, in one line; empty if everything was kept as it was."""
        parts = []
        if self.dropped:
            parts.append(f"left out {self.dropped.total()} of {self.found} ({told(self.dropped)})")
        if self.mended:
            parts.append(f"mended {told(self.mended)}")
        return "; ".join(parts)

    def say(self, name: str) -> None:
        """Print the line on standard error, on one rank; nothing if all was kept."""
        if (line := self.line()) and os.environ.get("RANK", "0") == "0":
            print(f"towers: {name}: {line}", file=sys.stderr, flush=True)

    def frame(self) -> "pd.DataFrame":
        """A table with columns outcome, reason and count: found, kept, then the commonest drops."""
        import pandas as pd

        rows = [("found", "", self.found), ("kept", "", self.kept)]
        for outcome, counts in (("dropped", self.dropped), ("mended", self.mended)):
            rows += [(outcome, reason, count) for reason, count in _ordered(counts)]
        return pd.DataFrame(rows, columns=["outcome", "reason", "count"])


@dataclass
class Tally:
    """Counts what loading keeps, drops and mends; becomes the collection's `Report`.

    Attributes:
        max_bad: share of bad candidates above which the whole set is refused.
    """

    max_bad: float = MAX_BAD
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)
    mended: Counter = field(default_factory=Counter)

    def report(self) -> Report:
        """The counts so far."""
        return Report(self.kept, self.dropped, self.mended)

    def refuse_if_bad(self, name: str) -> None:
        """Refuse a set with too many bad candidates.

        Raises:
            DataError: `too_many` are bad. Pictures that are `UNNAMED` are left out, but not bad.
        """
        faults = self.dropped - Counter({UNNAMED: self.dropped[UNNAMED]})
        bad, found = faults.total(), self.kept + faults.total()
        if too_many(bad, found, self.max_bad):
            advice = next((_ADVICE[why] for why, _ in faults.most_common() if why in _ADVICE), "")
            raise DataError(
                f"expected at most {self.max_bad:.0%} bad files in {name}, got {bad} of {found} "
                f"({told(+self.dropped, 5)}); {advice or 'repair them'}, or allow more: "
                f'"NAME?max_bad={min(1, bad / found + 0.01):.2f}"'
            )

    def refuse_if_empty(self, name: str) -> None:
        """Refuse a set of which nothing is left.

        Raises:
            DataError: nothing was kept.
        """
        if not self.kept:
            why = told(+self.dropped, 5) or "no candidates there"
            raise DataError(
                f"expected usable images in {name}, got none ({why}); help(towers.data.custom) "
                "shows every layout"
            )


def too_many(bad: int, found: int, share: float = MAX_BAD) -> bool:
    """Whether a share of bad ones is too large to go on with; so few as `FORGIVEN` never are."""
    return bad > max(FORGIVEN, share * found)


def told(counts: Mapping[str, int], most: int | None = None) -> str:
    """Counts with their reasons, the commonest first, "3 truncated, 1 empty"; at most so many."""
    return ", ".join(f"{count} {reason}" for reason, count in _ordered(counts)[:most])


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
