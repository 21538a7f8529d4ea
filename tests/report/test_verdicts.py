"""Verdicts follow from records by the ledger's rules, and nothing else."""

import json
from dataclasses import replace

import pytest
import yaml

from tests.report.test_quotes import PROVENANCE, record
from towers import cli, records
from towers.published.ledger import Claim
from towers.report import verdicts


def claim(*rules: dict, **changes) -> Claim:
    """A claim of the toy experiment; rules are given by what differs from the first one."""
    first = {"says": "Ahead.", "record": "clip/toy; ours; recall gain; gain", "expect": "above 0"}
    fields = {
        "id": "clip-table-1", "paper": "clip", "item": "Table 1", "section": "S", "claim": "C.",
        "experiment": "clip/toy", "note": "N.", "rules": [first | rule for rule in rules],
    }  # fmt: skip
    return Claim(**(fields | changes))


def gain(low: float, high: float, **changes) -> records.Record:
    """A joint gain over three seeds with this interval."""
    values = {
        "metric": "recall gain",
        "value": (low + high) / 2,
        "low": low,
        "high": high,
        "seed": None,
        "at": {"seeds": 3},
    }
    return record(**values | changes)


def decided(folder, ledger: Claim, *rows: records.Record) -> tuple:
    """The verdict on some records."""
    records.write(folder / "clip/toy/laptop", PROVENANCE, rows)
    return verdicts.decide(ledger, "laptop", folder)


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ((0.01, 0.05), "reproduced"), ((-0.05, -0.01), "not reproduced"),
        ((-0.01, 0.05), "inconclusive"),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_where_the_interval_lies(tmp_path, ends, wanted):
    given, (outcome,) = decided(tmp_path, claim({}), gain(*ends))
    assert given == wanted
    assert outcome.source == (
        "clip/toy at laptop scale: recall gain of ours on stamps, seeds 3, n = 157"
    )


def test_the_smallest_effect_that_could_be_seen_is_half_of_the_interval(tmp_path):
    rules = [{}, {"record": "clip/toy; ours; exponent; estimate"}]
    rows = gain(-0.01, 0.05), gain(-0.1, 0.2, metric="exponent")
    _, (share, power) = decided(tmp_path, claim(*rules), *rows)
    assert (share.value, share.reach) == ("+2.0 points (-1.0 to +5.0)", "3.0 points")
    assert (power.value, power.reach) == ("0.05 (-0.1 to 0.2)", "0.15")


def test_several_rules_come_to_one_verdict(tmp_path):
    rules = [{}, {"record": "clip/toy; theirs; recall gain; gain", "expect": "within 0.02"}]
    given, outcomes = decided(
        tmp_path, claim(*rules), gain(0.01, 0.05), gain(0.03, 0.05, model="theirs")
    )
    assert (given, [outcome.holds for outcome in outcomes]) == ("partly", [True, False])


def test_two_seeds_decide_nothing(tmp_path):
    given, (outcome,) = decided(tmp_path, claim({}), gain(0.01, 0.05, at={"seeds": 2}))
    assert (given, outcome.holds) == ("inconclusive", None)
    assert "fewer than 3 seeds" in outcome.value
    given, _ = decided(tmp_path, claim({}), gain(0.01, 0.05, at={}, seed=0))
    assert given == "inconclusive"


def test_where_nothing_is_trained_no_seeds_are_asked_for(tmp_path):
    ledger = claim({"over": "items"})
    assert decided(tmp_path, ledger, gain(0.01, 0.05, at={}))[0] == "reproduced"


COUNTED = {"metric": "agreement", "low": None, "high": None}


@pytest.mark.parametrize(("share", "wanted"), [(1.0, "reproduced"), (0.9, "not reproduced")])
def test_what_is_counted_needs_no_interval(tmp_path, share, wanted):
    ledger = claim({"record": "ours; agreement", "over": "nothing", "expect": "equals 1"})
    assert decided(tmp_path, ledger, record(**COUNTED, value=share))[0] == wanted


def test_a_record_without_an_interval_is_refused_where_a_rule_asks_for_one(tmp_path):
    with pytest.raises(ValueError, match="interval"):
        decided(tmp_path, claim({"record": "ours; agreement"}), record(**COUNTED))


def test_a_typed_verdict_stays(tmp_path):
    ledger = claim(rules=(), verdict="not run")
    assert verdicts.decide(ledger, "laptop", tmp_path) == ("not run", [])


def test_smoke_decides_nothing(tmp_path):
    row = gain(0.01, 0.05, scale="smoke")
    records.write(tmp_path / "clip/toy/smoke", replace(PROVENANCE, scale="smoke"), [row])
    given, (outcome,) = verdicts.decide(claim({}), "smoke", tmp_path)
    assert (given, outcome.source) == ("not run", None)


def test_what_has_not_run_has_no_verdict(tmp_path):
    ledger = claim({"record": "clip/zero_shot; recall gain"})
    assert verdicts.decide(ledger, "laptop", tmp_path)[0] == "not run"


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """A checkout with a ledger of two papers, and records of one row."""
    rows = [
        {"id": "clip-table-1", "paper": "clip", "item": "Table 1", "section": "S", "claim": "C.",
         "experiment": "clip/toy", "note": "N.",
         "rules": [{"says": "Ahead.", "record": "ours; recall gain", "expect": "above 0"}]},
        {"id": "lilt-table-1", "paper": "lilt", "item": "Table 1", "section": "S", "claim": "C.",
         "experiment": None, "note": "N.", "verdict": "not run"},
    ]  # fmt: skip
    for name in ("book", "lib", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "book/claims.yaml").write_text(yaml.safe_dump(rows))
    monkeypatch.setenv("TOWERS_ROOT", str(tmp_path))
    records.write(tmp_path / "results/clip/toy/laptop", PROVENANCE, [gain(0.01, 0.05)])
    return tmp_path


def test_the_command_prints_the_ledger(ledger, capsys):
    assert cli.main(["claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["PAPER", "clip", "lilt", lines[-1]]
    assert "reproduced" in lines[1]
    assert lines[-1] == "1 reproduced, 1 not run"


def test_machines_get_rules_and_records(ledger, capsys):
    assert cli.main(["claims", "--json", "--paper", "clip"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert {key: row[key] for key in ("id", "paper", "item", "experiment", "verdict")} == {
        "id": "clip-table-1", "paper": "clip", "item": "Table 1", "experiment": "clip/toy",
        "verdict": "reproduced",
    }  # fmt: skip
    (rule,) = row["rules"]
    assert (rule["expect"], rule["holds"], rule["smallest_effect"]) == (
        "above 0", True, "2.0 points",
    )  # fmt: skip
    assert rule["source"].startswith("clip/toy at laptop scale: recall gain of ours")


def test_a_paper_that_the_ledger_lacks_is_named(ledger, capsys):
    assert cli.main(["claims", "--paper", "clipp"]) == 2
    said = capsys.readouterr().err
    assert "'clipp'" in said
    assert "clip, lilt" in said
