"""The command answers in one line, never with a traceback, and quickly."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import made_up_book
from tests.made_up_book import PARAMETERS, YAML
from towers import cli, experiments, files, records
from towers.experiments import RunFailed
from towers.records import Provenance, Record


def answer(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = cli.main(argv)
    return code, *capsys.readouterr()


def fake_run(experiment, scale="laptop", overrides=None, results=None, minutes=None, **_):
    """What `experiments.run` leaves behind, without a kernel."""
    values = experiments.resolve(experiment, scale, overrides)
    folder = records.folder(experiment.name, scale, results)
    said = ["towers: warning: one\n", "towers: two left out\nthree\n"] if values["rate"] > 5 else []
    notebook = json.dumps({"cells": [{"outputs": [{"name": "stderr", "text": said}]}]})
    files.atomic_write(folder / "notebook.ipynb", notebook)
    source = Provenance(
        experiment=experiment.name, scale=scale, commit=None, dirty=None, parameters=values,
        seeds=[0], checksums={}, versions={}, hardware={}, wall_seconds=0.0,
        started=f"2026-01-02T10:00:{len(list(folder.parents[2].rglob('*.json'))):02}+00:00",
        peak_memory_bytes=1, code=experiments.fingerprint(experiment, scale, overrides),
        artifacts={"notebook.ipynb": files.sha256(notebook.encode())},
    )  # fmt: skip
    row = Record(experiment=experiment.name, scale=scale, model="m", data="d", metric="r",
                 value=values["rate"], n=1)  # fmt: skip
    records.write(folder, source, [row])
    return folder


@pytest.fixture
def book(checkout, monkeypatch):
    """Three experiments of which one needs another; runs are made up."""
    made_up_book.add(checkout, "clip/first")
    made_up_book.add(checkout, "clip/second", yaml=YAML + "needs: [clip/first]\n")
    made_up_book.add(checkout, "lilt/third", parameters=PARAMETERS + 'langs = ["en"]\n')
    monkeypatch.setattr(experiments, "run", fake_run)
    monkeypatch.chdir(checkout)
    return checkout


def ran(output: str) -> list[str]:
    """The experiments that a run's output names, fresh ones in brackets."""
    rows = [line.split() for line in output.splitlines()]
    return [f"({row[0]})" if row[2] == "fresh" else row[0] for row in rows]


