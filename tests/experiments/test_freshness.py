"""Results are stale when anything behind them has moved, and the reason is said."""

import json

import pytest

from tests import made_up_book
from towers import experiments, files, records
from towers.experiments import fingerprints
from towers.records import Provenance, Record


def publish(name: str, scale: str = "laptop", **changes) -> None:
    """Results as `towers run` would leave them now, with a changed provenance."""
    experiment = experiments.get(name)
    folder = records.folder(name, scale)
    files.atomic_write(folder / "notebook.ipynb", "{}")
    files.atomic_write(folder / "bars.csv", "x\n1\n")
    good = {
        "experiment": name, "scale": scale, "commit": None, "dirty": None, "seeds": [0],
        "parameters": experiments.resolve(experiment, scale), "checksums": {}, "versions": {},
        "hardware": {}, "started": "2026-01-02T10:00:00+00:00", "wall_seconds": 60.0,
        "peak_memory_bytes": 1, "code": experiments.fingerprint(experiment, scale),
        "artifacts": {
            path: files.sha256(folder / path) for path in ("notebook.ipynb", "bars.csv")
        },
    }  # fmt: skip
    source = Provenance(**good | changes)
    row = Record(
        experiment=name, scale=scale, model="m", data="d", metric="r", value=0.5, n=1, seed=0
    )
    records.write(folder, source, [row])


@pytest.fixture
def one(checkout) -> experiments.Experiment:
    """An experiment with fresh results."""
    parameters = made_up_book.PARAMETERS + "ks = (1, 5)\n"
    made_up_book.add(checkout, "a/one", parameters=parameters)
    publish("a/one")
    return experiments.get("a/one")


def test_is_none_after_a_run(one):
    assert experiments.staleness(one) is None


def test_each_scale_has_its_own(one):
    assert experiments.staleness(one, "smoke") == "never run"
    assert experiments.last_run(one, "smoke") is None


def test_code_of_the_notebook(one):
    cells = json.loads(one.notebook.read_text())
    cells["cells"][-1]["source"] = ["run.write()  # at last"]
    one.notebook.write_text(json.dumps(cells))
    assert experiments.staleness(one) == "code changed"


def test_a_module_that_changed_is_named(one, tmp_path, monkeypatch):
    package = tmp_path / "towers"
    (package / "losses").mkdir(parents=True)
    for name in ("__init__.py", "losses/__init__.py", "losses/tiled.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(fingerprints, "FOLDER", package)
    cells = json.loads(one.notebook.read_text())
    cells["cells"][-1]["source"] = ["from towers.losses import tiled"]
    one.notebook.write_text(json.dumps(cells))
    publish("a/one", code=fingerprints.noted(one))
    assert fingerprints.changed(one, "laptop", experiments.last_run(one).code) is None
    (package / "losses/tiled.py").write_text("x = 2\n")
    assert experiments.staleness(one) == "code changed (towers.losses.tiled)"


def test_parameters_are_named(one):
    publish("a/one", parameters=experiments.resolve(one, overrides={"seed": 1, "rate": 0.1}))
    assert experiments.staleness(one) == "parameters changed (rate, seed)"
    text = one.notebook.read_text()
    publish("a/one")
    one.notebook.write_text(text.replace("(1, 5)", "(1, 6)").replace("rate: float", "rte: float"))
    assert experiments.staleness(one) == "parameters changed (ks, rate, rte)"


@pytest.mark.parametrize("name", ["notebook.ipynb", "bars.csv"])
def test_artifacts_that_are_missing_or_were_changed(one, name):
    path = records.folder("a/one", "laptop") / name
    path.write_text("edited by hand")
    assert experiments.staleness(one) == f"{name} was changed"
    path.unlink()
    assert experiments.staleness(one) == f"{name} is missing"


def test_records_written_from_jupyter_have_no_page(one):
    publish("a/one", artifacts={})
    assert experiments.staleness(one) == "written outside `towers run`"


def test_damaged_results(one):
    (records.folder("a/one", "laptop") / "records.json").write_text("{")
    assert experiments.staleness(one) == "results are damaged"


def test_what_it_needs(one, checkout):
    yaml = made_up_book.YAML + "needs: [a/one]\n"
    made_up_book.add(checkout, "a/two", yaml=yaml)
    two = experiments.get("a/two")
    publish("a/two", started="2026-01-02T10:01:00+00:00")  # when one had ended
    assert experiments.staleness(two) is None
    publish("a/two", started="2026-01-02T10:00:59+00:00")
    assert experiments.staleness(two) == "needs a/one, which ran later"
    publish("a/one", code="other")
    assert experiments.staleness(two) == "needs a/one, which is stale"


def test_which_are_stale_and_why(one, checkout):
    made_up_book.add(checkout, "a/three")
    made_up_book.add(checkout, "a/two", yaml=made_up_book.YAML + "needs: [a/three]\n")
    publish("a/two")
    asked = [experiments.get(name) for name in ("a/two", "a/one", "a/three")]
    found = experiments.stale(asked)
    assert found == {"a/two": "needs a/three, which is stale", "a/three": "never run"}
    assert [*found] == ["a/two", "a/three"]  # in the order given
    assert set(experiments.stale(asked, "smoke")) == {"a/one", "a/two", "a/three"}
