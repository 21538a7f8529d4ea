"""A run executes the notebook in this Python and publishes all of its results at once."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import termios
import threading
import time

import nbformat
import pytest

from tests import made_up_book
from tests.data.made_up_files import fill
from tests.made_up_book import ADD, YAML
from towers import cli, experiments, files, records
from towers.experiments import ExperimentError, execution

pytestmark = pytest.mark.slow

FIGURE = 'import pandas as pd\nrun.figure_data("bars", pd.DataFrame({"x": [1]}))'
LOOK = (
    "import os, sys\nprint(sys.executable)\nprint(os.getcwd())\n"
    "print(os.environ['TOWERS_RESULTS'])\nprint(scale, candidates, rate)"
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A checkout in which a/one has run at smoke scale, called and stored elsewhere."""
    root = tmp_path_factory.mktemp("checkout")
    made_up_book.add(root, "a/one", ADD, FIGURE, LOOK)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TOWERS_ROOT", str(root))
        patched.setenv("TOWERS_HOME", str(root / "home"))
        kernels = root / "jupyter/kernels/python3"  # a reader's other kernel of the same name
        files.atomic_write(
            kernels / "kernel.json",
            json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}),
        )
        patched.setenv("JUPYTER_PATH", str(root / "jupyter"))
        patched.delenv("TOWERS_RESULTS", raising=False)
        old = root / "elsewhere/a/one/smoke.failed.ipynb"
        files.atomic_write(old, "{}")
        left = root / "elsewhere/a/one/.smoke.staging-killed"
        left.mkdir()
        (root / "caller").mkdir()
        for module in ("towers", "pandas"):  # a caller's file of such a name must not be imported
            (root / f"caller/{module}.py").write_text("raise SystemExit")
        with contextlib.chdir(root / "caller"):
            path = experiments.run("a/one", "smoke", {"rate": 1}, "../elsewhere", progress=False)
        yield root, path


class TestRun:
    def test_gives_the_result_with_complete_provenance(self, ran):
        root, path = ran
        assert path == root / "elsewhere/a/one/smoke"
        source, rows = records.read(path)
        assert source.parameters == {"scale": "smoke", "seed": 0, "candidates": 10, "rate": 1.0}
        assert [(row.value, row.n, row.scale) for row in rows] == [(1.0, 10, "smoke")]
        assert source.code == experiments.fingerprint(
            experiments.get("a/one", root), "smoke", {"rate": 1}
        )
        assert 0.1 < source.wall_seconds < 60

    def test_publishes_notebook_and_figures_whose_digests_it_names(self, ran):
        _, path = ran
        source, _ = records.read(path)
        assert set(source.artifacts) == {"notebook.ipynb", "bars.csv"}
        for name, digest in source.artifacts.items():
            assert files.sha256(path / name) == digest

    def test_leaves_nothing_else(self, ran):
        root, path = ran
        names = {item.name for item in path.parent.iterdir()}
        assert names == {"smoke", ".smoke.run.lock", ".smoke.publish.lock"}
        assert {item.name for item in path.iterdir()} == {
            "records.json", "notebook.ipynb", "bars.csv",
        }  # fmt: skip
        assert not (root / "results").exists()

    def test_the_notebook_ran_in_this_python_and_in_the_folder_of_the_caller(self, ran):
        root, path = ran
        notebook = nbformat.read(path / "notebook.ipynb", as_version=4)
        nbformat.validate(notebook)
        printed = "".join(
            output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
        )
        assert printed.splitlines() == [
            sys.executable,
            str(root / "caller"),
            str(root / "elsewhere"),
            "smoke 10 1.0",
        ]

    def test_the_notebook_shows_the_parameters_that_differ(self, ran):
        _, path = ran
        notebook = nbformat.read(path / "notebook.ipynb", as_version=4)
        injected = [
            cell.source
            for cell in notebook.cells
            if "injected-parameters" in cell.metadata.get("tags", [])
        ]
        assert injected == ["# Parameters\nscale = 'smoke'\ncandidates = 10\nrate = 1.0"]

    def test_the_notebook_names_no_folder_of_this_machine(self, ran):
        root, path = ran
        notebook = json.loads((path / "notebook.ipynb").read_text())
        for cell in notebook["cells"]:
            cell["outputs"] = []  # what a cell prints is its own affair
        assert str(root) not in json.dumps(notebook)

    def test_plain_papermill_works_and_is_strict(self, ran, monkeypatch):
        root, _ = ran
        for name in ("TOWERS_ROOT", "JUPYTER_PATH"):
            monkeypatch.delenv(name)

        def papermill(*options: str) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "papermill", "notebooks/a/one.ipynb", "out.ipynb"]
            command += ["-k", "python3", *options]
            environment = {**os.environ, "TOWERS_RESULTS": str(root / "plain")}
            return subprocess.run(
                command, cwd=root, capture_output=True, text=True, env=environment
            )

        good = papermill("-p", "rate", "0.25")
        assert good.returncode == 0, good.stderr
        source, rows = records.read(root / "plain/a/one/laptop")
        assert rows[0].value == 0.25
        assert set(source.artifacts) == {"bars.csv"}
        typo = papermill("-p", "rte", "0.25")
        assert typo.returncode == 1
        assert "ExperimentError: a/one has no parameter 'rte'" in typo.stderr


