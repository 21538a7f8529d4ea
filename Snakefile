"""The graph: experiment x scale -> results. What is stale is decided by `experiments.stale`, by
fingerprints of code and parameters and not by file times; `towers report` has asked already, and
names the chapters. Snakemake orders the work and spreads it over cores, Slurm or Kubernetes:

    towers report --scale laptop --jobs 2                      # this machine, then the book
    snakemake -F --cores 2 --config scale=smoke part=clip      # this machine, results only
    snakemake -F --executor slurm --jobs 20 --config scale=paper  # a cluster: book/clusters.md
    snakemake sweep --cores 2 --config grid=grid.yaml into=sweep  # one experiment, many parameters
"""

import shlex
import sys

from towers import experiments, records
from towers.experiments import sweeps
from towers.report import chapters

SCALE = sweeps.setting("scale", config.get("scale", "laptop"), records.SCALES)
PART = config.get("part") or ""
ALL = experiments.find()
if "chapters" in config:
    STALE = sweeps.setting("chapters", config["chapters"]).split()
else:
    STALE = experiments.stale(
        [ALL[name] for name in ALL if PART in ("", name.split("/")[0])], SCALE
    )
PRIORITIES = chapters.priorities(chapters.waiting(map(experiments.get, STALE), SCALE))

INTO = sweeps.folder(config.get("into", "sweep"))
GRID = sweeps.read(sweeps.setting("grid", config["grid"]), SCALE) if "grid" in config else ()
POINTS = {f"{point.folder}/{point.name}": point for point in GRID}


def minutes(name):
    """How long an experiment may take on clusters, which stop jobs by the clock.

    Twice its budget, and an hour at least, since a node may be slower than a laptop.
    """
    return max(60, 2 * ALL[name].minutes[SCALE])


def marker(name):
    return f"_build/ran/{SCALE}/{name}"


wildcard_constraints:
    name="[a-z_]+/[a-z_0-9]+",
    folder="[^/]+",


rule all:
    input:
        [marker(name) for name in sorted(STALE)],


rule experiment:
    input:
        lambda wildcards: [marker(need) for need in ALL[wildcards.name].needs if need in STALE],
    output:
        touch(f"_build/ran/{SCALE}/{{name}}"),
    log:
        f"_build/logs/{SCALE}/{{name}}.log",
    priority:
        lambda wildcards: PRIORITIES.get(wildcards.name, 0)
    resources:
        runtime=lambda wildcards: minutes(wildcards.name),
    shell:
        "towers run {wildcards.name:q} --scale {SCALE:q} > {log:q} 2>&1"


rule sweep:
    input:
        [INTO / point / SCALE / records.FILE for point in POINTS],
    output:
        INTO / f"{SCALE}.csv",
    params:
        grid=lambda _: sweeps.setting("grid", config.get("grid")),
    shell:  # not `run`, for which Snakemake calls itself and quotes no path that has quotes
        "{sys.executable:q} -P -m towers.experiments.sweeps {params.grid:q} {SCALE:q} {INTO:q}"
        " {output:q}"


rule point:
    output:
        INTO / "{folder}/{name}" / SCALE / records.FILE,
    params:
        results=lambda wildcards: str(INTO / wildcards.folder),
        given=lambda wildcards: shlex.join(
            POINTS[f"{wildcards.folder}/{wildcards.name}"].arguments
        ),
    log:
        INTO / "{folder}/{name}" / f"{SCALE}.log",
    resources:
        runtime=lambda wildcards: minutes(wildcards.name),
    shell:
        "towers run {wildcards.name:q} --scale {SCALE:q} --results={params.results:q}"
        " {params.given} > {log:q} 2>&1"
