"""The claims ledger: complete for each paper it holds, strict, true to the published tables."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from towers import experiments, published
from towers.published import VERDICTS, PublishedError
from towers.published.ledger import Rule, verdict

BOOK = Path(__file__).resolve().parents[2] / "book"
LEDGER = BOOK / "claims.yaml"
ROW = {
    "id": "clip-table-1",
    "paper": "clip",
    "item": "Table 1",
    "section": "Section 3.1.3",
    "claim": "It works.",
    "experiment": "clip/zero_shot",
    "verdict": "not run",
    "note": "Later.",
}
DECIMAL = re.compile(r"\d+\.\d+")
# How many tables and figures a paper has.
ITEMS = {"clip": (20, 22), "clippo": (9, 12), "lilt": (5, 10)}


def write(folder: Path, *rows) -> Path:
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(list(rows), sort_keys=False), encoding="utf-8")
    return path


def test_the_checkout_s_ledger_is_the_default(monkeypatch):
    monkeypatch.setenv("TOWERS_ROOT", str(BOOK.parent))
    assert published.claims() == published.claims(LEDGER)


def test_every_table_and_figure_of_a_paper_is_there_once_and_in_order():
    expected = [
        (paper, f"{kind} {number}")
        for paper, counts in ITEMS.items()
        for kind, count in zip(("Table", "Figure"), counts, strict=True)
        for number in range(1, count + 1)
    ]
    assert [(claim.paper, claim.item) for claim in published.claims(LEDGER)] == expected


def test_the_ledger_and_the_experiments_name_each_other():
    """What a row's experiment says that it serves is that row, and the other way round."""
    planned = {
        (name, experiment.paper, item)
        for name, experiment in experiments.find(BOOK.parent).items()
        for item in experiment.serves
    }
    claims = [c for c in published.claims(LEDGER) if c.experiment]
    assert {(claim.experiment, claim.paper, claim.item) for claim in claims} == planned
    assert ("clip/zero_shot", "clip", "Table 11") in planned


def test_illustrations_have_nothing_to_measure():
    drawn = {(c.paper, c.item) for c in published.claims(LEDGER) if c.verdict == "illustration"}
    assert drawn == {
        ("clip", "Figure 1"), ("clip", "Figure 3"), ("clip", "Figure 19"), ("clip", "Figure 21"),
        ("clippo", "Figure 1"), ("clippo", "Figure 6"),
        ("clippo", "Figure 7"), ("lilt", "Figure 1"), ("lilt", "Figure 2"), ("lilt", "Figure 3"),
    }  # fmt: skip


def test_a_row_whose_table_we_don_t_hold_says_why():
    held = {f"{table.paper}-table-{table.number}" for table in published.tables()}
    notes = {c.id: c.note for c in published.claims(LEDGER) if c.item.startswith("Table")}
    missing = sorted(notes.keys() - held)
    assert missing == ["clip-table-10", *(f"lilt-table-{number}" for number in range(1, 6))]
    for row in missing:
        assert re.search("our text of the paper has lost this table's (numbers|cells)", notes[row])


@pytest.mark.parametrize(
    "table", published.tables(), ids=lambda table: f"{table.paper}-{table.number}"
)
def test_decimals_of_a_table_s_claim_stand_in_the_table(table):
    claim = next(
        c for c in published.claims(LEDGER) if c.id == f"{table.paper}-table-{table.number}"
    )
    cells = set(table.tidy()["value"])
    assert {float(said) for said in DECIMAL.findall(claim.claim)} <= cells
    if table.unit == "percent":
        assert DECIMAL.search(claim.claim)


@pytest.mark.parametrize("given", ["not run", "illustration"])
def test_a_verdict_is_typed_where_no_record_can_give_one(tmp_path, given):
    (claim,) = published.claims(write(tmp_path, ROW | {"verdict": given}))
    assert (claim.verdict, claim.rules) == (given, ())


RULE = {"says": "Ours is ahead.", "record": "ours; recall gain", "expect": "above 0"}
RULED = {key: value for key, value in ROW.items() if key != "verdict"} | {"rules": [RULE]}


def test_rules_take_the_place_of_a_verdict(tmp_path):
    (claim,) = published.claims(write(tmp_path, RULED))
    assert claim.verdict is None
    assert claim.rules == (Rule(**RULE, over="items and seeds"),)


