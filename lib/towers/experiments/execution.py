"""Executes the notebook of an experiment, and publishes its results whole or not at all."""

import contextlib
import dataclasses
import datetime
import json
import math
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from towers import files, records
from towers.experiments import freshness
from towers.experiments.experiment import Experiment, get, resolve
from towers.experiments.fingerprints import fingerprint
from towers.experiments.limits import MINUTES, Limits, limits
from towers.experiments.parameters import ExperimentError
from towers.progress import ALIVE
from towers.records import RecordsError


class RunFailed(RuntimeError):
    """An experiment failed while it ran; the message says where and why, and names the notebook."""


def run(
    experiment: Experiment | str,
    scale: str = "laptop",
    overrides: Mapping[str, Any] | None = None,
    results: Path | None = None,
    progress: bool = True,
    minutes: float | None = None,
    anyway: bool = False,
) -> Path:
    """Execute an experiment's notebook and publish its results, all or nothing.

    There is no time limit: the YAML's `minutes` are a budget. A run is stopped when it stalls: when
    for ten minutes (or a tenth of the budget, if that is longer) no cell has ended, nothing was
    printed, and no loop of the library has taken a step. `TOWERS_STALL_MINUTES` changes this.

    Args:
        experiment: itself or its name.
        scale: smoke, laptop or paper.
        overrides: of its parameters; relative paths in them are below the working directory, which
            is the notebook's too.
        results: folder of all results; default: the checkout's (or `TOWERS_RESULTS`).
        progress: whether to show a bar over its cells, on a terminal.
        minutes: a time limit after all; default: none.
        anyway: run also at a scale that needs a GPU where there is none.

    Returns:
        The folder of the result, `<results>/<part>/<name>/<scale>`: records, the executed notebook
        and the data of the figures.

    Raises:
        ExperimentError: unknown experiment, scale or parameter, a value of a wrong type, a scale
            that needs a GPU where there is none, or something it needs has never run.
        RunFailed: a cell raised, the kernel died, the run stalled, the time is over, or the
            notebook did not write its records. Earlier results stay; the failed notebook lies
            beside them.
        OSError: the disk is full or fails; earlier results stay.
    """
    if isinstance(experiment, str):
        experiment = get(experiment)
    values = resolve(experiment, scale, overrides)
    stops = limits(experiment, scale, minutes)
    if scale in experiment.gpu and not anyway and not _has_gpu():
        raise ExperimentError(
            f"{experiment.name} at scale {scale} trains for days on GPUs, and this machine has "
            "none; its page shows the plan, `--scale laptop` runs here, `--anyway` begins it"
        )
    results = files.user_path(results).resolve() if results else files.results_home()
    for need in experiment.needs:
        if freshness.last_run(get(need), scale, results) is None:
            raise ExperimentError(
                f"{experiment.name} needs {need} at scale {scale}, which has never run; "
                f"run `towers run {need} --scale {scale}` first"
            )
    result = records.folder(experiment.name, scale, results)
    with _alone(result, f"{experiment.name} ({scale})"), _staging(result) as staging:
        code = fingerprint(experiment, scale, overrides)
        started = time.monotonic()
        try:
            _execute(experiment, values, staging, results, stops, progress)
            _complete(experiment, values, staging, code, time.monotonic() - started)
        except RunFailed as failure:
            raise RunFailed(_keep(failure, staging, _failed(result))) from failure
        files.publish(staging, result)
        _failed(result).unlink(missing_ok=True)
    return result


