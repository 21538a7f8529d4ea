"""The graph: experiment x scale -> results. What is stale is decided by fingerprints of code
and parameters, not by file times; Snakemake orders the work and spreads it over cores, Slurm
or Kubernetes:

    towers report --scale laptop --jobs 2                      # this machine, then the book
    snakemake -F --cores 2 --config scale=smoke part=clip      # this machine, results only
    snakemake -F --executor slurm --jobs 20 --config scale=paper  # plugin: see book/running.md
"""

from towers import experiments

SCALE = config.get("scale", "laptop")
PART = config.get("part") or ""
FORCE = str(config.get("force", "")).lower() in ("1", "true", "yes")
ALL = experiments.find()
STALE = {
    name
    for name in ALL
    if PART in ("", name.split("/")[0]) and (FORCE or experiments.staleness(ALL[name], SCALE))
}


def marker(name):
    return f"_build/ran/{SCALE}/{name}"


wildcard_constraints:
    name="[a-z_]+/[a-z_0-9]+",


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
    shell:
        "towers run {wildcards.name} --scale {SCALE} > {log} 2>&1"
