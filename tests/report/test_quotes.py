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
    parameters={"seed": 0},
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
    recall = {"metric": "recall", "chance": 0.223 / 35.2}
    text, image = ({"direction": f"{what} retrieval"} for what in ("text", "image"))
    rows = [
        record(**recall, at=text | {"k": 1}),
        record(**recall, at=text | {"k": 1}, value=0.25, seed=1),
        record(**recall, at=text | {"k": 1, "prompt": "a photo of"}, value=0.2),
        record(**recall, at=text | {"k": 1, "averaged": "seeds"}, value=0.24, seed=None),
        record(**recall, at=image | {"k": 1}, value=0.26),
        record(**recall, at=image | {"k": 5}, value=0.45, low=None, high=None),
        record(metric="gain", value=0.031, low=0.01, high=0.05),
        record(model="theirs", metric="gain", value=0.02, low=0.01, high=0.05, seed=None),
    ]
    records.write(tmp_path / "clip/toy/laptop", PROVENANCE, rows)
    return tmp_path


FIRST = "clip/toy; recall; text retrieval; k=1"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (FIRST, "22.3 %"),
        (FIRST + "; interval", "22.3 % (17.0 to 28.5)"),
        ("clip/toy; metric=recall; data=stamps; model=ours; seed=0; text retrieval; n", "157"),
        (FIRST + "; seed=1", "25.0 %"),
        (FIRST + "; a photo of", "20.0 %"),
        (FIRST + "; averaged=seeds", "24.0 %"),
        (FIRST + "; times chance", "35 times"),
        (FIRST + "; chance", "0.6 %"),
        ("clip/toy; image retrieval; k=5", "45.0 %"),
        ("clip/toy; k=5", "45.0 %"),
        ("clip/toy; ours; gain; gain", None),
        ("clip/toy; metric=gain; model=ours; gain", "+3.1 points (+1.0 to +5.0)"),
        ("clip/toy; theirs; estimate", "0.02 (0.01 to 0.05)"),
    ],
)
def test_quotes_the_selected_record(results, words, text):
    if text is None:  # a word is there once
        with pytest.raises(ValueError, match="each once"):
            report.quote(words, "laptop", results)
    else:
        assert report.quote(words, "laptop", results)[0] == text


def test_a_page_s_own_experiment_may_be_left_out(results):
    assert report.quote("k=5", "laptop", results, page="clip/toy")[0] == "45.0 %"
    assert report.quote("clip/toy; k=5", "laptop", results, page="clip/other")[0] == "45.0 %"
    with pytest.raises(ValueError, match="expected 'experiment; word"):
        report.quote("k=5", "laptop", results)


def test_tooltip_names_metric_data_conditions_and_count(results):
    title = report.quote(FIRST, "laptop", results)[1]
    assert title == (
        "clip/toy at laptop scale: recall of ours on stamps, direction text retrieval, k 1, seed 0,"
        " n = 157"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("clip/toy", "expected 'experiment; word"),
        ("clip/toy; recall", "found 3; say more: they differ in direction, k$"),
        ("clip/toy; recall; k=2", "found none; no 'k=2'; k is one of 1, 5$"),
        ("clip/toy; recal", "no 'recal'; metric is one of recall, gain$"),
        ("clip/toy; k=5; interval", "has none"),
        ("clip/toy; k=5; model=other", "model is one of ours$"),
        ("clip/toy; metrik=recall", "metric is one of"),
        ("clip/toy; k=5; interval; n", "one format at most"),
        ("clip/toy; k=5; k=5", "each once"),
        ("clip/toy; metric=gain; model=ours; times chance", "with its chance"),
        ("clip/other; recall", "clip/other"),
    ],
)
def test_refuses_what_is_not_one_record(results, words, complaint):
    with pytest.raises(ValueError, match=complaint):
        report.quote(words, "laptop", results)


def test_a_new_run_is_seen(results):
    assert report.quote("clip/toy; k=5", "laptop", results)[0] == "45.0 %"
    rows = [record(value=0.25, at={"k": 5})]
    records.write(results / "clip/toy/laptop", PROVENANCE, rows)
    assert report.quote("clip/toy; k=5", "laptop", results)[0] == "25.0 %"


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
    records.write(folder / "clip/toy/laptop", PROVENANCE, [record()])
    assert report.quote("clip/toy; metric=R@1", "laptop", folder)[0] == "22.3 %"
    text, title = report.quote("clip/toy; metric=recall at 1", "laptop", folder)
    assert text == "(not run yet)"
    assert title.startswith("clip/toy at laptop scale lacks this record; it is stale: ")


def test_an_experiment_that_has_not_run_is_said_to_have_not(results):
    text, title = report.quote("clip/retrieval; metric=R@1", "laptop", results)
    assert text == "(not run yet)"
    assert title == "clip/retrieval has no records at laptop scale"
