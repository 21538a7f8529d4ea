"""Runs one notebook with papermill, in a kernel of this Python, and stops it when it stalls.

Whether a run has stalled is told by the files in its folder: the notebook is saved there after each
cell and message, and `towers.progress` touches one at every step of a loop. When none of them
changes for long enough, the run is stopped. Neither time nor processor load would tell: a healthy
run on a busy machine is slow, and a run that hangs may keep a processor busy.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import LocalHandler, papermill_io

from towers.experiments.limits import Limits

COMMAND = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
           "--InteractiveShellApp.ignore_cwd=True"]  # fmt: skip
"""Paths are relative to the caller's working directory; modules in it are not imported."""
BUSY = "Address already in use"
NOISE = "[IPKernelApp]"  # how the kernel marks its own log


class CellFailed(Exception):
    """A notebook stopped before its end; the message says where and why, in one line."""


class _Written(LocalHandler):
    """Writes notebooks; bytes that are not UTF-8, as in some paths, become JSON escapes."""

    def write(self, buf: str, path: str) -> None:
        super().write(buf.encode("utf-8", "backslashreplace").decode(), path)


papermill_io.register("/", _Written())


class _ThisPython(KernelSpecManager):
    """Offers one kernel: this Python, whatever kernels are installed elsewhere."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=COMMAND, display_name="Python 3", language="python")


class _Kernel:
    """The process group of a kernel: started once, and killed with all that its cells started.

    The `papermill` command in a child process could not do that: when it is killed, the kernel goes
    on for a while, and when a kernel dies, what its cells have started goes on.
    """

    def __init__(self, environment: dict[str, str], cwd: Path, log: Path):
        self.process: subprocess.Popen | None = None
        self.doomed = False
        self.expired: str | None = None
        kernel = self

        class Manager(AsyncKernelManager):
            def _kernel_spec_manager_default(self):
                return _ThisPython()

            async def start_kernel(self, **options):
                with log.open("ab") as output:
                    await super().start_kernel(
                        **options,
                        env={**os.environ, **environment},
                        cwd=str(cwd),
                        stdout=output,
                        stderr=output,
                    )
                kernel.process = self.provisioner.process  # a session and group of its own
                if kernel.doomed:
                    kernel.kill()

        self.manager = Manager

    def expire(self, why: str) -> None:
        self.expired = why
        self.kill()

    def kill(self) -> None:
        self.doomed = True
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


def execute(
    notebook: Path,
    output: Path,
    log: Path,
    environment: dict[str, str],
    cwd: Path,
    limits: Limits,
    progress: str | None = None,
) -> None:
    """Execute a notebook, cell by cell, unless it stalls.

    Args:
        notebook: the file, parameters already in place.
        output: the executed notebook, written after every cell, also when a cell fails; any change
            in its folder is a sign of progress.
        log: what the kernel's process itself prints.
        environment: added to ours.
        cwd: the kernel's working directory.
        limits: when to stop it.
        progress: label of a progress bar over cells, shown on a terminal; None: no bar.

    Raises:
        CellFailed: a cell raised, the kernel died, or a limit is reached.
    """
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what matters is in the exceptions
    for attempt in (1, 2):
        kernel = _Kernel(environment, cwd, log)
        try:
            with _limited(kernel, output.parent, limits):
                return _through_papermill(notebook, output, kernel, progress)
        except PapermillExecutionError as error:
            message = " ".join(f"{error.ename}: {error.evalue}".split())
            raise CellFailed(f"cell {_last_cell(output)}: {message}") from error
        except (RuntimeError, TimeoutError) as error:  # the kernel died, at its start or in a cell
            words = log.read_text(errors="replace") if log.is_file() else ""
            cell = _last_cell(output)
            if attempt == 1 and cell == 0 and BUSY in words and not kernel.expired:
                log.unlink()
                continue
            raise CellFailed(f"cell {cell}: {_cause(kernel, error, words)}") from error


def _through_papermill(notebook: Path, output: Path, kernel: _Kernel, progress: str | None) -> None:
    bar = {"desc": progress, "disable": None, "leave": False} if progress else False
    try:
        papermill.execute_notebook(
            notebook,
            output,
            kernel_name="python3",
            progress_bar=bar,
            autosave_cell_every=1,  # after a message; less often where saving takes long
            start_timeout=120,
            kernel_manager_class=kernel.manager,
            iopub_timeout=60,
            shell_timeout_interval=1,
        )
    finally:
        kernel.kill()  # also what its cells have started and left behind


@contextlib.contextmanager
def _limited(kernel: _Kernel, folder: Path, limits: Limits) -> Iterator[None]:
    """Kill the kernel when a limit is reached, and before a signal ends this process."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(kernel, folder, limits, ended), daemon=True)

    def on_signal(number: int, _frame: object) -> None:
        kernel.kill()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, on_signal)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(kernel: _Kernel, folder: Path, limits: Limits, ended: threading.Event) -> None:
    """Look at a run's folder until the run ends or is stopped."""
    look = min(1.0, limits.stall / 20, limits.whole / 20)
    start, still, seen = time.monotonic(), 0.0, None
    while not ended.wait(look):
        now = _signs(folder)
        # Looks are counted, not time: a machine that sleeps or is too busy to look loses nothing.
        still, seen = (still + look if now == seen else 0.0), now
        if why := limits.reached(still, time.monotonic() - start):
            return kernel.expire(why)


def _signs(folder: Path) -> set[tuple[str, int]]:
    """The files in a folder with their times."""
    with contextlib.suppress(OSError):  # files come and go
        return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*")}
    return set()


def _cause(kernel: _Kernel, error: Exception, words: str) -> str:
    if kernel.expired:
        return kernel.expired
    code = kernel.process.returncode if kernel.process else None
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"the kernel died of {name}" + (", out of memory?" if name == "SIGKILL" else "")
    lines = [line.strip() for line in words.splitlines() if line.strip() and NOISE not in line]
    last = lines[-1] if lines else " ".join(str(error).split())
    return f"the kernel died with exit code {code} ({last})"


def _last_cell(output: Path) -> int:
    """Number of the code cell (from 1, as its `In [n]`) that ran last; 0 if none did."""
    try:
        cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return 0
    code = [
        cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    ran = [cell["metadata"].get("papermill", {}).get("start_time") for cell in code]
    return max((number for number, start in enumerate(ran, 1) if start), default=0)
