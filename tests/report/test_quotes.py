"""Numbers in sentences: the right one, formatted, or a refusal that says why."""

from pathlib import Path

import pytest

from tests import made_up_book
from towers import records, report

PROVENANCE = records.Provenance(
    experiment="clip/toy",
    scale="laptop",
    commit=None,
    dirty=None,
    parameters={},
    seeds=[0],
    checksums={},
    versions={},
    hardware={},
    started="2026-01-01T00:00:00+00:00",
    wall_seconds=1.0,
    peak_memory_bytes=1,
    code="0" * 64,
)


def record(**changes) -> records.Record:
    """A record of the toy experiment."""
    values = {
        "experiment": "clip/toy",
        "scale": "laptop",
        "model": "ours",
        "data": "stamps",
        "metric": "R@1",
        "value": 0.223,
        "low": 0.17,
        "high": 0.285,
        "n": 157,
        "seed": 0,
    }
    return records.Record(**(values | changes))


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder with one experiment."""
    rows = [
        record(),
        record(metric="R@5", value=0.45, low=None, high=None),
        record(metric="chance R@1", value=0.223 / 35.2, low=None, high=None),
        record(metric="gain", value=0.031, low=0.01, high=0.05),
    ]
    records.write(tmp_path / "clip/toy/laptop.json", PROVENANCE, rows)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("clip/toy; metric=R@1", "22.3 %"),
        ("clip/toy; metric=R@1; show=interval", "22.3 % (17.0 to 28.5)"),
        ("clip/toy; metric=R@1; data=stamps; model=ours; seed=0; show=n", "157"),
        ("clip/toy; metric=R@1; over=chance R@1", "35 times"),
        ("clip/toy; metric=gain; show=gain", "+3.1 points (+1.0 to +5.0)"),
        ("clip/toy; metric=gain; show=estimate", "0.031 (0.01 to 0.05)"),
    ],
)
def test_quotes_the_selected_record(results, words, text):
    assert report.quote(words, "laptop", results)[0] == text


def test_tooltip_names_metric_data_and_count(results):
    title = report.quote("clip/toy; metric=R@1", "laptop", results)[1]
    assert title == "clip/toy at laptop scale: R@1 of ours on stamps, n = 157, seed 0"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("clip/toy", "found 4"),
        ("clip/toy; metric=R@2", "found 0"),
        ("clip/toy; metric=R@5; show=interval", "has none"),
        ("clip/toy; metric=R@1; show=loud", "show= one of"),
        ("clip/toy; metrik=R@1", "expected 'experiment; "),
        ("clip/toy; metric=R@1; over=R@2", "over=R@2, found 0"),
        ("clip/toy; metric=R@1; metric=R@5", "each once"),
        ("clip/toy; R@1", "expected 'experiment; "),
        ("clip/other; metric=R@1", "clip/other"),
    ],
)
def test_refuses_what_is_not_one_record(results, words, complaint):
    with pytest.raises(ValueError, match=complaint):
        report.quote(words, "laptop", results)


def test_a_new_run_is_seen(results):
    assert report.quote("clip/toy; metric=R@1", "laptop", results)[0] == "22.3 %"
    records.write(results / "clip/toy/laptop.json", PROVENANCE, [record(value=0.25)])
    assert report.quote("clip/toy; metric=R@1", "laptop", results)[0] == "25.0 %"


def test_cites_a_published_number_with_its_place():
    text, title = report.cite("clip 11; model=L/14-336px; column=ImageNet")
    assert text == "76.2 %"
    assert title.startswith("published: clip, Table 11 (Appendix B), ImageNet")


@pytest.mark.parametrize("words", ["clip; column=a", "clip 11", "clip 11; column=ImageNet"])
def test_refuses_to_cite_what_is_not_one_cell(words):
    with pytest.raises(ValueError, match="expected"):
        report.cite(words)


def test_a_stale_run_need_not_hold_what_today_s_pages_quote(checkout):
    made_up_book.add(checkout, "clip/toy")
    folder = checkout / "results"
    records.write(folder / "clip/toy/laptop.json", PROVENANCE, [record()])
    assert report.quote("clip/toy; metric=R@1", "laptop", folder)[0] == "22.3 %"
    text, title = report.quote("clip/toy; metric=recall at 1", "laptop", folder)
    assert text == "(not run yet)"
    assert title.startswith("clip/toy at laptop scale lacks this record; it is stale: ")


def test_an_experiment_that_has_not_run_is_said_to_have_not(results):
    text, title = report.quote("clip/retrieval; metric=R@1", "laptop", results)
    assert text == "(not run yet)"
    assert title == "clip/retrieval has no records at laptop scale"
