"""The fingerprint moves with all that a number rests on, and with nothing else."""

import json
import time
from pathlib import Path

import pytest

from tests import made_up_book
from towers import experiments
from towers.experiments import ExperimentError, fingerprints, modules

MODULES = {
    "__init__.py": '"""The package."""\n',
    "ground.py": "def root():\n    return 1\n",
    "data/__init__.py": "from towers.data.load import load\n",
    "data/load.py": "from . import images\nfrom .prompts import P\ndef load():\n    return 1\n",
    "data/images.py": "from towers import ground\n",
    "data/prompts.py": "P = 1\n",
    "data/classes.json": "[1]",
    "models/__init__.py": "",
    "models/towers.py": "def late():\n    from towers.losses import clip\n    return clip\n",
    "losses.py": "import towers.metrics as m\nclip = 1\n",
    "metrics.py": "x = 1\n",
    "plots.py": "x = 1\n",
    "art/__init__.py": "from towers.art.ink import Ink\nfrom towers.art.pen import draw\n",
    "art/ink.py": "class Ink:\n    black = 0\n",
    "art/pen.py": "def draw():\n    return 1\n",
    "experiments/__init__.py": "from towers.experiments.execution import run\n",
    "experiments/execution.py": "import towers.plots\n",
}


@pytest.fixture
def package(tmp_path) -> Path:
    """A made-up `towers` package."""
    folder = tmp_path / "lib" / "towers"
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def book(checkout):
    """Adds an experiment with the given cells, and gives it."""

    def add(*cells: str) -> experiments.Experiment:
        made_up_book.add(checkout, "a/b", *cells, whole=True)
        return experiments.get("a/b")

    return add


class TestReach:
    @pytest.mark.parametrize(
        ("cell", "modules"),
        [
            ("import numpy", ""),
            ("from towers import ground", "towers.ground"),
            (
                "import towers.data as d",
                "towers.data towers.data.images towers.data.load towers.data.prompts towers.ground",
            ),
            ("from towers.losses import clip", "towers.losses towers.metrics"),
            (
                "from towers.models import towers",
                "towers.losses towers.metrics towers.models.towers",
            ),
            (
                "def late():\n    import towers.models.towers",
                "towers.losses towers.metrics towers.models.towers",
            ),
            ("from towers import experiments", "towers.experiments"),
            (
                "from towers import losses, plots\nlosses.clip",
                "towers.losses towers.metrics towers.plots",
            ),
            ("from towers import data as d\nd.images.read()", "towers.data.images towers.ground"),
            ("from towers import losses\nlosses.clip.at()", "towers.losses towers.metrics"),
            ("from towers import art\nart.draw(); art.Ink.black", "towers.art.ink towers.art.pen"),
            (
                "from towers import art\nart.draw(); show(art)",
                "towers.art towers.art.ink towers.art.pen",
            ),
            ("from towers import art\nart.frame", "towers.art towers.art.ink towers.art.pen"),
            ("from towers.art import Ink", "towers.art.ink"),
            ("%matplotlib inline\n!ls\nfrom towers import ground", "towers.ground"),
            ("for _ in range(2):\n    %time x\n    import towers.ground", "towers.ground"),
            ("from towers import (", ""),
        ],
    )
    def test_follows_imports_wherever_they_stand(self, book, package, cell, modules):
        assert " ".join(fingerprints.reached(book(cell), package=package)) == modules

    def test_a_packages_face_counts_where_it_is_asked_for_a_name(self, book, package):
        found = fingerprints.reached(book("from towers.data import load"), package=package)
        assert found == [
            "towers.data.images", "towers.data.load", "towers.data.prompts", "towers.ground",
        ]  # fmt: skip
        (package / "data" / "__init__.py").write_text("from towers.data.load import load as get\n")
        found = fingerprints.reached(book("from towers.data import get"), package=package)
        assert "towers.data" in found

    def test_of_the_real_package_goes_through_every_import(self, book):
        found = fingerprints.reached(book("from towers import experiments, records"))
        assert {"towers.records", "towers.experiments.recording"} <= set(found)
        assert not {"towers.files", "towers.experiments.execution"} & set(found)


