"""`towers train`, as people and launchers call it: one line for each mistake, ranks that agree."""

import json
import math
import os
import subprocess
import sys

import pytest

from towers import cli, models
from towers.training import command, logs

RECIPE = """
image: scratch:vit?image=32&patch=16&width=16&depth=1&heads=2&patch_drop=0.25
text: scratch:bow?width=16&context=16
data: ["scenes:train?count=64&size=32"]
steps: 6
batch: 16
warmup: 2
embed: 8
checkpoint_every: 4
validation: ["scenes:test?count=40&size=32"]
evaluate_every: 4
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def answer(capsys, *argv):
    code = cli.main(["train", *map(str, argv)])
    return code, *capsys.readouterr()


def test_trains_from_scratch_on_scenes_and_goes_on_in_the_same_folder(recipe, capsys, tmp_path):
    code, out, err = answer(capsys, recipe, "--folder", tmp_path / "run", "-p", "steps=4")
    assert (code, "4 steps, 0 of them earlier" in out) == (0, True), err
    code, _, err = answer(capsys, recipe, "--folder", tmp_path / "run")
    assert code == 2
    assert "steps 4 there, 6 here; name another folder" in err
    code, out, _ = answer(capsys, recipe, "--folder", tmp_path / "run", "--fresh")
    assert (code, "6 steps, 0 of them earlier" in out) == (0, True)
    code, out, _ = answer(capsys, recipe, "--folder", tmp_path / "run", "--resume")
    assert "6 steps, 6 of them earlier" in out
    found = [line["evaluation"] for line in logs.read(tmp_path / "run") if "evaluation" in line]
    assert len(found) == 2  # after steps 4 and 6
    assert found[0]["validation loss"] == pytest.approx(math.log(40), abs=2)  # a scale of 14
    assert 0 <= found[1]["validation text retrieval R@1"] <= 0.5
    loaded = models.load(f"file:{tmp_path / 'run/final.safetensors'}")
    assert loaded.embed == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", [os.fsdecode(b"l\xe4ufe"), "läufe ☃"])
def test_a_run_into_a_folder_that_the_terminal_cannot_name_ends_well(recipe, tmp_path, name):
    """Latin-1 bytes and snow on an ASCII terminal; the folder stands in every file of the run."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "towers.cli", "train", "small.yaml", "--folder", name]
    for _ in range(2):  # the second one goes on
        done = subprocess.run(
            [*command, "-p", "steps=3"], capture_output=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert name.encode("ascii", "backslashreplace") in done.stdout
    assert (tmp_path / name / "final.safetensors").is_file()
    assert len(logs.read(tmp_path / name)) == 4  # three updates, one evaluation


def test_paths_with_a_tilde_are_below_the_home_folder(recipe, capsys, monkeypatch, tmp_path):
    """The shell expands ~ only where a word begins: not in --folder=~/x, and never in a name."""
    home = tmp_path / "people" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    recipe.rename(home / "r.yaml")
    code, _, err = answer(capsys, "~/r.yaml", "--folder=~/run", "-p", "steps=3")
    assert code == 0, err
    assert models.load("file:~/run/final.safetensors").embed == 8
    assert not list(tmp_path.rglob("~*"))


def test_a_dry_run_says_what_would_be_done_and_does_nothing(recipe, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command.runs, "train", pytest.fail)
    code, out, _ = answer(capsys, recipe, "--dry-run", "-p", "lr=0.25")
    assert code == 0
    assert "lr: 0.25" in out
    assert "begins: afresh" in out
    assert "folder: home/runs/small-" in out
    assert not (tmp_path / "home/runs").exists()


@pytest.mark.parametrize(("argv", "message"), [
    (("-p", "stesp=1"), "got 'stesp'; did you mean steps?"),
    (("-p", "steps"), "expected -p FIELD=VALUE, each field once, got 'steps'"),
    (("-p", "lr=1", "-p", "lr=2"), "each field once, got 'lr=2'"),
    (("-p", "data=[a"), "expected a value of YAML for data"),
    (("-p", "data=a"), "expected data as tuple[str, ...], got 'a'"),
    (("-p", "batch=-3"), "expected batch above 0, got -3"),
    (("-p", "image=nonsense"), "nonsense"),
    (("-p", "data=[nowhere]"), "expected a collection among"),
    (("-p", "batch=128"), "a batch of at most 64 rows"),
    (("--resume", "--fresh"), "not allowed with argument"),
])  # fmt: skip
def test_mistakes_are_one_line(recipe, capsys, argv, message):
    code, out, err = answer(capsys, recipe, *argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_no_recipe_no_run(capsys, tmp_path):
    code, _, err = answer(capsys, tmp_path / "no.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected a recipe at" in err


def launched(recipe, folder, *argv):
    """The recipe through torch's own launcher, on two ranks of this machine."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
         "-m", "towers.cli", "train", str(recipe), "--folder", str(folder), *argv],
        capture_output=True, text=True, timeout=120, cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_starts_its_ranks(recipe, tmp_path):
    done = launched(recipe, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 steps") == 1
    state = json.loads((tmp_path / "run/checkpoints/step-00000006/state.json").read_text())
    assert state["ranks"] == 2
