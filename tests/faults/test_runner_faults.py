"""Whatever happens to a run, its results are the old or the new ones, and the cause is said."""

import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import made_up_book
from tests.faults import faulty_disk
from tests.made_up_book import ADD, BEGIN, WRITE
from towers import cli, experiments, files, records
from towers.experiments import RunFailed, kernel

FULL = os.environ.get("TOWERS_FAULTS") == "full"
KILLS = 50 if FULL else 12
FIGURE = 'import pandas as pd\nrun.figure_data("bars", pd.DataFrame({"x": [rate]}))'


def kernels_of(checkout: Path) -> list[int]:
    """Kernels that work for a checkout, by their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            mine = f"TOWERS_ROOT={checkout}".encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if mine and b"ipykernel_launcher" in words:
            found.append(int(folder.name))
    return found


def wait_until(true, seconds: float) -> bool:
    """Whether something becomes true within a time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def published(result: Path) -> float:
    """The one rate that records, figure and notebook of a/one hold."""
    source, rows = records.read(result)
    assert set(source.artifacts) == {"notebook.ipynb", "bars.csv"}
    for name, digest in source.artifacts.items():
        assert files.sha256(result / name) == digest
    (row,) = rows
    assert row.value == source.parameters["rate"]
    assert (result / "bars.csv").read_text() == f"x\n{row.value}\n"
    assert f"rate = {row.value}" in (result / "notebook.ipynb").read_text()
    return row.value


POOL = """
import json, os, sys
import pandas, papermill
from towers import cli
from towers.experiments import kernel
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        os._exit(cli.main(json.loads(line)))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def towers(checkout):
    """Starts `towers` commands as processes of their own, with the heavy imports done already."""
    command = [sys.executable, "-c", POOL]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as pool:

        def start(*argv: str) -> tuple[int, Callable[[], int]]:
            """The process's number, and what waits for its exit code."""
            print(json.dumps(argv), file=pool.stdin, flush=True)
            return int(pool.stdout.readline()), lambda: int(pool.stdout.readline())

        yield start
        pool.stdin.close()


@pytest.mark.area("runner: kill -9, any time")
def test_kill_9_at_random_moments_leaves_the_old_or_the_new_results(checkout, towers, tally):
    """12 kills (50 with TOWERS_FAULTS=full), spread over start, cells and publication."""
    made_up_book.add(checkout, "a/one", ADD, FIGURE)
    result = checkout / "results/a/one/laptop"
    moments = random.Random(time.time_ns())
    shown, whole, kills, number = None, 60.0, 0, 100
    while kills < KILLS:
        number += 1
        new = float(f"0.{number}")
        start = time.monotonic()
        process, exit_code = towers("run", "a/one", "-p", f"rate={new}")
        if shown is not None:
            time.sleep(moments.uniform(0, whole))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        finished = exit_code() == 0
        if finished:  # before the kill; machines differ, and one machine from minute to minute
            whole = min(whole, time.monotonic() - start)
        kills += not finished
        now = published(result)
        assert now == new or (not finished and now == shown)
        shown = now
        assert number < 110 + 3 * KILLS
    assert wait_until(lambda: not kernels_of(checkout), 10)  # a kernel does not outlive its run
    assert towers("run", "a/one", "-p", "rate=0.999")[1]() == 0
    assert published(result) == 0.999
    assert not list(result.parent.glob(".laptop.staging-*"))
    tally.injected = kills


OLD = {"laptop/records.json": "{}", "laptop/notebook.ipynb": "old", "laptop/bars.csv": "old"}
CAUSES = {
    "a cell raises": (["raise KeyError('no\\nsuch')"], "in cell 3: KeyError: 'no\\nsuch'; see"),
    "the kernel exits": (["import os; os._exit(3)"], "in cell 3: the kernel died with exit code 3"),
    "the kernel is killed": (
        ["import os; os.kill(os.getpid(), 9)"],
        "in cell 3: the kernel died of SIGKILL, out of memory?; see",
    ),
    "records of nothing": (["pass"], "RecordsError: expected at least one record of a/one, got"),
    "a value that is none": (
        [ADD.replace("value=rate", "value=float('nan')")],
        "RecordsError: expected value to be a finite number, got nan; see",
    ),
}
ENDLESS = {
    "plain": "while True: pass",
    "stubborn": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "in C": "import ctypes; ctypes.CDLL(None).pause()",
    "in a child": "import subprocess; subprocess.run(['sleep', '60'])",
}
WHOLE = {
    "it catches everything and writes nothing": (
        [BEGIN, "try:\n    1 / 0\nexcept Exception:\n    pass"],
        "it wrote no records; its last call must be run.write(); see",
    ),
    "it leaves early": ([BEGIN, ADD, WRITE, "import sys; sys.exit(0)"], "SystemExit: 0; see"),
    "it changes its parameters": (["seed = 3", BEGIN, ADD, WRITE], "it changed its parameters"),
    "it begins another experiment": (
        [BEGIN.replace("{name}", "a/two"), ADD, WRITE],
        "it wrote records of a/two (laptop); check the name in experiments.begin; see",
    ),
    "an allowed error is none here": (
        [BEGIN, ADD, WRITE, "1 / 0"],
        "ZeroDivisionError: division by zero; see",
    ),
}


