"""A run that goes on elsewhere, followed by what it writes into its folder."""

import re
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from towers import files
from towers.progress import beat
from towers.training import logs
from towers.training.errors import TrainingFailed
from towers.training.folder import FINAL

OUTPUT = "output.txt"
SAID = re.compile(r"(?:towers: error|Training(?:Failed|Error)): (.+)")
"""A last word, of a command or of a job's traceback."""


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
            records = logs.read(self.folder)
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