def left_out(result: Path) -> list[str]:
    """The lines a run printed about items of its data that were left out, and its warnings.

    Args:
        result: the folder that `run` gives.
    """
    cells = json.loads((result / records.NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    printed = [
        line
        for cell in cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stderr"
        for line in "".join(output["text"]).split("\n")
        if line.startswith("towers: ") and ("left out" in line or "warning: " in line)
    ]
    return list(dict.fromkeys(printed))


def _has_gpu() -> bool:
    import torch  # takes a second

    return torch.cuda.is_available()


@contextlib.contextmanager
def _alone(result: Path, label: str) -> Iterator[None]:
    """Hold the lock of an experiment at a scale; a second run waits for the first."""
    lock = files.locked(result.with_name(f".{result.name}.run"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{label}: waiting for another run of it to end", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _staging(result: Path) -> Iterator[Path]:
    """A fresh staging folder; leftovers of killed runs are removed first."""
    name = f".{result.name}.staging-"
    for old in result.parent.glob(f"{name}*"):
        shutil.rmtree(old, ignore_errors=True)
    for old in result.parent.rglob(".*.part"):  # of a killed write; no write takes an hour
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink()
    staging = result.with_name(f"{name}{uuid.uuid4().hex}")
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _execute(
    experiment: Experiment,
    values: dict[str, Any],
    staging: Path,
    results: Path,
    stops: Limits,
    progress: bool,
) -> None:
    from towers.experiments import kernel  # papermill takes a second to import

    root = experiment.notebook.parents[2]
    source = staging / "source.ipynb"
    files.atomic_write(source, json.dumps(_prepared(experiment, values)))
    alive = staging / "alive"
    alive.touch()
    environment = {
        ALIVE: str(alive),
        "TOWERS_STAGING": str(staging),
        "TOWERS_RESULTS": str(results),
        "TOWERS_ROOT": str(root),
    }
    paper = experiment.minutes["paper"] if values["scale"] == "paper" else math.inf
    if (minutes := min(stops.whole / 60, paper)) < math.inf:
        environment[MINUTES] = str(minutes)
    label = f"{experiment.name} ({values['scale']})"
    bar = label if progress else None
    output, log = staging / records.NOTEBOOK, staging / "kernel.log"
    try:
        kernel.execute(source, output, log, environment, Path.cwd(), stops, bar)
    except kernel.CellFailed as error:
        raise RunFailed(f"{label} failed in {error}") from error
    for path in (source, log, alive):
        path.unlink()


def _prepared(experiment: Experiment, values: dict[str, Any]) -> dict:
    """The notebook with a cell that sets the parameters whose values differ from the cell's."""
    content = json.loads(experiment.notebook.read_text(encoding="utf-8"))
    changed = {
        name: value for name, value in values.items() if value != experiment.parameters()[name]
    }
    lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in changed.items())]
    cells = content["cells"]
    place = next(
        index
        for index, cell in enumerate(cells)
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    )
    if changed:
        injected = {
            "cell_type": "code",
            "execution_count": None,
            **({"id": "injected-parameters"} if "id" in cells[place] else {}),
            "metadata": {"tags": ["injected-parameters"]},
            "outputs": [],
            "source": "\n".join(lines),
        }
        cells.insert(place + 1, injected)
    return content


def _complete(
    experiment: Experiment, values: dict[str, Any], staging: Path, code: str, seconds: float
) -> None:
    """Check the files in the staging folder, and complete the provenance."""
    scale = values["scale"]
    label = f"{experiment.name} ({scale}) failed"
    executed = staging / records.NOTEBOOK
    content = json.loads(executed.read_text(encoding="utf-8"))
    _refuse_errors(content, label)
    if not (staging / records.FILE).is_file():
        raise RunFailed(f"{label}: it wrote no records; its last call must be run.write()")
    try:
        provenance, rows = records.read(staging)
    except RecordsError as error:
        raise RunFailed(f"{label}: {error}") from error
    if (provenance.experiment, provenance.scale) != (experiment.name, scale):
        raise RunFailed(
            f"{label}: it wrote records of {provenance.experiment} ({provenance.scale}); "
            "check the name in experiments.begin"
        )
    if provenance.parameters != json.loads(json.dumps(values)):
        raise RunFailed(f"{label}: it changed its parameters before experiments.begin")
    content["metadata"].get("papermill", {}).update(
        input_path=f"notebooks/{experiment.name}.ipynb", output_path=None
    )
    files.atomic_write(executed, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    artifacts = {
        path.relative_to(staging).as_posix(): files.sha256(path)
        for path in sorted(staging.rglob("*"))
        if path.is_file() and path.name != records.FILE
    }
    # By one clock, so that a run that follows at once never seems to start before this one's end.
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    provenance = dataclasses.replace(
        provenance, artifacts=artifacts, code=code, wall_seconds=round(seconds, 3),
        started=began.isoformat(timespec="milliseconds"),
    )  # fmt: skip
    records.write(staging, provenance, rows)


def _refuse_errors(content: dict, label: str) -> None:
    failed = content["metadata"].get("papermill", {}).get("exception")
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    errors = [output for output in outputs if output["output_type"] == "error"]
    for output in errors:
        message = " ".join(f"{output['ename']}: {output['evalue']}".split())
        raise RunFailed(f"{label}: a cell ended with {message}")
    if failed:
        raise RunFailed(f"{label}: papermill marks it as failed")


def _failed(result: Path) -> Path:
    """Where a failed run leaves its notebook: beside the earlier result."""
    return result.with_name(f"{result.name}.failed.ipynb")


def _keep(failure: RunFailed, staging: Path, target: Path) -> str:
    """Save the failed notebook beside the result; the message, with the path."""
    try:
        content = json.loads((staging / records.NOTEBOOK).read_text(encoding="utf-8"))
        content["metadata"].setdefault("papermill", {})["exception"] = True
        files.atomic_write(target, json.dumps(content, indent=1) + "\n")
    except (OSError, ValueError):
        return str(failure)
    return f"{failure}; see {files.shown(target)}"
