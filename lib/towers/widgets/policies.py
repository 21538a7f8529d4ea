"""An explorer of training policies: which parameters of both towers are trained, layer by layer."""

import html
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from towers.models.layer_report import ADAPTERS, NORMS, WEIGHTS

COLUMNS = (WEIGHTS, NORMS, ADAPTERS)
TOWERS = {"image": "image tower", "text": "text tower"}
_FOLDER = Path(__file__).parent
_SHOWN = "{ display: block; }"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class PolicyExplorer:
    """An explorer as HTML, which a notebook shows by itself; it needs neither kernel nor script.

    Attributes:
        layers: name of a policy -> parameters by layer, as `models.layer_report.by_layer` gives
            them.
        notes: name of a policy -> one line about it, such as its score.
    """

    layers: Mapping[str, pd.DataFrame]
    notes: Mapping[str, str]

    def _repr_html_(self) -> str:
        """Markup and style: one radio button a policy, and what it shows."""
        name = f"towers-policies-{next(_numbers)}"
        shown = "\n".join(
            f"#{name}:has(#{name}-{row}:checked) .policy:nth-of-type({row + 1}) {_SHOWN}"
            for row in range(len(self.layers))
        )
        buttons = "".join(
            f'<label><input type="radio" name="{name}" id="{name}-{row}"'
            f"{' checked' if row == 0 else ''}>{html.escape(policy)}</label>"
            for row, policy in enumerate(self.layers)
        )
        panels = "".join(
            self._panel(frame, self.notes.get(policy, "")) for policy, frame in self.layers.items()
        )
        style = (_FOLDER / "policies.css").read_text(encoding="utf-8")
        return (
            f'<div class="towers-policies" id="{name}">'
            f"<fieldset><legend>What may move</legend>{buttons}</fieldset>"
            f"<section>{panels}</section>{_KEY}</div>\n<style>{style}\n{shown}</style>"
        )

    def _panel(self, frame: pd.DataFrame, note: str) -> str:
        moving, total = frame.trainable.sum(), frame.parameters.sum()
        sums = f"{moving:,} of {total:,} parameters move, {moving / total:.2%}."
        towers = "".join(
            _tower(frame[frame.tower == side], title) for side, title in TOWERS.items()
        )
        return (
            f'<div class="policy"><p class="sums">{sums} {html.escape(note)}</p>'
            f'<div class="pair">{towers}</div></div>'
        )


def policy_explorer(
    layers: Mapping[str, pd.DataFrame], notes: Mapping[str, str] | None = None
) -> PolicyExplorer:
    """An explorer of what moves in a pair under several policies.

    Args:
        layers: name of a policy -> `models.layer_report.by_layer` of the pair under it.
        notes: name of a policy -> one line about it.

    Raises:
        ValueError: no policy, or a line about one that is not among them.
    """
    notes = notes or {}
    if not layers or notes.keys() - layers.keys():
        raise ValueError(
            f"expected policies, and lines about these only, got {len(layers)} policies and lines "
            f"about {', '.join(notes.keys() - layers.keys()) or 'none'}"
        )
    return PolicyExplorer(layers, notes)


_KEY = (
    '<p class="key">From the input up; numbers of parameters: weights, norms, adapters.'
    '<i></i>locked <i class="moves"></i>moves <i class="added"></i>added, and moves</p>'
)


def _tower(frame: pd.DataFrame, title: str) -> str:
    moving = frame.trainable.sum() / frame.parameters.sum()
    rows = "".join(
        f"<li><b>{html.escape(part)}</b>{''.join(_cell(rows, kind) for kind in COLUMNS)}</li>"
        for part, rows in frame.groupby("part", sort=False)
    )
    return f'<div class="tower"><p>{title}, {moving:.2%} moves</p><ol>{rows}</ol></div>'


def _cell(rows: pd.DataFrame, kind: str) -> str:
    """The number of parameters of a kind in a part, and how many of them are trained."""
    members = rows[rows.kind == kind]
    if members.empty:
        return '<span class="none"></span>'
    count, moving = int(members.parameters.sum()), int(members.trainable.sum())
    state = "added" if kind == ADAPTERS else "moves" if moving else "locked"
    some = f"{moving:,} of {count:,}" if 0 < moving < count else f"{count:,}"
    word = {"locked": "locked", "moves": "move", "added": "added"}[state]
    return f'<span class="{state}" title="{kind}: {some}, {word}">{some}</span>'
