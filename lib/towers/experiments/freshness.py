"""Tells whether an experiment's results are fresh, or stale and why."""

import datetime
import json
from collections.abc import Iterable
from pathlib import Path

from towers import files, records
from towers.experiments.experiment import Experiment, get, resolve
from towers.experiments.fingerprints import changed, fingerprint
from towers.records import Provenance, RecordsError

NEVER = "never run"


def last_run(
    experiment: Experiment, scale: str = "laptop", results: Path | None = None
) -> Provenance | None:
    """Provenance of an experiment's results at a scale, or None if there are none.

    Raises:
        RecordsError: the result is damaged.
    """
    folder = records.folder(experiment.name, scale, results)
    return records.read(folder)[0] if (folder / records.FILE).exists() else None


def stale(
    experiments: Iterable[Experiment], scale: str = "laptop", results: Path | None = None
) -> dict[str, str]:
    """Which of some experiments are stale: name -> why (see `staleness`), in the order given."""
    reasons = {item.name: staleness(item, scale, results) for item in experiments}
    return {name: reason for name, reason in reasons.items() if reason}


def staleness(
    experiment: Experiment, scale: str = "laptop", results: Path | None = None
) -> str | None:
    """Why an experiment has to run again.

    Args:
        experiment: to look at, with what it needs.
        scale: of the results.
        results: folder of all results; default: the checkout's.

    Returns:
        None if the results are fresh; else the reason, for example "never run", "code changed
        (towers.losses.tiled)", "parameters changed (seed)", "notebook.ipynb is missing" or "needs
        clip/x, which is stale".
    """
    try:
        run = last_run(experiment, scale, results)
    except RecordsError:
        return "results are damaged"
    if run is None:
        return NEVER
    folder = records.folder(experiment.name, scale, results)
    reason = _parameters(experiment, scale, run) or _artifacts(folder, run)
    if reason is None and run.code != fingerprint(experiment, scale):
        module = changed(experiment, scale, run.code)
        reason = f"code changed ({module})" if module else "code changed"
    return reason or _needs(experiment, scale, results, run)


def _parameters(experiment: Experiment, scale: str, run: Provenance) -> str | None:
    now = json.loads(json.dumps(resolve(experiment, scale)))  # tuples become lists, as on disk
    moved = [
        name
        for name in sorted({*now, *run.parameters})
        if now.get(name, now) != run.parameters.get(name, now)
    ]
    return f"parameters changed ({', '.join(moved)})" if moved else None


def _artifacts(folder: Path, run: Provenance) -> str | None:
    if records.NOTEBOOK not in run.artifacts:
        return "written outside `towers run`"
    for name, digest in run.artifacts.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if files.sha256(folder / name) != digest:
            return f"{name} was changed"
    return None


def _needs(experiment: Experiment, scale: str, results: Path | None, run: Provenance) -> str | None:
    for name in experiment.needs:
        need = get(name, experiment.notebook.parents[2])
        if staleness(need, scale, results) is not None:
            return f"needs {name}, which is stale"
        other = last_run(need, scale, results)
        if other is not None and _ended(other) > datetime.datetime.fromisoformat(run.started):
            return f"needs {name}, which ran later"
    return None


def _ended(run: Provenance) -> datetime.datetime:
    start = datetime.datetime.fromisoformat(run.started)
    return start + datetime.timedelta(seconds=run.wall_seconds)
