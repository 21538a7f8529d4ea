"""Records what a notebook measures: it calls `begin` first, then `add` and `uses`, then `write`."""

import datetime
import os
import random
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towers import files, records
from towers.experiments import parameters, provenance
from towers.experiments.experiment import Experiment, get, resolve
from towers.experiments.fingerprints import noted
from towers.experiments.parameters import ExperimentError
from towers.records import Measurement, Provenance, Record

if TYPE_CHECKING:
    import pandas as pd

STAGING = "TOWERS_STAGING"
INJECTED = "# Parameters\n"  # how papermill opens the cell with the parameters it was given
_begun: list["Run"] = []
"""The run of this process, whose scale and needs `result` takes."""


def begin(name: str, namespace: Mapping[str, Any]) -> "Run":
    """Start recording an experiment: the first call in its notebook.

    Checks the parameters as `towers run` does, since the notebook may be run by papermill itself or
    in Jupyter, and seeds the random generators of Python, numpy and, if it is imported, torch.

    Args:
        name: the experiment, for example "clip/zero_shot".
        namespace: the notebook's `globals()`, after its parameters cell.

    Returns:
        The run, which collects the records and writes them.

    Raises:
        ExperimentError: no such experiment; a parameter is missing, unknown, or of a wrong type.
    """
    experiment = get(name)
    declared = experiment.declarations()
    for parameter in declared:
        if parameter not in namespace:
            raise ExperimentError(
                f"{name}: parameter {parameter} is not set; call begin after the parameters cell"
            )
    given = {parameter: namespace[parameter] for parameter in declared}
    for source in namespace.get("In", ()):
        if isinstance(source, str) and source.startswith(INJECTED):
            given |= dict.fromkeys(parameters.declared(source, f"{name}, injected cell")) | given
    scale = given.pop("scale")
    values = resolve(experiment, scale, given)
    _seed(values["seed"])
    _begun[:] = [Run(experiment, values, noted(experiment, scale, given))]
    return _begun[0]


@dataclass(frozen=True)
class Result:
    """The records of another experiment, and its parameters.

    Attributes:
        frame: its records, as `records.frame` gives them.
        parameters: name -> value; the same parameters give the same trained runs from the cache.
    """

    frame: "pd.DataFrame"
    parameters: Mapping[str, Any]


def result(name: str, changes: Mapping[str, Any] | None = None) -> Result:
    """The result of another experiment, at the scale of the run that asks.

    Args:
        name: an experiment among the `needs` of the one that has begun in this process.
        changes: parameters to replace in the result's `parameters`.

    Raises:
        ExperimentError: no run has begun, its experiment does not list this one in `needs`, or
            there is no such parameter.
        RecordsError: there is no result at this scale, or it is damaged.
    """
    if not _begun:
        raise ExperimentError(f"expected a run that asks for {name}; call experiments.begin first")
    run = _begun[0]
    if name not in run.experiment.needs:
        raise ExperimentError(
            f"expected {name} among the needs of {run.experiment.name}; add it to "
            f"{run.experiment.yaml.name}"
        )
    facts, rows = records.read(records.folder(name, run.scale))
    if unknown := [
        str(parameter) for parameter in changes or () if parameter not in facts.parameters
    ]:
        raise ExperimentError(
            f"expected changes of parameters of {name} ({', '.join(facts.parameters)}), got "
            f"{', '.join(unknown)}"
        )
    return Result(records.frame(rows), {**facts.parameters, **(changes or {})})


def _seed(seed: int) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