class TestRefusals:
    @pytest.mark.parametrize(
        ("scale", "overrides", "minutes", "message"),
        [
            ("smoke", {"nosuch": 1}, None, "a/one has no parameter 'nosuch'"),
            ("smoke", {"seed": "1"}, None, "seed must be int"),
            ("huge", {}, None, "no scale 'huge'"),
            ("smoke", {}, 0, "expected minutes as a number > 0, got 0"),
            ("smoke", {}, float("nan"), "expected minutes as a number > 0, got nan"),
        ],
    )
    def test_come_before_anything_is_written(self, checkout, scale, overrides, minutes, message):
        made_up_book.add(checkout, "a/one")
        with pytest.raises(ExperimentError, match=message):
            experiments.run("a/one", scale, overrides, minutes=minutes)
        assert not (checkout / "results").exists()

    def test_days_of_training_wait_for_a_gpu(self, checkout, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        made_up_book.add(checkout, "a/one", yaml=YAML + "gpu: [paper]\n")
        with pytest.raises(ExperimentError, match="a/one at scale paper trains for days on GPUs"):
            experiments.run("a/one", "paper")
        assert not (checkout / "results").exists()
        assert experiments.run("a/one", "smoke", progress=False).is_dir()
        assert experiments.run("a/one", "paper", progress=False, anyway=True).is_dir()

    def test_name_what_must_run_first(self, checkout):
        made_up_book.add(checkout, "a/one")
        made_up_book.add(checkout, "a/two", yaml=YAML + "needs: [a/one]\n")
        with pytest.raises(ExperimentError, match="run `towers run a/one --scale smoke` first"):
            experiments.run("a/two", "smoke")


def test_a_second_run_waits_for_the_first(checkout, capsys):
    result = records.folder("a/one", "smoke")
    order = []

    def second() -> None:
        with execution._alone(result, "a/one (smoke)"):
            order.append("second")

    with execution._alone(result, "a/one (smoke)"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert capsys.readouterr().err == "a/one (smoke): waiting for another run of it to end\n"


def test_a_slow_cell_that_moves_is_not_stopped(checkout, monkeypatch):
    """Its loop and its words each last longer than the stall limit, and it than its budget."""
    steps = "import time\nfrom towers.progress import tqdm\n"
    steps += "for _ in tqdm(range(14), disable=None):\n    time.sleep(0.5)\n"
    steps += "for word in range(14):\n    print(word)\n    time.sleep(0.5)"
    budget = YAML.replace("smoke: 1", "smoke: 0.01")
    made_up_book.add(checkout, "a/one", ADD, steps, yaml=budget)
    monkeypatch.setenv("TOWERS_STALL_MINUTES", "0.1")  # a kernel's start takes a part of that
    path = experiments.run("a/one", "smoke", progress=False)
    assert records.read(path)[0].wall_seconds > 2 * 6


@pytest.mark.parametrize("times", [1, 2])
def test_a_port_that_another_kernel_took_is_tried_once_more(checkout, monkeypatch, times):
    made_up_book.add(checkout, "a/one")
    launcher = checkout / "ipykernel_launcher.py"  # the first so many kernels find the port taken
    launcher.write_text(
        "import pathlib, runpy, sys\n"
        "starts = pathlib.Path(__file__).with_name('starts')\n"
        "count = len(starts.read_text()) if starts.exists() else 0\n"
        "starts.write_text('x' * (count + 1))\n"
        f"if count < {times}:\n"
        "    sys.exit('zmq.error.ZMQError: Address already in use (addr=tcp://127.0.0.1:5)')\n"
        "runpy.run_module('ipykernel', run_name='__main__')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(checkout), prepend=os.pathsep)
    if times == 1:
        assert experiments.run("a/one", "smoke", progress=False).is_dir()
    else:
        with pytest.raises(experiments.RunFailed, match=r"exit code 1 .*Address already in use"):
            experiments.run("a/one", "smoke", progress=False)
    assert (checkout / "starts").read_text() == "xx"


def test_a_terminal_shows_a_bar_over_the_cells(checkout):
    made_up_book.add(checkout, "a/one")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-m", "towers.cli", "run", "a/one", "--scale", "smoke"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert process.wait() == 0
    assert b"a/one (smoke):" in shown
    assert b"/6 [" in shown  # cells, the injected one among them
    assert process.stdout.read().startswith(b"a/one smoke ")
    process.stdout.close()


def test_what_the_data_of_a_run_left_out_is_said_on_the_terminal(checkout, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    fill(pictures, ["a.png", "b.png"])
    fill(pictures, ["c.png"], text=None)
    load = f"from towers import data\nlen(data.load('folder:{pictures}'))"
    made_up_book.add(checkout, "a/one", ADD, load, load)
    assert cli.main(["run", "a/one", "--scale", "smoke"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"towers: folder:{pictures}: left out 1 of 3 (1 no caption)"
    assert said.count(said[-1]) == 1