@pytest.mark.area("runner: failing notebooks")
class TestFailure:
    """Exit 1, one line, the failed notebook beside the results, and the results untouched."""

    def fails(self, checkout: Path, capsys, *options: str) -> str:
        """The one line of a run that fails, the old results checked."""
        folder = checkout / "results/a/one"
        for name, text in OLD.items():
            files.atomic_write(folder / name, text)
        code = cli.main(["run", "a/one", *options])
        captured = capsys.readouterr()
        assert (code, captured.out, captured.err.count("\n")) == (1, "", 1)
        assert {name: (folder / name).read_text() for name in OLD} == OLD
        failed = json.loads((folder / "laptop.failed.ipynb").read_text())
        assert failed["metadata"]["papermill"]["exception"] is True
        left = {path.name for path in folder.iterdir()}
        assert left == {"laptop", "laptop.failed.ipynb", ".laptop.run.lock"}
        assert not kernels_of(checkout)
        return captured.err

    @pytest.mark.parametrize("cause", CAUSES)
    def test_of_a_cell(self, checkout, capsys, cause):
        cells, message = CAUSES[cause]
        made_up_book.add(checkout, "a/one", *cells)
        assert message in self.fails(checkout, capsys)

    @pytest.mark.parametrize("cause", WHOLE)
    def test_of_a_notebook(self, checkout, capsys, cause):
        cells, message = WHOLE[cause]
        made_up_book.add(checkout, "a/two")
        cells = [cell.replace("{name}", "a/one") for cell in cells]
        path = made_up_book.add(checkout, "a/one", *cells, whole=True)
        if cause.startswith("an allowed"):
            content = json.loads(path.read_text())
            content["cells"][-1]["metadata"]["tags"] = ["raises-exception"]
            path.write_text(json.dumps(content))
        assert message in self.fails(checkout, capsys)

    @pytest.mark.parametrize("kind", ENDLESS if FULL else ("stubborn", "in a child"))
    def test_of_a_cell_without_end(self, checkout, capsys, kind):
        made_up_book.add(checkout, "a/one", ENDLESS[kind])
        start = time.monotonic()
        line = self.fails(checkout, capsys, "--minutes", "0.04")
        assert re.search(r"in cell \d: the time limit of 0.04 min is over; see", line)
        assert time.monotonic() - start < 0.04 * 60 + 5

    def test_of_a_cell_that_works_hard_and_moves_nothing(self, checkout, capsys, monkeypatch):
        monkeypatch.setenv("TOWERS_STALL_MINUTES", "0.05")
        made_up_book.add(checkout, "a/one", ENDLESS["plain"], whole=True)
        line = self.fails(checkout, capsys)
        assert "in cell 2: nothing has moved for 0.05 min, no output and no step" in line
        assert "TOWERS_STALL_MINUTES" in line

    def test_of_a_kernel_that_dies_is_seen_within_five_seconds(self, checkout, capsys, monkeypatch):
        monkeypatch.chdir(checkout)
        cell = "import os, pathlib, time\npathlib.Path('died').write_text(repr(time.time()))\n"
        made_up_book.add(checkout, "a/one", cell + "os.kill(os.getpid(), 9)")
        self.fails(checkout, capsys)
        assert time.time() - float((checkout / "died").read_text()) < 5

    def test_of_a_kernel_that_cannot_start(self, checkout, capsys, monkeypatch):
        made_up_book.add(checkout, "a/one")
        (checkout / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel here')\n")
        monkeypatch.setenv("PYTHONPATH", str(checkout), prepend=os.pathsep)
        line = self.fails(checkout, capsys)
        assert "in cell 0: the kernel died with exit code 1 (no kernel here); see" in line


@pytest.mark.area("runner: signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_its_kernel_at_once(checkout, number):
    made_up_book.add(checkout, "a/one", "import time; time.sleep(60)")
    command = [sys.executable, "-m", "towers.cli", "run", "a/one"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: kernels_of(checkout), 10)
    time.sleep(0.5)
    process.send_signal(number)
    assert process.communicate(timeout=5)[1] == "towers: error: stopped by a signal\n"
    assert process.returncode == 128 + number
    assert not kernels_of(checkout)
    assert [path.name for path in (checkout / "results/a/one").iterdir()] == [".laptop.run.lock"]


def test_what_a_dying_kernel_leaves_running_ends_with_the_run(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    cell = "import os, pathlib, subprocess\nchild = subprocess.Popen(['sleep', '300'])\n"
    cell += "pathlib.Path('child').write_text(str(child.pid))\nos._exit(1)"
    made_up_book.add(checkout, "a/one", ADD, cell)
    with pytest.raises(RunFailed, match="exit code 1"):
        experiments.run("a/one", progress=False)
    child = Path("/proc", (checkout / "child").read_text(), "cmdline")
    assert wait_until(lambda: not child.exists() or child.read_bytes() == b"", 2)


@pytest.mark.area("runner: ENOSPC or EIO at each call to the disk")
def test_a_disk_that_fails_at_any_moment_of_a_run_leaves_old_or_new_results(
    checkout, disk, capsys, monkeypatch, tally
):
    """Every call to the disk by the run itself; what the kernel does is made up."""
    made_up_book.add(checkout, "a/one", ADD, FIGURE)
    folder = disk / "a/one"
    monkeypatch.setenv("TOWERS_RESULTS", str(disk))
    monkeypatch.setattr(experiments.provenance, "commit", lambda _: (None, None))  # for speed

    def made_up_kernel(notebook, output, log, environment, *_):
        """Records the rate as the notebook would, on a disk that works."""
        from towers.records import Measurement

        content = json.loads(notebook.read_text())
        rate = float(content["cells"][2]["source"].split("rate = ")[1])
        values = experiments.resolve(experiments.get("a/one"), "laptop", {"rate": rate})
        with faulty_disk.paused(), pytest.MonkeyPatch.context() as patched:
            patched.setenv("TOWERS_STAGING", environment["TOWERS_STAGING"])
            run = experiments.begin("a/one", values)
            run.add(Measurement(model="m", data="d", metric="r", value=rate, n=1))
            run._figures["bars.csv"] = f"x\n{rate}\n"
            run.write()
            output.write_text(notebook.read_text())
            log.write_text("")

    monkeypatch.setattr(kernel, "execute", made_up_kernel)

    def run(rate: float) -> int:
        return cli.main(["run", "a/one", "-p", f"rate={rate}"])

    calls = faulty_disk.calls_of(lambda: run(0.25))
    old = shutil.copytree(disk, checkout / "old")
    capsys.readouterr()
    failures = gone = 0
    for number, lasting in ((errno.ENOSPC, True), (errno.EIO, False)):
        for at in range(1, calls + 1):
            shutil.rmtree(folder)
            shutil.copytree(old, disk, dirs_exist_ok=True)
            tally.injected += 1
            with faulty_disk.strikes(at, faulty_disk.error(number), lasting):
                code = run(0.75)
            line = capsys.readouterr().err
            assert code in (0, 1)
            if (folder / "laptop").exists():
                assert published(folder / "laptop") in ((0.25, 0.75) if code else (0.75,))
            else:  # moved away, and on such a disk not to be moved back
                assert (code, lasting) == (1, True)
                gone += 1
            if code:
                assert os.strerror(number) in line
                assert line.count("\n") == 1
            failures += code
    assert failures >= 60
    assert gone <= 1


@pytest.mark.parametrize("cell", ["import os; os._exit(3)", "print('x' * 10**6); 1 / 0"])
def test_a_run_that_fails_says_one_line_and_nothing_else(checkout, cell):
    made_up_book.add(checkout, "a/one", cell)
    command = [sys.executable, "-m", "towers.cli", "run", "a/one"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("towers: error: a/one (laptop) failed in cell 3: ")
