"""What a notebook calls: begin, add, uses, figure_data, write."""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import made_up_book
from towers import experiments, files, records
from towers.experiments import ExperimentError, recording
from towers.records import Measurement, RecordsError


def measured(**changes) -> Measurement:
    """A good measurement, changed."""
    good = {"model": "m", "data": "d", "metric": "top-1", "value": 0.5, "n": 10, "seed": 0}
    return Measurement(**good | changes)


@pytest.fixture
def namespace(checkout) -> dict:
    """The globals of a notebook after its parameters cell."""
    made_up_book.add(checkout, "a/b")
    return {"scale": "laptop", "seed": 3, "candidates": 100, "rate": 0.5, "os": os, "In": [""]}


@pytest.fixture
def run(namespace) -> experiments.Run:
    """A run that has begun."""
    return experiments.begin("a/b", namespace)


class TestBegin:
    def test_picks_the_declared_parameters(self, run):
        assert run.parameters == {"scale": "laptop", "seed": 3, "candidates": 100, "rate": 0.5}
        assert run.scale == "laptop"

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("rate", "high", r"a/b: rate must be float, got 'high' \(str\)"),
            ("seed", True, r"a/b: seed must be int, got True \(bool\)"),
            ("seed", 1.0, "a/b: seed must be int"),
            ("scale", "huge", "no scale 'huge'; expected one of smoke, laptop, paper"),
            ("scale", ["laptop"], "no scale"),
        ],
    )
    def test_refuses_a_wrong_value_as_towers_run_does(self, namespace, name, value, message):
        with pytest.raises(ExperimentError, match=message):
            experiments.begin("a/b", namespace | {name: value})

    def test_refuses_to_begin_before_the_parameters(self, namespace):
        del namespace["rate"]
        with pytest.raises(ExperimentError, match="rate is not set; call begin after"):
            experiments.begin("a/b", namespace)

    def test_refuses_an_unknown_parameter_that_papermill_has_injected(self, namespace):
        namespace["In"] = ["", "# Parameters\nrate = 0.5\nrte = 0.1\n"]
        with pytest.raises(ExperimentError, match="a/b has no parameter 'rte'"):
            experiments.begin("a/b", namespace)

    def test_seeds_every_generator(self, namespace):
        torch = pytest.importorskip("torch")
        draws = []
        for seed in (3, 3, 4):
            experiments.begin("a/b", namespace | {"seed": seed})
            draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
        assert draws[0] == draws[1]
        assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))

    def test_does_not_import_torch_for_it(self, namespace, monkeypatch):
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        experiments.begin("a/b", namespace)
        assert "torch" not in sys.modules


class TestResult:
    """What another experiment recorded, asked for by its name."""

    @pytest.fixture
    def needing(self, namespace, checkout, monkeypatch):
        """Begins a/c, which needs a/b, at a scale."""
        monkeypatch.setattr(recording, "_begun", [])
        made_up_book.add(checkout, "a/c", yaml=made_up_book.YAML + "needs: [a/b]\n")
        return lambda scale: experiments.begin("a/c", namespace | {"scale": scale})

    def test_is_its_records_at_the_scale_of_the_run_that_asks(self, needing, namespace):
        for scale, value in (("smoke", 0.25), ("laptop", 0.75)):
            other = experiments.begin("a/b", namespace | {"scale": scale})
            other.add(measured(value=value, at={"k": 5}))
            other.write()
        for scale, value in (("smoke", 0.25), ("laptop", 0.75)):
            needing(scale)
            found = experiments.result("a/b")
            table = found.frame
            (row,) = table.to_dict("records")
            assert (row["experiment"], row["scale"], row["value"]) == ("a/b", scale, value)
            assert row["k"] == 5

    def test_has_the_parameters_of_the_run_and_changes_of_them(self, needing, run):
        run.add(measured())
        run.write()
        needing("laptop")
        assert experiments.result("a/b").parameters == run.parameters
        changed = experiments.result("a/b", {"seed": 9}).parameters
        assert changed == run.parameters | {"seed": 9}
        with pytest.raises(ExperimentError, match=r"changes of parameters of a/b .*, got sede$"):
            experiments.result("a/b", {"sede": 9})

    def test_is_refused_in_one_line(self, needing, run):
        run.add(measured())
        run.write()  # at laptop scale
        recording._begun.clear()
        with pytest.raises(ExperimentError, match="begin first"):
            experiments.result("a/b")
        needing("smoke")
        with pytest.raises(RecordsError, match=r"a/b/smoke.*found none; run the exp") as caught:
            experiments.result("a/b")
        assert "\n" not in str(caught.value)
        with pytest.raises(ExperimentError, match=r"a/c among the needs of a/c.*c\.yaml"):
            experiments.result("a/c")


