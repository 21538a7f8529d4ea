"""Launch a run in processes of its own, on this machine or several; a cluster: `training.slurm`.

In this process a run is `train(recipe, folder)`. Everywhere else it is the same call, made by
each rank that a launcher starts; what a rank needs to know stands in its environment. Where it
runs does not matter to the folder: a run that was started here can be resumed there.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import yaml

from towers import files
from towers.progress import tqdm
from towers.training.errors import TrainingError
from towers.training.folder import FINAL, LOG, working
from towers.training.logs import OUTPUT, Followed
from towers.training.recipe import Recipe

RECIPE, PROCESS = "recipe.yaml", "process.json"
RANKS = "TOWERS_RANKS"
"""Environment variable: processes of a run that this process would train by itself."""
PORT = 29400
"""Where machines meet, unless an address says otherwise."""
PATIENCE = 35.0  # seconds for ranks to end on their own; a launcher gives them 30


def command(
    folder: Path,
    ranks: int,
    *,
    nodes: int = 1,
    node: int = 0,
    address: str = "",
    fresh: bool = False,
) -> list[str]:
    """The command that starts the ranks of one machine, for the recipe in a folder.

    Args:
        folder: of the run, with `recipe.yaml` in it; on several machines one that all see.
        ranks: processes on this machine, one for each of its accelerators.
        nodes: machines.
        node: which of the machines this is, from 0.
        address: "host" or "host:port" of machine 0, where the machines meet.
        fresh: begin afresh instead of going on.

    Raises:
        TrainingError: numbers that make no launch, or several machines without an address.
    """
    if ranks < 1 or nodes < 1 or not 0 <= node < nodes:
        raise TrainingError(
            "expected at least one rank and one machine, and a machine's number below their "
            f"count; got {ranks} ranks, machine {node} of {nodes}"
        )
    meeting = ["--standalone"]
    if nodes > 1:
        if not address:
            raise TrainingError(
                f"expected the address of machine 0 for {nodes} machines, got none; say host:port"
            )
        place = address if ":" in address else f"{address}:{PORT}"
        meeting = [f"--node-rank={node}", "--rdzv-backend=c10d", f"--rdzv-endpoint={place}",
                   f"--rdzv-id={files.sha256(os.fsencode(folder))[:16]}"]  # fmt: skip
    return [
        sys.executable, "-m", "torch.distributed.run", *meeting, f"--nnodes={nodes}",
        f"--nproc-per-node={ranks}", "-m", "towers.cli", "train", str(folder / RECIPE),
        "--folder", str(folder), *(["--fresh"] if fresh else []),
    ]  # fmt: skip


def write(recipe: Recipe, folder: Path) -> Path:
    """Write `recipe.yaml` into a folder, for `command`; returns its path."""
    path = files.user_path(folder).resolve() / RECIPE
    files.atomic_write(path, yaml.safe_dump(recipe.mapping(), sort_keys=False))
    return path


def commands(folder: Path, ranks: int, nodes: int, address: str) -> list[str]:
    """Shell commands for several machines, machine 0 first; `write` the recipe before.

    Raises:
        TrainingError: as `command`.
    """
    return [
        shlex.join(command(folder, ranks, nodes=nodes, node=node, address=address))
        for node in range(nodes)
    ]


@dataclass(frozen=True)
class Launched(Followed):
    """A run whose ranks are processes of their own on this machine.

    Attributes:
        pid: of the launcher that watches over the ranks.
        born: when the launcher started, in seconds of the epoch; numbers of processes come again.
    """

    pid: int
    born: float

    @property
    def running(self) -> bool:
        """Whether the launcher is alive."""
        return self._process() is not None

    def stop(self) -> None:
        """End all ranks after the update under way; `start` with the same folder goes on from it.

        Ranks that take longer than a launcher waits, half a minute, are killed: their run goes on
        from the newest checkpoint.
        """
        process = self._process()
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        process.terminate()  # torch's launcher passes it on to its ranks
        _, left = psutil.wait_procs(family, PATIENCE)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, PATIENCE)

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            if process.create_time() != self.born or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process


def start(recipe: Recipe, folder: Path, ranks: int, *, fresh: bool = False) -> Launched:
    """Start a run on this machine in processes of its own, which outlive this one.

    What the ranks print goes to `output.txt` in the folder.

    Args:
        recipe: what to train.
        folder: of the run; of one that was stopped, to go on with it.
        ranks: processes, one for each accelerator; without accelerators they share the cores.
        fresh: begin afresh instead of going on.

    Raises:
        TrainingError: a run is going on in the folder, whoever started it.
    """
    folder = files.user_path(folder).resolve()
    line = command(folder, ranks, fresh=fresh)
    started = (folder / PROCESS).is_file() and attach(folder).running
    if started or working(folder):
        raise TrainingError(
            f"expected no run in {files.shown(folder)}, but one is going on; stop it first"
        )
    write(recipe, folder)
    if fresh:
        (folder / LOG).unlink(missing_ok=True)  # or it would be followed
    cores = max(1, (os.cpu_count() or 1) // ranks)
    with (folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": str(cores)},
        )  # fmt: skip
    launched = Launched(folder, process.pid, psutil.Process(process.pid).create_time())
    files.atomic_write(folder / PROCESS, json.dumps({"pid": launched.pid, "born": launched.born}))
    return launched


def attach(folder: Path) -> Launched:
    """The run that was last started in a folder, by whichever process.

    Raises:
        TrainingError: none was.
    """
    folder = files.user_path(folder).resolve()
    try:
        about = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        return Launched(folder, int(about["pid"]), float(about["born"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(
            f"expected a run that was started in {files.shown(folder)}, got none; start one"
        ) from None


def ranks() -> int:
    """Processes for a run on this machine: one an accelerator, or as many as `TOWERS_RANKS` says.

    One where a launcher has started this process: it is a rank itself.

    Raises:
        TrainingError: `TOWERS_RANKS` is no whole number above 0.
    """
    if "RANK" in os.environ:
        return 1
    said = os.environ.get(RANKS) or str(max(1, torch.accelerator.device_count()))
    if not said.isdecimal() or int(said) < 1:
        raise TrainingError(f"expected a whole number above 0 in {RANKS}, got {said!r}; set it")
    return int(said)


def together(
    recipe: Recipe, folder: Path, ranks: int, *, fresh: bool = False, progress: bool = True
) -> None:
    """Start a run in processes of its own and follow it to its end; a finished one is left alone.

    Whoever interrupts this stops the run too, after the update under way.

    Args:
        recipe: what to train.
        folder: of the run; of one that was stopped, to go on with it.
        ranks: processes, one for each accelerator; without accelerators they share the cores.
        fresh: begin afresh instead of going on.
        progress: show a bar on a terminal.

    Raises:
        TrainingFailed: the run stopped before its end; the message is its own last error.
    """
    if (folder / FINAL).is_file() and not fresh:
        return
    run = start(recipe, folder, ranks, fresh=fresh)
    bar = tqdm(
        total=recipe.steps or None, desc=f"training on {ranks} ranks", unit=" step",
        disable=None if progress else True,
    )  # fmt: skip
    try:
        with bar:
            for line in run.follow():
                bar.update(line["step"] - bar.n)
                if "loss" in line:
                    bar.set_postfix_str(f"loss {line['loss']:.3f}", refresh=False)
    except BaseException:
        run.stop()
        raise