@pytest.mark.parametrize(
    ("expect", "inside", "outside", "between"),
    [
        ("above 0", [(0.01, 0.2)], [(-0.2, -0.1), (-0.1, 0.0)], [(-0.1, 0.1), (0.0, 0.1)]),
        ("above -0.05", [(-0.04, 0.2)], [(-0.2, -0.06)], [(-0.06, -0.04)]),
        ("below 0.5", [(0.1, 0.4)], [(0.6, 0.7), (0.5, 0.6)], [(0.4, 0.6), (0.4, 0.5)]),
        ("within 0.02", [(-0.01, 0.02), (0.0, 0.0)], [(0.03, 0.04), (-0.2, -0.03)],
         [(-0.03, 0.01), (0.01, 0.03), (-0.5, 0.5)]),
        ("equals 1", [(1.0, 1.0)], [(0.9, 0.9), (1.1, 1.1)], []),
    ],
)  # fmt: skip
def test_a_rule_holds_fails_or_leaves_it_open(expect, inside, outside, between):
    over = "nothing" if expect.startswith("equals") else "items"
    rule = Rule(**RULE | {"expect": expect}, over=over)
    assert [rule.holds(*ends) for ends in inside] == [True] * len(inside)
    assert [rule.holds(*ends) for ends in outside] == [False] * len(outside)
    assert [rule.holds(*ends) for ends in between] == [None] * len(between)


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([True], "reproduced"), ([True, True], "reproduced"), ([False], "not reproduced"),
        ([False, None], "not reproduced"), ([True, False], "partly"), ([True, None], "partly"),
        ([None], "inconclusive"), ([None, None], "inconclusive"),
    ],
)  # fmt: skip
def test_outcomes_make_a_verdict(outcomes, wanted):
    assert verdict(outcomes) == wanted
    assert verdict(outcomes[::-1]) == wanted
    assert wanted in VERDICTS


def test_no_outcome_makes_no_verdict():
    with pytest.raises(ValueError, match="got none"):
        verdict([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "reproduced"}, "got 'reproduced'"),
        ({"verdict": None}, "got None and 0 rules"),
        ({"rules": [RULE]}, "got 'not run' and 1 rules"),
        ({"rules": [RULE], "verdict": None, "experiment": None}, "got null"),
        ({"rules": [RULE | {"expect": "over 0"}]}, "got 'over 0'"),
        ({"rules": [RULE | {"expect": "above"}]}, "got 'above'"),
        ({"rules": [RULE | {"expect": "within 0"}]}, "got 'within 0'"),
        ({"rules": [RULE | {"expect": "equals 1"}]}, "got 'equals 1' over items and seeds"),
        ({"rules": [RULE | {"over": "nothing"}]}, "got 'above 0' over nothing"),
        ({"rules": [RULE | {"over": "luck"}]}, "got 'luck'"),
        ({"rules": [RULE | {"margin": 1}]}, "margin"),
        ({"experiment": "zero_shot"}, "got 'zero_shot'"),
        ({"experiment": "clip/zero-shot"}, "got 'clip/zero-shot'"),
        ({"experiment": 3}, "got 3"),
        ({"item": "Tab. 1"}, "got 'Tab. 1'"),
        ({"item": "Table 01"}, "got 'Table 01'"),
        ({"item": "Figure 1"}, "expected id to be clip-figure-1, got 'clip-table-1'"),
        ({"paper": "lilt"}, "expected id to be lilt-table-1, got 'clip-table-1'"),
        ({"claim": ""}, "expected claim to be one line of text"),
        ({"note": "two\nlines"}, "expected note to be one line of text"),
        ({"value": 76.2}, "got 'value'"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it(tmp_path, changes, message):
    path = write(tmp_path, ROW | {"id": "clip-table-2", "item": "Table 2"}, ROW | changes)
    with pytest.raises(PublishedError) as caught:
        published.claims(path)
    said = str(caught.value)
    assert said.startswith("claims.yaml: row 2: ")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize("key", [key for key in ROW if key != "verdict"])
def test_a_missing_key_is_named(tmp_path, key):
    path = write(tmp_path, {name: value for name, value in ROW.items() if name != key})
    with pytest.raises(PublishedError, match=rf"row 1: expected {key}, which is missing"):
        published.claims(path)


def test_an_item_given_twice_is_refused(tmp_path):
    with pytest.raises(PublishedError, match="row 2: clip-table-1 is given twice"):
        published.claims(write(tmp_path, ROW, ROW))


def test_a_ledger_that_is_no_list_is_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("rows: []", encoding="utf-8")
    with pytest.raises(PublishedError, match="expected a list of rows, got dict"):
        published.claims(path)


def test_the_five_papers_are_among_the_references_and_no_key_comes_twice():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = Counter(re.findall(r"^@[a-z]+\{([a-z0-9]+),$", text, re.MULTILINE))
    assert len(keys) == text.count("@")
    assert set(keys.values()) == {1}
    assert set(keys) >= {
        "radford2021clip",
        "tschannen2023clippo",
        "khan2023lilt",
        "mckinzie2023mismatch",
        "devillers2021language",
    }
    assert text.count("{") == text.count("}")