class Run:
    """One run of an experiment, as its notebook sees it.

    Attributes:
        experiment: what runs.
        scale: smoke, laptop or paper.
        parameters: name -> value, complete and checked.
    """

    def __init__(self, experiment: Experiment, values: dict[str, Any], code: str):
        self.experiment = experiment
        self.parameters = values
        self.scale: str = values["scale"]
        self._code = code
        self._records: dict[tuple, Record] = {}
        self._checksums: dict[str, str] = {}
        self._figures: dict[str, str] = {}
        self._commit, self._dirty = provenance.commit(files.repo_root())
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()

    def add(self, measurements: Measurement | Iterable[Measurement]) -> None:
        """Record measurements.

        Args:
            measurements: one, or several; each becomes a record of this experiment and scale.

        Raises:
            ExperimentError: something else than a measurement, or a second, different value for
                what tells records apart.
        """
        several = isinstance(measurements, Iterable)
        for measurement in measurements if several else [measurements]:
            if not isinstance(measurement, Measurement):
                raise ExperimentError(f"expected a Measurement, got {measurement!r:.80}")
            values = asdict(measurement) | {"experiment": self.experiment.name, "scale": self.scale}
            record = Record(**values)
            if self._records.setdefault(record.key, record) != record:
                raise ExperimentError(
                    f"{record} has a value already; name what differs, or begin again"
                )

    def uses(self, name: str, checksum: str) -> None:
        """Note data or weights that the results depend on.

        Args:
            name: of the collection or the model.
            checksum: its SHA-256, hex.

        Raises:
            ExperimentError: not a SHA-256, or another one under this name already.
        """
        if not isinstance(checksum, str) or not re.fullmatch(r"[0-9a-f]{64}", checksum):
            raise ExperimentError(f"expected a SHA-256 in hex for {name!r}, got {checksum!r:.80}")
        if self._checksums.setdefault(name, checksum) != checksum:
            raise ExperimentError(f"{name!r} has checksum {self._checksums[name]} already")

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return list(self._records.values())

    def frame(self) -> "pd.DataFrame":
        """The records so far as a table (`records.frame`)."""
        return records.frame(self.records)

    def figure_data(self, name: str, frame: "pd.DataFrame") -> None:
        """Keep what a figure shows, as `<name>.csv` beside the records.

        Args:
            name: of the figure: small letters, digits, underscores.
            frame: its data, one row a mark; the index is left out.

        Raises:
            ExperimentError: the name has other characters.
        """
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ExperimentError(f"expected a name of a-z, 0-9 and _, got {name!r:.80}")
        self._figures[f"{name}.csv"] = frame.to_csv(index=False)

    def write(self) -> Path:
        """Write records, provenance and figure data, all or nothing: the notebook's last call.

        Returns:
            The folder of the result, `results/<part>/<name>/<scale>`; relative where it lies below
            the working directory.

        Raises:
            RecordsError: nothing was recorded.
            OSError: the disk is full or fails; earlier results still stand.
        """
        result = records.folder(self.experiment.name, self.scale)
        if staged := os.environ.get(STAGING):
            self._write_into(Path(staged))
        else:
            staging = result.with_name(f".{self.scale}.staging-{uuid.uuid4().hex}")
            try:
                self._write_into(staging)
                files.publish(staging, result)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return files.shown(result)

    def _write_into(self, folder: Path) -> None:
        for name, text in self._figures.items():
            files.atomic_write(folder / name, text)
        digests = {name: files.sha256(folder / name) for name in self._figures}
        records.write(folder, self._provenance(digests), self.records)

    def _provenance(self, artifacts: dict[str, str]) -> Provenance:
        seeds = {self.parameters["seed"], *(row.seed for row in self._records.values())} - {None}
        return Provenance(
            experiment=self.experiment.name,
            scale=self.scale,
            commit=self._commit,
            dirty=self._dirty,
            parameters=self.parameters,
            seeds=sorted(seeds),
            checksums=dict(sorted(self._checksums.items())),
            versions=provenance.versions(),
            hardware=provenance.hardware(),
            started=self._started.isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - self._clock, 3),
            peak_memory_bytes=provenance.peak_memory_bytes(),
            code=self._code,
            artifacts=artifacts,
        )
