"""What a run says while it goes on: lines of JSON, TensorBoard, and a bar."""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from towers import files
from towers.progress import tqdm
from towers.training.loop import Update

NAME = "log.jsonl"


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
        path = folder / NAME
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
        """What an evaluation found after some updates."""
        self._write({"step": step, "evaluation": dict(values)})
        self._plot("evaluation", values, step)
        self._last = time.monotonic()

    def flush(self) -> None:
        """Write out what waits to be written."""
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Write out what is left."""
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
            f"UTF-8; {NAME} has the same numbers",
            file=sys.stderr,
        )
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def read(folder: Path) -> list[dict]:
    """The lines of a run's log in order; one that was being written when a run died is left out."""
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return [record for record in map(_record, lines) if record]


def peak_memory() -> int:
    """The most memory that this rank has held, in bytes: the accelerator's, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cut(path: Path, step: int) -> None:
    """Leave only whole lines of steps up to `step`."""
    kept = [record for record in read(path.parent) if record["step"] <= step]
    if path.exists():
        files.atomic_write(path, "".join(f"{json.dumps(record)}\n" for record in kept))


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None