class TestFingerprint:
    CELL = "from towers import data, models\nfrom towers.models import towers"

    def change(self, package: Path, name: str, text: str, book) -> bool:
        """Whether the fingerprint moves when a file of the package changes."""
        before = fingerprints.fingerprint(book(self.CELL), package=package)
        (package / name).write_text(text)
        return fingerprints.fingerprint(book(self.CELL), package=package) != before

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metrics.py", "x = 2\n"),
            ("data/images.py", "from towers import ground\ny = 1\n"),
            ("ground.py", "def root():\n    return 2\n"),
            ("ground.py", "def root(a):\n    return 1\n"),
            ("data/classes.json", "[2]"),
            ("data/more.csv", "new"),
            ("models/__init__.py", "import towers.plots\n"),
            ("models/sizes.csv", "beside the modules that are reached"),
        ],
    )
    def test_moves_with_code_and_data_that_are_reached(self, package, book, name, text):
        assert self.change(package, name, text, book)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("plots.py", "x = 2\n"),
            ("experiments/execution.py", "x = 2\n"),
            ("unreached.py", "x = 2\n"),
            (
                "ground.py",
                'def root():\n    """What it is."""\n    # why\n    return (\n        1\n    )\n',
            ),
            ("__init__.py", '"""Another text."""\n'),
            ("notes.txt", "beside the package's own modules"),
        ],
    )
    def test_stays_with_prose_layout_and_what_is_not_reached(self, package, book, name, text):
        assert not self.change(package, name, text, book)

    def test_moves_with_cells_yaml_and_parameters_but_not_with_limits_or_other_scales(
        self, checkout, package
    ):
        def digest(cell="1", title="T", minutes=1, smoke=10, scale="laptop", **overrides):
            yaml = made_up_book.YAML.replace("Tiny", title).replace(
                "laptop: 1", f"laptop: {minutes}"
            )
            yaml = yaml.replace("candidates: 10", f"candidates: {smoke}")
            made_up_book.add(checkout, "a/b", cell, yaml=yaml, whole=True)
            one = experiments.get("a/b")
            return fingerprints.fingerprint(one, scale, overrides, package=package)

        assert digest() == digest(minutes=7) == digest(smoke=11)
        changed = [digest(cell="2"), digest(title="U"), digest(seed=1), digest(scale="smoke")]
        changed += [digest(scale="smoke", smoke=11), digest(cell="1 ")]
        assert len({digest(), *changed}) == 7

    def test_prose_does_not_count_because_the_book_shows_the_current_one(self, checkout, package):
        path = made_up_book.add(checkout, "a/b")
        before = fingerprints.fingerprint(experiments.get("a/b"), package=package)
        content = json.loads(path.read_text())
        content["cells"][0]["source"] = ["# Another question"]
        path.write_text(json.dumps(content))
        assert fingerprints.fingerprint(experiments.get("a/b"), package=package) == before

    def test_is_the_same_with_without_and_in_spite_of_what_is_remembered(
        self, package, book, tmp_path, monkeypatch
    ):
        expected = None
        memory = tmp_path / "cache" / "modules.json"
        monkeypatch.setenv("TOWERS_HOME", str(memory.parent))
        for text in (None, None, "{", "[1]", '{"a": 1}', "3", '{"a": ["b", "c"]}'):
            if text is not None:
                memory.write_text(text)
            modules._memory.cache_clear()
            found = fingerprints.fingerprint(book(self.CELL), package=package)
            assert found == (expected := expected or found)
        assert len(json.loads(memory.read_text())) == 9

    def test_does_without_a_memory_where_the_cache_cannot_be_written(
        self, package, book, tmp_path, monkeypatch
    ):
        (tmp_path / "cache").write_text("a file")
        monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "cache"))
        assert len(fingerprints.fingerprint(book(self.CELL), package=package)) == 64

    def test_of_a_module_that_is_no_python_names_it(self, package, book):
        (package / "metrics.py").write_text("def (")
        with pytest.raises(ExperimentError, match=r"metrics\.py: expected Python: invalid syntax"):
            fingerprints.fingerprint(book(self.CELL), package=package)

    def test_is_quick_and_imports_nothing_of_what_it_reads(self, book, package):
        (package / "metrics.py").write_text("raise SystemExit\n")
        one = book("import towers.metrics\nimport torch_that_is_not_there")
        start = time.perf_counter()
        for _ in range(4):
            fingerprints.fingerprint(one, package=package)
        assert time.perf_counter() - start < 0.3  # four experiments; measured 0.01 s


def test_a_modules_code_counts_with_all_that_it_reaches(tmp_path):
    package = tmp_path / "towers"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from towers import b\n",
        "b": "x = 1\n",
        "c": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    first = fingerprints.of_code(["towers.a"], {}, package)
    (package / "c.py").write_text("x = 2\n")
    (package / "b.py").write_text("x = 1  # a comment\n")
    assert fingerprints.of_code(["towers.a", "torch.nn"], {}, package) == first
    (package / "b.py").write_text("x = 2\n")
    assert fingerprints.of_code(["towers.a"], {}, package) != first
