"""A grid is checked before it runs, runs as Snakemake's jobs, and ends in one table."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import made_up_book
from towers.experiments import ExperimentError, from_text, get, sweeps
from towers.experiments.sweeps import Point

REPO = Path(__file__).parents[2]
CELL = made_up_book.PARAMETERS + 'model: str = "m"\nparts: list = []\n'


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    made_up_book.add(tmp_path, "clip/toy", parameters=CELL)
    made_up_book.add(tmp_path, "clip/other")
    monkeypatch.setenv("TOWERS_ROOT", str(tmp_path))
    return tmp_path


def grid(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


def test_all_combinations_are_run_the_last_parameter_changing_fastest(checkout):
    path = grid(checkout, "clip/toy:\n  seed: [0, 1]\n  rate: [0.5, 1]\nclip/other:\n  seed: [3]\n")
    found = sweeps.read(path, "smoke")
    assert [(point.name, dict(point.parameters)) for point in found] == [
        ("clip/toy", {"seed": 0, "rate": 0.5}), ("clip/toy", {"seed": 0, "rate": 1.0}),
        ("clip/toy", {"seed": 1, "rate": 0.5}), ("clip/toy", {"seed": 1, "rate": 1.0}),
        ("clip/other", {"seed": 3}),
    ]  # fmt: skip
    assert found[1].folder == "seed=0,rate=1.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected experiments with lists of values"),
        ("clip/toi: {seed: [0]}", "expected an experiment of clip/other, clip/toy"),
        ("clip/toy: {seed: 0}", "expected a list of values for each parameter"),
        ("clip/toy: {}", "expected a list of values for each parameter"),
        ("clip/toy: {seed: []}", "expected a list of values for each parameter"),
        ("clip/toy: {sead: [0]}", "has no parameter 'sead'"),
        ("clip/toy: {seed: [soon]}", "seed must be int"),
        ("clip/toy: {seed: [1, 1]}", "each value of clip/toy once"),
    ],
)
def test_a_grid_that_cannot_run_is_one_line(checkout, text, said):
    with pytest.raises(ExperimentError) as raised:
        sweeps.read(grid(checkout, text), "smoke")
    assert "\n" not in str(raised.value)
    assert said in str(raised.value)


def test_a_missing_grid_is_named(checkout):
    with pytest.raises(ExperimentError, match="expected a grid at"):
        sweeps.read(checkout / "nowhere.yaml", "smoke")


@given(value=st.text(max_size=40), parts=st.lists(st.text(max_size=5), max_size=3))
def test_arguments_come_back_as_the_values_and_folders_are_one_plain_name(value, parts):
    point = Point("clip/toy", {"model": value, "parts": parts})
    assert "/" not in point.folder
    assert point.folder not in ("", ".", "..")
    experiment = get("clip/zero_shot")  # with `model: str` and `train_on: list`
    assert point.arguments[::2] == ["-p", "-p"]
    assert from_text(experiment, "model", point.arguments[1].partition("=")[2]) == value
    assert from_text(experiment, "train_on", point.arguments[3].partition("=")[2]) == parts


def test_points_that_differ_have_folders_that_differ():
    folders = [Point("a/b", {"x": value}).folder for value in ("a/b", "a:b", "a b", "ab", 1, 2)]
    assert len(set(folders)) == len(folders)


def snakemake(folder: Path, *config: str) -> subprocess.CompletedProcess:
    bins = Path(sys.executable).parent
    command = [sys.executable, "-m", "snakemake", "sweep", "-s", str(REPO / "Snakefile")]
    command += ["--cores", "2", "--executor", "local", "--config", *config]
    environment = os.environ | {"PATH": f"{bins}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["-its own; & 'two' \"three\" $(touch made) é", "made > my `touch made` | \\#%*?[x]"]
)
def test_snakemake_sweeps_into_a_folder_of_any_name_and_touches_nothing_else(checkout, name):
    """The name is relative, to where Snakemake was called; so is a path in the grid."""
    here = checkout / "called here"
    (here / "below").mkdir(parents=True)
    for text in ("its", "my", "-its", "two"):
        (here / text).write_text("precious")
    look = "import os; assert os.path.isdir(model), os.getcwd()"
    made_up_book.add(checkout, "clip/toy", look, made_up_book.ADD, parameters=CELL)
    grid(here, "clip/toy:\n  model: [below]\n").rename(here / f"{name}.yaml")
    done = snakemake(here, f"grid={name}.yaml", "scale=smoke", f"into={name}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert pd.read_csv(here / name / "smoke.csv")["-p model"].tolist() == ["below"]
    for text in ("its", "my", "-its", "two"):
        assert (here / text).read_text() == "precious"
    assert {path.name for path in here.iterdir()} == {
        "its", "my", "-its", "two", "below", name, f"{name}.yaml", ".snakemake",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "is written into=./NAME"),
        (None, "expected into= as text, got None"),
        ({"a": "b"}, "expected into= as text"),
        ("a{b}", "without braces"),
        ("a\nb", "without braces, which are blanks to Snakemake, and line breaks"),
        ("l\udce4ufe", r"got 'l\udce4ufe'"),
    ],
)
def test_folders_that_snakemake_cannot_name_are_refused_in_one_line(value, said):
    with pytest.raises(ExperimentError) as raised:
        sweeps.folder(value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_scale_that_is_none_is_refused():
    with pytest.raises(ExperimentError, match="one of smoke, laptop, paper, got 'x; touch made'"):
        sweeps.setting("scale", "x; touch made", ("smoke", "laptop", "paper"))


@pytest.mark.slow
def test_snakemake_runs_a_sweep_here_and_makes_its_table(checkout):
    path = grid(checkout, "clip/toy:\n  seed: [0, 1]\n  model: ['two words']\n")
    done = snakemake(checkout, f"grid={path}", "scale=smoke", f"into={checkout / 'sweep'}")
    assert done.returncode == 0, done.stderr[-2000:]
    table = pd.read_csv(checkout / "sweep/smoke.csv")
    assert table.seed.tolist() == [0, 1]  # what the toy recorded
    assert table["-p seed"].tolist() == [0, 1]
    assert set(table["-p model"]) == {"two words"}
    assert set(table.n) == {10}  # the smoke scale's
