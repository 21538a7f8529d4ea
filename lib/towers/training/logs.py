"""The log of a run: lines of JSON, TensorBoard and a bar; followed from elsewhere, and compared."""

import json
import math
import os
import re
import resource
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from towers import files
from towers.models import checkpoints
from towers.progress import beat, tqdm
from towers.records import Measurement
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.folder import FINAL, LOG
from towers.training.loop import Update

OUTPUT = "output.txt"
SAID = re.compile(r"(?:towers: error|Training(?:Failed|Error)): (.+)")
"""A last word, of a command or of a job's traceback."""


class Log:
    """The log of a run in its folder, kept by one rank.

    Each update is one line of `log.jsonl`, each evaluation another; both go to TensorBoard too.
    A run that is resumed goes on from its checkpoint: lines of later steps are cut away.
    """

    def __init__(self, folder: Path, first: int, steps: int, progress: bool = True) -> None:
        """Open the log.

        Args:
            folder: of the run.
            first: updates that have been done.
            steps: updates in all.
            progress: show a bar on a terminal.
        """
        path = folder / LOG
        _cut(path, first)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._board = _board(folder / "tensorboard", first)
        self._bar = tqdm(
            total=steps, initial=first, desc="training", unit=" step",
            disable=None if progress else True,
        )  # fmt: skip
        self._last = time.monotonic()

    def update(self, update: Update, bad: int) -> None:
        """One update.

        Args:
            update: what it saw.
            bad: unreadable samples so far.
        """
        now = time.monotonic()
        values = {
            "loss": update.loss,
            "logit_scale": update.logit_scale,
            "learning_rate": update.learning_rate,
            "gradient_norm": update.gradient_norm if math.isfinite(update.gradient_norm) else None,
            "pairs_per_second": round(update.pairs / max(now - self._last, 1e-9), 1),
            "peak_memory_bytes": peak_memory(),
            "bad": bad,
            "duplicates": update.duplicates,
        }
        self._last = now
        self._write({"step": update.step, **values})
        self._plot("training", values, update.step)
        self._bar.update()
        self._bar.set_postfix_str(f"loss {update.loss:.3f}", refresh=False)

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Values of an evaluation after some updates."""
        self._write({"step": step, "evaluation": dict(values)})
        self._plot("evaluation", values, step)
        self._last = time.monotonic()

    def flush(self) -> None:
        """Flush TensorBoard."""
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Close the file, the bar and TensorBoard."""
        self._bar.close()
        if self._board:
            self._board.close()
        os.close(self._file)

    def _plot(self, kind: str, values: Mapping[str, float | None], step: int) -> None:
        for name, value in values.items():
            if self._board and value is not None:
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def _write(self, record: Mapping[str, object]) -> None:
        line = memoryview(f"{json.dumps(record)}\n".encode())
        while line:
            line = line[os.write(self._file, line) :]


def _board(folder: Path, first: int):
    """TensorBoard's writer; None below a folder whose name is no UTF-8, which it cannot open."""
    from torch.utils.tensorboard import SummaryWriter

    try:
        str(folder).encode()
    except UnicodeEncodeError:
        print(
            f"towers: warning: TensorBoard cannot write to {str(folder)!a}, whose name is no "
            f"UTF-8; {LOG} has the same numbers",
            file=sys.stderr,
        )
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def read(folder: Path) -> list[dict]:
    """The lines of a run's log; one that was being written when a run died is left out."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return [record for record in map(_record, lines) if record]


def peak_memory() -> int:
    """The most memory that this rank has held, in bytes: the accelerator's, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cut(path: Path, step: int) -> None:
    """Cut the log after a step."""
    kept = [record for record in read(path.parent) if record["step"] <= step]
    if path.exists():
        files.atomic_write(path, "".join(f"{json.dumps(record)}\n" for record in kept))


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None


@dataclass(frozen=True)
class Followed:
    """A run in other processes.

    Attributes:
        folder: of the run.
    """

    folder: Path
    look: ClassVar[float] = 0.2
    """Seconds between two looks at the log."""

    @property
    def output(self) -> Path:
        """What the run prints."""
        return self.folder / OUTPUT

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the run goes on."""

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end and its weights are there."""
        return not self.running and (self.folder / FINAL).is_file()

    def follow(self, steps: int | None = None) -> Iterator[dict]:
        """The lines of the run's log as they are written, from the first one on.

        Args:
            steps: stop following (not the run) after the line of this update; None: at the end.

        Raises:
            TrainingFailed: the run stopped before its end; the message is its own last error.
        """
        seen = 0
        while True:
            running = self.running  # asked first: what it wrote before it ended is still read
            records = read(self.folder)
            seen = min(seen, len(records))  # a run that was killed goes on from a checkpoint
            for record in records[seen:]:
                beat()
                yield record
                if steps is not None and record["step"] >= steps:
                    return
            seen = len(records)
            if not running:
                break
            time.sleep(self.look)
        if not self.finished:
            raise TrainingFailed(self._last_error())

    def wait(self) -> None:
        """Until the run ends.

        Raises:
            TrainingFailed: as `follow`.
        """
        for _ in self.follow():
            pass

    def _last_error(self) -> str:
        path = self.output
        said = SAID.findall(path.read_text("utf-8", "replace")) if path.is_file() else []
        cause = said[-1] if said else "it was stopped"
        return f"{cause} (all of it in {files.shown(path)})"


def updates(folder: Path, run: str) -> pd.DataFrame:
    """The log of a run, one row an update, with its name in the column `run`."""
    return pd.DataFrame([line for line in read(folder) if "loss" in line]).assign(run=run)


def agreement(
    folder: Path, other: Path, *, model: str, data: str, seed: int | None = None
) -> list[Measurement]:
    """Compare two finished runs of one recipe, on other numbers of ranks.

    Sums over ranks are taken in another order than sums over a batch, so that the same run differs
    by rounding, which the optimiser carries on.

    Args:
        folder: of a run.
        other: of the other.
        model: what was trained, for the records.
        data: that it was trained on.
        seed: of both runs.

    Returns:
        "largest relative difference of the loss", over all updates, and "largest difference of a
        weight", beside "largest weight", over all weights at the end.

    Raises:
        TrainingError: other numbers of updates, or other weights.
    """
    runs = Path(folder), Path(other)
    losses = [updates(run, "").loss.to_numpy() for run in runs]
    weights = [checkpoints.read(run / FINAL)[1] for run in runs]
    if len(losses[0]) != len(losses[1]) or weights[0].keys() != weights[1].keys():
        raise TrainingError(
            f"expected two finished runs of one recipe, got {len(losses[0])} and {len(losses[1])} "
            "updates; run both to their end"
        )
    apart = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    values = {
        "largest relative difference of the loss": np.max(np.abs(losses[0] / losses[1] - 1)),
        "largest difference of a weight": apart,
        "largest weight": max(tensor.abs().max().item() for tensor in weights[0].values()),
    }
    return [
        Measurement(model=model, data=data, metric=metric, value=float(value), n=len(losses[0]),
                    seed=seed)
        for metric, value in values.items()
    ]  # fmt: skip
