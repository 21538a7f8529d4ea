"""Experiments: find and check them, execute their notebooks, and record results.

An experiment is a notebook `notebooks/<part>/<name>.ipynb` with a YAML file beside it. `towers run`
calls `run`; the notebook itself calls `begin`, and `result` for the records of another experiment.
"""

from towers.experiments.execution import RunFailed, left_out, run
from towers.experiments.experiment import (
    Experiment,
    find,
    from_text,
    get,
    in_order,
    names,
    resolve,
)
from towers.experiments.fingerprints import fingerprint
from towers.experiments.freshness import NEVER, last_run, stale, staleness
from towers.experiments.parameters import ExperimentError
from towers.experiments.recording import Run, begin, result

__all__ = [
    "NEVER",
    "Experiment",
    "ExperimentError",
    "Run",
    "RunFailed",
    "begin",
    "find",
    "fingerprint",
    "from_text",
    "get",
    "in_order",
    "last_run",
    "left_out",
    "names",
    "resolve",
    "result",
    "run",
    "stale",
    "staleness",
]
