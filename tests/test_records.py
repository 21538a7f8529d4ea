"""Rows and provenance are typed, checked, and read back as they were written."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers import records
from towers.records import Measurement, Provenance, Record, RecordsError

LINE = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def row(**changes) -> Record:
    """A good record, changed."""
    good = {
        "experiment": "clip/zero_shot", "scale": "smoke", "model": "m", "data": "d",
        "metric": "top-1", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "seed": 0,
    }  # fmt: skip
    return Record(**good | changes)


def source(**changes) -> Provenance:
    """A good provenance, changed."""
    good = {
        "experiment": "clip/zero_shot", "scale": "smoke", "commit": None, "dirty": None,
        "parameters": {"seed": 0, "ks": [1, 5]}, "seeds": [0], "checksums": {"d": "0" * 64},
        "versions": {"python": "3"}, "hardware": {"cores": 2}, "started": "2026-01-01T00:00:00",
        "wall_seconds": 1.5, "peak_memory_bytes": 10, "code": "f", "artifacts": {},
    }  # fmt: skip
    return Provenance(**good | changes)


@st.composite
def rows(draw) -> Record:
    """Any good record."""
    low, value, high = sorted(draw(st.tuples(FINITE, FINITE, FINITE)))
    return row(
        model=draw(LINE), data=draw(LINE), metric=draw(LINE), value=value,
        low=draw(st.sampled_from([None, low])), high=draw(st.sampled_from([None, high])),
        n=draw(st.integers(0, 2**60)), seed=draw(st.none() | st.integers(0, 2**32)),
        chance=draw(st.none() | FINITE),
        at=draw(st.dictionaries(
            st.sampled_from(["k", "language", "shots"]),
            LINE | st.integers(-9, 9) | st.booleans() | FINITE,
        )),
    )  # fmt: skip


class TestRows:
    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("value", math.nan, "expected value to be a finite number, got nan"),
            ("value", math.inf, "expected value to be a finite number, got inf"),
            ("value", True, "expected value to be a valid number, got True"),
            ("value", "0.5", "expected value to be a valid number, got '0.5'"),
            ("value", None, "expected value to be a valid number, got None"),
            ("low", 0.51, "expected low <= value <= high"),
            ("high", 0.49, "expected low <= value <= high"),
            ("low", math.nan, "expected low to be a finite number"),
            ("n", -1, "expected n to be greater than or equal to 0, got -1"),
            ("n", 1.0, "expected n to be a valid integer, got 1.0"),
            ("n", True, "expected n to be a valid integer, got True"),
            ("seed", -1, "expected seed to be greater than or equal to 0"),
            ("model", "", "expected model to be one line of text, got ''"),
            ("data", "two\nlines", "expected data to be one line of text"),
            ("metric", 3, "expected metric to be a valid string, got 3"),
            ("experiment", None, "expected experiment to be a valid string, got None"),
            ("scale", "large", "expected scale to be 'smoke', 'laptop' or 'paper', got 'large'"),
            ("chance", math.nan, "expected chance to be a finite number"),
            ("at", ["k"], "expected at to be a valid dictionary"),
            ("at", {"seed": 1}, "other than a record's own fields, got 'seed'"),
            ("at", {"K": 1}, "named by small letters"),
            ("at", {3: 1}, "a valid string, got 3"),
            ("at", {"k": None}, "k as a text, a finite number or a truth, got None"),
            ("at", {"k": ""}, "k as a text"),
            ("at", {"k": math.inf}, "k as a text"),
            ("at", {"k": [1]}, "k as a text"),
        ],
    )
    def test_a_wrong_field_is_refused_by_name(self, field, value, message):
        with pytest.raises(RecordsError, match=message) as caught:
            row(**{field: value})
        assert "\n" not in str(caught.value)

    def test_numpy_scalars_become_plain_numbers(self):
        made = row(value=np.float32(0.5), low=np.float64(0.25), n=np.int64(7), seed=np.int32(1))
        assert made == row(value=0.5, low=0.25, n=7, seed=1)
        assert {type(made.value), type(made.low)} == {float}
        assert {type(made.n), type(made.seed)} == {int}

    def test_numpy_conditions_become_plain_ones_and_their_order_does_not_count(self):
        made = row(at={"k": np.int64(5), "share": np.float64(0.5), "direction": "text"})
        assert {name: type(value) for name, value in made.at.items()} == {
            "k": int, "share": float, "direction": str,
        }  # fmt: skip
        assert made.key == row(at={"direction": "text", "share": 0.5, "k": 5}).key
        assert made.key != row(at={"direction": "text", "share": 0.5, "k": 1}).key

    def test_a_record_says_what_it_is(self):
        made = row(at={"direction": "text retrieval", "k": 1})
        assert str(made) == "top-1 of m on d, direction text retrieval, k 1, seed 0"

    def test_fields_are_given_by_name(self):
        with pytest.raises(TypeError, match="positional"):
            Measurement("m", "d", "top-1", 0.5, None, None, 10, 0)

    def test_one_sided_intervals_stand(self):
        assert row(low=None, high=0.5).high == 0.5

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("commit", 3), ("dirty", "yes"), ("seeds", ["0"]), ("seeds", None), ("started", ""),
            ("parameters", []), ("checksums", None), ("wall_seconds", math.nan),
            ("peak_memory_bytes", -1), ("scale", "x"), ("artifacts", {3: "x"}),
        ],
    )  # fmt: skip
    def test_a_wrong_provenance_is_refused_by_name(self, field, value):
        with pytest.raises(RecordsError, match=f"expected {field}"):
            source(**{field: value})


class TestFile:
    @given(made=st.lists(rows(), min_size=1, max_size=5, unique_by=lambda made: made.key))
    def test_what_is_written_is_read(self, made, tmp_path_factory):
        path = tmp_path_factory.mktemp("records") / "smoke"
        records.write(path, source(), made)
        assert records.read(path) == (source(), made)

    def test_the_file_is_plain_json_with_the_documented_fields(self, tmp_path):
        records.write(tmp_path / "smoke", source(), [row()])
        content = json.loads((tmp_path / "smoke/records.json").read_text())
        assert content == {
            "provenance": dataclasses.asdict(source()),
            "records": [dataclasses.asdict(row())],
        }

    def test_no_records_are_refused(self, tmp_path):
        with pytest.raises(RecordsError, match="at least one record of clip/zero_shot, got none"):
            records.write(tmp_path / "smoke", source(), [])

    def test_records_of_another_experiment_are_refused(self, tmp_path):
        with pytest.raises(RecordsError, match="got one of clip/retrieval at scale smoke"):
            records.write(tmp_path / "x", source(), [row(), row(experiment="clip/retrieval")])
        assert not (tmp_path / "x").exists()

    def test_two_values_for_one_key_are_refused(self, tmp_path):
        with pytest.raises(RecordsError, match="expected one record of top-1 of m on d, seed 0"):
            records.write(tmp_path / "x", source(), [row(), row(value=0.55)])

    def test_provenance_that_is_no_json_is_refused(self, tmp_path):
        for parameters in ({"a": object()}, {"a": math.nan}):
            with pytest.raises(RecordsError, match="literals in the provenance"):
                records.write(tmp_path / "x", source(parameters=parameters), [row()])
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda text: text[: len(text) // 2], "is no JSON"),
            (lambda text: "", "is no JSON"),
            (lambda text: "[]", "expected provenance and records"),
            (lambda text: "[" * 100_000, "is no JSON"),
            (lambda text: text.replace('"n"', '"m"'), "expected keys of .*; got 'm'"),
            (lambda text: text.replace('"value": 0.5', '"value": NaN'), "finite number"),
            (lambda text: text.replace('"value": 0.5', '"value": 0.7'), "low <= value <= high"),
            (lambda text: text.replace('"records": [', '"records": [[], '), r"got \[\]"),
        ],
    )
    def test_a_damaged_file_is_an_error_that_names_it(self, damage, message, tmp_path):
        records.write(tmp_path, source(), [row()])
        path = tmp_path / "records.json"
        path.write_text(damage(path.read_text()))
        with pytest.raises(RecordsError, match=message) as caught:
            records.read(tmp_path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_an_error_that_says_what_to_do(self, tmp_path):
        with pytest.raises(RecordsError, match="found none; run the experiment"):
            records.read(tmp_path / "smoke")


class TestTable:
    @pytest.fixture
    def results(self, tmp_path):
        for name in ("clip/zero_shot", "lilt/two"):
            for scale in ("smoke", "paper"):
                made = [row(experiment=name, scale=scale, seed=seed) for seed in (0, None)]
                provenance = source(experiment=name, scale=scale)
                records.write(tmp_path / name / scale, provenance, made)
        (tmp_path / "clip/zero_shot/notes.json").write_text("{}")
        (tmp_path / "clip/zero_shot/smoke/.records.json.x.part").write_text("{")
        records.write(tmp_path / "clip/zero_shot/.smoke.old", source(), [row()])
        return tmp_path

    def test_has_one_row_a_record_and_its_columns_are_the_fields(self, results):
        table = records.table(results)
        assert len(table) == 8
        assert {*table.columns, "at"} == {field.name for field in dataclasses.fields(Record)}
        assert table["seed"].tolist()[:2] == [0, pd.NA]

    def test_conditions_are_columns_of_their_kind(self):
        table = records.frame(
            [
                row(at={"k": 5, "language": "fr"}),
                row(at={"radius": 0.5, "sure": True}, chance=0.1),
                row(at={"k": 1, "radius": 2}),
            ]
        )
        assert table.k.tolist() == [5, pd.NA, 1]
        assert table.language.tolist() == ["fr", "", ""]
        assert table.dtypes[["k", "radius", "sure"]].map(str).tolist() == [
            "Int64", "float64", "boolean",
        ]  # fmt: skip
        assert table.query("k == 5").language.tolist() == ["fr"]
        assert table.chance.tolist()[1] == 0.1

    def test_rows_are_selected_by_what_they_have_and_what_they_lack(self):
        table = records.frame(
            [row(at={"k": k} | at) for k in (1, 5) for at in ({}, {"prompt": "a photo of"})]
            + [row(metric="other")]
        )
        select = records.select
        assert select(table, metric="top-1", k=1).prompt.tolist() == ["", "a photo of"]
        assert select(table, k=5, prompt=None).index.tolist() == [2]
        assert select(table, k=None).metric.tolist() == ["other"]
        assert len(select(table, shots=None)) == 5
        assert select(table, shots=10).empty

    def test_selects_scale_and_experiment(self, results):
        assert set(records.table(results, scale="paper")["scale"]) == {"paper"}
        one = records.table(results, scale="smoke", experiment="lilt/two")
        assert (len(one), set(one["experiment"])) == (2, {"lilt/two"})

    def test_of_nothing_has_the_same_columns_and_types(self, results, tmp_path):
        empty = records.table(tmp_path / "nothing")
        assert empty.empty
        assert empty.dtypes.equals(records.table(results).dtypes)

    def test_a_damaged_file_is_not_passed_over(self, results):
        (results / "clip/zero_shot/smoke/records.json").write_text("{")
        with pytest.raises(RecordsError, match=r"records\.json is no JSON"):
            records.table(results)

    @pytest.mark.parametrize(
        ("suffix", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)]
    )
    def test_export_reads_back_the_same(self, results, tmp_path, suffix, read):
        table = records.table(results)
        path = tmp_path / "out" / f"table.{suffix}"
        records.export(table, path)
        again = read(path).astype(table.dtypes)
        pd.testing.assert_frame_equal(again, table)

    def test_export_refuses_other_endings(self, results, tmp_path):
        with pytest.raises(RecordsError, match=r"ending in .csv or .parquet, got 'out.xlsx'"):
            records.export(records.table(results), tmp_path / "out.xlsx")
