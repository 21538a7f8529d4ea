"""Reading tables: strict, one-line errors that name file and row, and no heavy imports."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from towers import published
from towers.published import PublishedError
from towers.published.tables import read

GOOD = {
    "paper": "clip",
    "number": 1,
    "title": "A title",
    "unit": "percent",
    "source": "Section 1",
    "columns": {"model": "text", "accuracy": "number", "classes": "integer"},
    "rows": [["CLIP", 76.2, 10], ["other", None, None]],
}


def reread(**changes) -> published.Table:
    entry = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    return read(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True), "clip/table_01.yaml")


def test_a_good_file_is_read_as_it_stands():
    table = reread(note="A note.")
    assert (table.paper, table.number, table.unit) == ("clip", 1, "percent")
    assert (table.title, table.source) == ("A title", "Section 1")
    assert (table.note, table.garbled) == ("A note.", None)
    expected = pd.DataFrame(
        {
            "model": pd.Series(["CLIP", "other"], dtype="str"),
            "accuracy": [76.2, np.nan],
            "classes": pd.array([10, None], dtype="Int64"),
        }
    )
    pd.testing.assert_frame_equal(table.frame, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "percent"}, "columns, rows, note, garbled; got 'units'"),
        ({"source": ...}, "expected source, which is missing"),
        ({"unit": "per cent"}, "expected unit to be 'percent', 'count' or 'mixed', got 'per cent'"),
        ({"number": "1"}, "expected number to be a valid integer, got '1'"),
        ({"number": True}, "expected number to be a valid integer, got True"),
        ({"number": 0}, "expected number to be greater than 0, got 0"),
        (
            {"title": "two\nlines"},
            "expected title to be one line of text without blanks around it, got 'two",
        ),
        ({"title": 7}, "expected title to be a valid string, got 7"),
        (
            {"garbled": None},
            "expected garbled to be one line of text without blanks around it, got None",
        ),
        (
            {"columns": {"model": "str"}},
            "columns.model to be 'text', 'number' or 'integer', got 'str'",
        ),
        (
            {"columns": {"model": ["text"]}},
            "model to be 'text', 'number' or 'integer', got ['text']",
        ),
        (
            {"unit": ["percent"]},
            "expected unit to be 'percent', 'count' or 'mixed', got ['percent']",
        ),
        ({"columns": {}}, "expected columns to have at least 1 item"),
        ({"columns": {2007: "number"}}, "expected columns.2007 to be a valid string, got 2007"),
        ({"rows": []}, "expected rows to have at least 1 item"),
        ({"rows": [GOOD["rows"][0], ["x", 1.0]]}, "row 2 to be a list of 3 cells, got ['x', 1.0]"),
        ({"rows": [["x", 1.0, 1, 1]]}, "row 1 to be a list of 3 cells, got ['x', 1.0, 1, 1]"),
        ({"rows": ["abc"]}, "row 1 to be a list of 3 cells, got 'abc'"),
        (
            {"rows": [["x", "76.2", 1]]},
            "number (percent) or null in row 1, column 'accuracy', got '76.2'",
        ),
        (
            {"rows": [["x", True, 1]]},
            "number (percent) or null in row 1, column 'accuracy', got True",
        ),
        (
            {"rows": [["x", float("nan"), 1]]},
            "expected number (percent) or null in row 1, column 'accuracy', got '.nan'",
        ),
        (
            {"unit": "count", "rows": [["x", float("inf"), 1]]},
            "number (count) or null in row 1, column 'accuracy', got '.inf'",
        ),
        (
            {"rows": [["x", 100.1, 1]]},
            "expected number (percent) or null in row 1, column 'accuracy', got 100.1",
        ),
        (
            {"rows": [["x", 1.0, 101]]},
            "expected integer (percent) or null in row 1, column 'classes', got 101",
        ),
        (
            {"rows": [["x", 1.0, 1.0]]},
            "integer (percent) or null in row 1, column 'classes', got 1.0",
        ),
        (
            {"rows": [[5, 1.0, 1]]},
            "expected text (percent) or null in row 1, column 'model', got 5",
        ),
        (
            {"rows": [["", 1.0, 1]]},
            "expected text (percent) or null in row 1, column 'model', got ''",
        ),
        (
            {"rows": [[" x", 1.0, 1]]},
            "expected text (percent) or null in row 1, column 'model', got ' x'",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(changes, message):
    with pytest.raises(PublishedError) as caught:
        reread(**changes)
    said = str(caught.value)
    assert said.startswith("clip/table_01.yaml: ")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected `key: value` lines, got [1]"),
        ("a: [1", "line 1: "),
        ("paper: clip\npaper: clip\n", "line 2: paper is there twice"),
        ("a: {[1]: 2}", "line 1: expected a name as key"),
        ("a: \x00", "special characters are not allowed"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_file(text, message):
    with pytest.raises(PublishedError) as caught:
        read(text, "clip/table_01.yaml")
    said = str(caught.value)
    assert said.startswith("clip/table_01.yaml: ")
    assert message in said
    assert "\n" not in said


def test_numbers_beyond_100_are_fine_where_the_unit_is_no_percentage():
    table = reread(unit="count", rows=[["x", 1e7, 1281167]])
    assert table.value("classes", model="x") == 1281167


numbers = st.none() | st.floats(-100, 100) | st.integers(-100, 100)
integers = st.none() | st.integers(-100, 100)
texts = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.lists(st.tuples(texts, numbers, integers), min_size=1, max_size=5))
def test_what_is_written_is_read(rows):
    frame = reread(rows=[list(row) for row in rows]).frame
    for name, column in zip(frame, zip(*rows, strict=True), strict=True):
        read_back = [None if pd.isna(cell) else cell for cell in frame[name]]
        assert read_back == list(column)


def test_value_needs_one_row_and_a_number():
    table = reread()
    assert table.value("accuracy", model="CLIP") == 76.2
    for column, where, message in [
        ("Accuracy", {"model": "CLIP"}, "expected one of the columns model, accuracy, classes"),
        ("accuracy", {"name": "CLIP"}, "got 'name'"),
        ("accuracy", {}, "to name one row, it names 2"),
        ("accuracy", {"model": "clip"}, "to name one row, it names 0"),
        ("model", {"model": "CLIP"}, "expected a numeric column, got 'model'"),
        ("accuracy", {"model": "other"}, "'accuracy' of {'model': 'other'} is missing"),
        ("classes", {"model": "other"}, "'classes' of {'model': 'other'} is missing"),
    ]:
        with pytest.raises(PublishedError) as caught:
            table.value(column, **where)
        assert str(caught.value).startswith("Table 1 of clip: ")
        assert message in str(caught.value)


@pytest.mark.parametrize(
    "table", published.tables(), ids=lambda table: f"{table.paper}-{table.number}"
)
def test_tidy_holds_every_number_once(table):
    tidy = table.tidy()
    texts = [name for name in tidy if name not in ("column", "value")]
    wide = tidy.pivot(index=texts, columns="column", values="value")
    rows = table.frame.set_index(texts)
    assert len(tidy) == len(rows) * len(rows.columns)
    for name in rows:
        found = wide.loc[rows.index, name].to_numpy()
        np.testing.assert_array_equal(found, rows[name].to_numpy(dtype=float, na_value=np.nan))


def test_each_call_gives_a_table_of_its_own():
    first = published.table("clip", 1)
    first.frame.loc[0, "ImageNet"] = 0.0
    assert published.table("clip", 1).value("ImageNet", model="Visual N-Grams") == 11.5


def test_all_papers_are_listed_in_order():
    held = [(table.paper, table.number) for table in published.tables()]
    assert held == sorted(set(held))
    assert {paper for paper, _ in held} >= {"clip"}


@pytest.mark.parametrize(
    ("paper", "number", "message"),
    [
        ("CLIP", 1, "expected a paper (clip"),
        ("../published/clip", 1, "expected a paper (clip"),
        ("clip", 10, "expected the number of a table held for clip (1, 2, "),
    ],
)
def test_a_table_that_is_not_held_is_an_error(paper, number, message):
    with pytest.raises(PublishedError) as caught:
        published.table(paper, number)
    assert message in str(caught.value)
    assert repr(number if paper == "clip" else paper) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "clip/table_02.yaml",
            "clip/table_02.yaml: expected paper clip and number 2, got clip and 1",
        ),
        (
            "lilt/table_01.yaml",
            "lilt/table_01.yaml: expected paper lilt and number 1, got clip and 1",
        ),
        ("clip/table_1.yaml", "clip/table_1.yaml: expected a name like table_01.yaml"),
        ("clip/table_01.yml", "clip/table_01.yml: expected a name like table_01.yaml"),
        ("clip/01.yaml", "clip/01.yaml: expected a name like table_01.yaml"),
    ],
)
def test_a_file_in_the_wrong_place_is_an_error(tmp_path, monkeypatch, path, message):
    file = tmp_path / path
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(GOOD, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(PublishedError) as caught:
        published.tables()
    assert str(caught.value) == message


def test_hidden_files_and_folders_are_passed_over(tmp_path, monkeypatch):
    for name in ("clip/.table_01.yaml.part", "_cache/x.yaml", ".hidden/x.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "clip/table_01.yaml").write_text(
        yaml.safe_dump(GOOD, sort_keys=False), encoding="utf-8"
    )
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert [(table.paper, table.number) for table in published.tables()] == [("clip", 1)]


@pytest.mark.slow
def test_reading_needs_no_torch():
    code = (
        "import sys; from towers import published; published.tables(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