class TestRun:
    def test_measurements_become_records_of_this_experiment_and_scale(self, run):
        run.add(measured())
        run.add(measured(seed=seed) for seed in (1, 2))
        frame = run.frame()
        assert set(frame["experiment"]) == {"a/b"}
        assert set(frame["scale"]) == {"laptop"}
        assert frame["seed"].tolist() == [0, 1, 2]

    def test_a_cell_may_run_twice_but_not_with_another_value(self, run):
        run.add(measured())
        run.add(measured())
        assert len(run.frame()) == 1
        with pytest.raises(ExperimentError, match="top-1 of m on d, seed 0 has a value"):
            run.add(measured(value=0.6))

    @pytest.mark.parametrize("wrong", [3, "text", [3], {"a": 1}, None])
    def test_only_measurements_are_recorded(self, run, wrong):
        with pytest.raises(ExperimentError, match="expected a Measurement, got "):
            run.add(wrong)

    def test_checksums_are_sha256_and_do_not_change(self, run):
        run.uses("stamps", "a" * 64)
        run.uses("stamps", "a" * 64)
        with pytest.raises(ExperimentError, match="'stamps' has checksum aaa"):
            run.uses("stamps", "b" * 64)
        for wrong in ("xyz", "A" * 64, "a" * 63, None):
            with pytest.raises(ExperimentError, match="expected a SHA-256 in hex for 'clipart'"):
                run.uses("clipart", wrong)

    @pytest.mark.parametrize("name", ["../x", "", "A", "a b", "a.csv"])
    def test_figure_names_are_no_paths(self, run, name):
        with pytest.raises(ExperimentError, match="expected a name of a-z, 0-9 and _"):
            run.figure_data(name, pd.DataFrame())

    def test_write_publishes_records_provenance_and_figures(self, run, checkout, monkeypatch):
        monkeypatch.chdir(checkout)
        run.add(measured(seed=7))
        run.uses("stamps", "a" * 64)
        run.figure_data("bars", pd.DataFrame({"x": [1], "y": [0.5]}))
        path = run.write()
        assert path == Path("results/a/b/laptop")
        source, rows = records.read(path)
        assert [row.value for row in rows] == [0.5]
        assert source.parameters == run.parameters
        assert source.seeds == [3, 7]
        assert source.checksums == {"stamps": "a" * 64}
        assert source.code == experiments.fingerprint(run.experiment, overrides={"seed": 3})
        assert source.versions["numpy"] == np.__version__
        assert source.hardware["cores"] >= 1
        assert source.peak_memory_bytes > 10 * 2**20  # Python with numpy and pandas
        figure = checkout / "results/a/b/laptop/bars.csv"
        assert figure.read_text() == "x,y\n1,0.5\n"
        assert source.artifacts == {"bars.csv": files.sha256(figure)}

    def test_write_goes_into_the_staging_folder_of_towers_run(self, run, checkout, monkeypatch):
        monkeypatch.setenv(recording.STAGING, str(checkout / "staging"))
        run.add(measured())
        assert run.write() == checkout / "results/a/b/laptop"
        assert (checkout / "staging/records.json").is_file()
        assert not (checkout / "results").exists()

    def test_write_without_records_leaves_earlier_results(self, run, namespace, checkout):
        run.add(measured())
        run.write()
        before = (checkout / "results/a/b/laptop/records.json").read_bytes()
        with pytest.raises(RecordsError, match="at least one record of a/b, got none"):
            experiments.begin("a/b", namespace).write()
        assert (checkout / "results/a/b/laptop/records.json").read_bytes() == before
        assert [path.name for path in (checkout / "results/a/b").glob("[!.]*")] == ["laptop"]

    def test_tuples_and_text_of_any_script_survive_the_file(self, checkout):
        parameters = made_up_book.PARAMETERS + 'ks = (1, 5)\nwords = ["Häuser", "鳥"]\n'
        made_up_book.add(checkout, "a/b", parameters=parameters)
        namespace = experiments.get("a/b").parameters()
        run = experiments.begin("a/b", namespace)
        run.add(measured(data="stamps:日本語"))
        source, rows = records.read(run.write())
        assert source.parameters["ks"] == [1, 5]
        assert (source.parameters["words"], rows[0].data) == (["Häuser", "鳥"], "stamps:日本語")
        assert "鳥" in json.dumps(source.parameters, ensure_ascii=False)
