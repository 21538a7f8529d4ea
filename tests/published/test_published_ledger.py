"""The claims ledger: complete for each paper it holds, strict, true to the published tables."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from towers import experiments, published
from towers.published import VERDICTS, PublishedError

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
        ("clip", "Figure 1"), ("clip", "Figure 3"), ("clip", "Figure 19"),
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


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_can_be_given(tmp_path, verdict):
    (claim,) = published.claims(write(tmp_path, ROW | {"verdict": verdict}))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "done"}, "expected verdict to be 'reproduced', 'partly', 'not reproduced'"),
        ({"verdict": None}, "'not run' or 'illustration', got None"),
        (
            {"verdict": "partly", "experiment": None},
            "expected an experiment that gave the number of 'partly', got null",
        ),
        (
            {"experiment": "zero_shot"},
            "expected experiment to be part/name or null, got 'zero_shot'",
        ),
        (
            {"experiment": "clip/zero-shot"},
            "experiment to be part/name or null, got 'clip/zero-shot'",
        ),
        ({"experiment": 3}, "expected experiment to be a valid string, got 3"),
        ({"item": "Tab. 1"}, "expected item to be like Table 1, got 'Tab. 1'"),
        ({"item": "Table 01"}, "expected item to be like Table 1, got 'Table 01'"),
        ({"item": "Figure 1"}, "expected id to be clip-figure-1, got 'clip-table-1'"),
        ({"paper": "lilt"}, "expected id to be lilt-table-1, got 'clip-table-1'"),
        ({"claim": ""}, "expected claim to be one line of text without blanks around it, got ''"),
        ({"note": "two\nlines"}, "expected note to be one line of text"),
        (
            {"value": 76.2},
            "claim, experiment, verdict, note; got 'value'",
        ),
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


@pytest.mark.parametrize("key", ROW)
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