class TestRun:
    def test_says_what_the_notebook_left_out_and_warned_of(self, book, capsys):
        code, _, err = answer(capsys, "run", "clip/first", "-p", "rate=6")
        assert (code, err) == (0, "towers: warning: one\ntowers: two left out\n")

    def test_prints_a_line_with_time_and_place(self, book, capsys):
        code, out, err = answer(capsys, "run", "clip/first", "--scale", "smoke", "-p", "rate=1")
        assert (code, err) == (0, "")
        assert re.fullmatch(r"clip/first smoke \d+\.\d s results/clip/first/smoke\n", out)
        assert records.table()["value"].tolist() == [1.0]

    def test_runs_what_is_needed_and_missing_first(self, book, capsys):
        assert ran(answer(capsys, "run", "clip/second")[1]) == ["clip/first", "clip/second"]
        assert ran(answer(capsys, "run", "clip/second")[1]) == ["clip/second"]

    def test_if_stale_runs_only_what_is_stale_with_what_it_needs(self, book, capsys):
        everything = ("run", "--all", "--if-stale")
        names = ["clip/first", "clip/second", "lilt/third"]
        assert ran(answer(capsys, *everything)[1]) == names
        assert ran(answer(capsys, *everything)[1]) == [f"({name})" for name in names]
        made_up_book.add(book, "clip/first", "1")
        assert ran(answer(capsys, "run", "clip/second", "--if-stale")[1]) == names[:2]

    def test_overrides_reach_only_what_was_named(self, book, capsys):
        answer(capsys, "run", "clip/second", "-p", "rate=0.25")
        assert dict(zip(*records.table()[["experiment", "value"]].T.values, strict=True)) == {
            "clip/first": 0.5,
            "clip/second": 0.25,
        }

    def test_results_may_go_elsewhere(self, book, capsys, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        code, out, _ = answer(capsys, "run", "clip/first", "--results", str(elsewhere))
        assert code == 0
        assert str(elsewhere / "clip/first/laptop") in out
        assert not (book / "results").exists()

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["clip/first", "-p", "nosuch=1"], "clip/first has no parameter 'nosuch'; its param"),
            (["clip/first", "-p", "seed=x"], "clip/first: seed must be int, got 'x'"),
            (["clip/first", "-p", "seed=1.5"], "clip/first: seed must be int, got '1.5'"),
            (["clip/first", "-p", "seed"], "expected -p KEY=VALUE, got 'seed'"),
            (["clip/first", "-p", "=1"], "expected -p KEY=VALUE, got '=1'"),
            (["clip/first", "-p", "seed=1", "-p", "seed=2"], "-p seed is given twice"),
            (["clip/first", "-p", "scale=paper"], "set it with --scale, not -p"),
            (["clip/first", "lilt/third", "-p", "langs=[fr]"], "clip/first has no parameter 'lan"),
            (["clip/frist"], "no experiment 'clip/frist'; did you mean clip/first"),
            ([], "expected names or --all; there are: clip/first, clip/second, lilt/third"),
            (["clip/first", "--all"], "expected names or --all"),
            (["clip/first", "--scale", "huge"], "argument --scale: invalid choice: 'huge'"),
            (["clip/first", "--minutes", "x"], "argument --minutes: invalid float value: 'x'"),
            (["clip/first", "--if"], "unrecognized arguments: --if"),
        ],
    )
    def test_refuses_in_one_line_before_anything_runs(self, book, capsys, argv, message):
        code, out, err = answer(capsys, "run", *argv)
        assert (code, out) == (2, "")
        assert err.startswith("towers: error: ")
        assert message in err
        assert err.count("\n") == 1
        assert not (book / "results").exists()

    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (RunFailed("clip/first failed\nin cell 3"), 1, "clip/first failed in cell 3"),
            (OSError(28, "No space left on device", "/x"), 1, "/x: No space left on device"),
            (ValueError("expected a, got b"), 2, "expected a, got b"),
            (KeyError("x"), 1, "KeyError: 'x' (a defect; TOWERS_TRACEBACK=1 shows where)"),
            (KeyboardInterrupt(), 130, "interrupted"),
            (SystemExit(143), 143, "stopped by a signal"),
            (RecursionError(), 1, "RecursionError: (a defect; TOWERS_TRACEBACK=1 shows where)"),
        ],
    )  # fmt: skip
    def test_errors_are_one_line_with_their_code(
        self, book, capsys, monkeypatch, error, code, line
    ):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(experiments, "run", fail)
        assert answer(capsys, "run", "clip/first") == (code, "", f"towers: error: {line}\n")

    def test_a_traceback_can_be_asked_for(self, book, capsys, monkeypatch):
        monkeypatch.setenv("TOWERS_TRACEBACK", "1")
        monkeypatch.setattr(experiments, "run", lambda *_, **__: 1 / 0)
        _, _, err = answer(capsys, "run", "clip/first")
        assert "Traceback (most recent call last)" in err


class TestOthers:
    def test_list_shows_every_experiment_and_its_state(self, book, capsys):
        answer(capsys, "run", "clip/first", "--scale", "smoke")
        code, out, _ = answer(capsys, "list", "--scale", "smoke")
        lines = out.splitlines()
        assert code == 0
        assert re.split(r" {2,}", lines[0]) == ["NAME", "LAST SMOKE RUN", "STATE", "TITLE"]
        columns = re.split(r" {2,}", lines[1])
        assert columns == ["clip/first", "2026-01-02 10:00", "fresh", "Tiny"]
        assert lines[2].split()[2:4] == ["never", "run"]

    def test_list_gives_json_to_machines(self, book, capsys):
        answer(capsys, "run", "clip/first", "-p", "rate=1")
        found = json.loads(answer(capsys, "list", "--json")[1])
        assert [item["name"] for item in found] == ["clip/first", "clip/second", "lilt/third"]
        assert found[0]["runs"]["laptop"]["stale"] == "parameters changed (rate)"
        assert found[1]["runs"] == {}

    def test_list_says_which_results_are_damaged(self, book, capsys):
        answer(capsys, "run", "clip/first")
        (book / "results/clip/first/laptop/records.json").write_text("{")
        code, out, _ = answer(capsys, "list")
        assert code == 0
        assert out.splitlines()[1].split("  ")[-2] == "stale: results are ..."

    def test_export_writes_all_records(self, book, capsys):
        for scale in ("smoke", "laptop"):
            answer(capsys, "run", "clip/first", "--scale", scale)
        assert answer(capsys, "export", "a.csv")[:2] == (0, "2 records a.csv\n")
        assert answer(capsys, "export", "b.parquet", "--scale", "smoke")[0] == 0
        assert pd.read_csv("a.csv")["scale"].tolist() == ["laptop", "smoke"]
        assert pd.read_parquet("b.parquet")["scale"].tolist() == ["smoke"]
        assert answer(capsys, "export", "a.xlsx")[0] == 2

    def test_help_of_every_command_has_an_example(self, capsys):
        for command in (
            "list", "run", "data get", "data list", "data export shards", "export", "report",
            "bench", "doctor",
        ):  # fmt: skip
            code, out, _ = answer(capsys, *command.split(), "--help")
            assert code == 0
            assert f"example:\n  towers {command}" in out

    def test_version_and_an_empty_command(self, capsys):
        code, out, _ = answer(capsys, "--version")
        assert (code, out.split()[0]) == (0, "towers")
        code, _, err = answer(capsys)
        assert code == 2
        assert "the following arguments are required: COMMAND; see `towers --help`" in err

    def test_outside_a_checkout_says_what_to_do(self, capsys, monkeypatch, tmp_path):
        monkeypatch.delenv("TOWERS_ROOT", raising=False)
        monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
        monkeypatch.chdir(tmp_path)
        code, _, err = answer(capsys, "list")
        assert code == 1
        assert "run from the book's checkout or set TOWERS_ROOT" in err

    @pytest.mark.slow
    def test_a_reader_that_goes_away_is_no_error(self, book):
        command = f"{sys.executable} -m towers.cli list --json | true"
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.stderr == ""


@pytest.mark.slow
def test_the_command_is_imported_quickly_and_without_what_is_heavy():
    code = "import sys, towers.cli; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    times = []
    for _ in range(3):
        before = os.times()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        after = os.times()
        user = after.children_user - before.children_user
        times.append(user + after.children_system - before.children_system)
    assert not {"torch", "pandas", "numpy", "papermill", "yaml"} & set(out.split())
    assert min(times) < 0.3  # seconds of processor time, the start of Python included


WORDS = """
run list data get export report bench doctor clip/first clip/second lilt/third --scale smoke
laptop paper --all --if-stale -p --minutes 1 --results --json --part clip --jobs --force --size
--repeats --help -h --version -- - a.csv b.parquet seed=1 seed=x rate=.5 rate=nan nosuch=1
langs=[fr] langs=[1] scale=paper seed= =
"""
TEXT = st.text(st.characters(exclude_characters="/"), max_size=8)  # no path out of the checkout
PAIRS = st.tuples(
    st.sampled_from(["seed", "rate", "candidates", "langs", "x"]), st.text(max_size=8)
)
ARGUMENT = st.one_of(st.sampled_from(WORDS.split()), TEXT, PAIRS.map("=".join))
COMMANDS = st.one_of(
    st.lists(ARGUMENT, max_size=6),
    st.lists(ARGUMENT, max_size=5).map(lambda rest: ["run", "clip/first", *rest]),
    st.lists(PAIRS.map("=".join), max_size=2).map(
        lambda pairs: ["run", "lilt/third", *(word for pair in pairs for word in ("-p", pair))]
    ),
)


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=COMMANDS)
@example(argv=["run", "clip/first", "-p", "seed=" + "[" * 10_000])
@example(argv=["run", "clip/first", "-p", "seed=" + "9" * 5000])
@example(argv=["run", "\ud800"])
@example(argv=["run", "clip/first", "--results", "a\0b"])
@example(argv=["export", "a\0.csv"])
@example(argv=["export", "/proc/nowhere/a.csv"])
@example(argv=["run", "lilt/third", "-p", "rate=10"])  # it warns, and says what it left out
@pytest.mark.slow
def test_no_arguments_give_a_traceback(book, capsys, monkeypatch, argv):
    """600 commands: exit code 0, 1 or 2; errors are one line; nothing heavy runs."""
    from towers import listing, report

    monkeypatch.setattr(report, "build", lambda **_: "page")
    monkeypatch.setattr(listing, "doctor", lambda: ("fine", True))
    monkeypatch.setattr(listing, "fetched", lambda names: [f"{name} there" for name in names])
    monkeypatch.setattr(listing, "sources", lambda: "none")
    code, out, err = answer(capsys, *argv)
    assert code in (0, 1, 2)
    assert "Traceback" not in out + err
    assert "a defect" not in err
    lines = err.split("\n")[:-1]
    assert all(line.startswith("towers: ") for line in lines)
    assert sum(line.startswith("towers: error: ") for line in lines) == (code != 0)


@pytest.mark.slow
def test_ctrl_c_exits_at_once_without_a_traceback(book):
    made_up_book.add(book, "clip/slow", "import time; time.sleep(60)")
    command = [sys.executable, "-m", "towers.cli", "run", "clip/slow"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    staging = book / "results/clip/slow"
    while not list(staging.glob(".laptop.staging-*/notebook.ipynb")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(2)
    assert process.communicate(timeout=10)[1] == "towers: error: interrupted\n"
    # Python ends itself by the signal if it came while it evaluated text (a dataclass, an import);
    # shells call both 130.
    assert process.returncode in (130, -signal.SIGINT)
    assert [path.name for path in staging.iterdir()] == [".laptop.run.lock"]
