"""A made-up checkout with tiny notebooks, for tests of what runs and records experiments."""

import json
from pathlib import Path

PARAMETERS = 'scale: str = "laptop"\nseed: int = 0\ncandidates: int = 100\nrate: float = 0.5\n'
BEGIN = """\
from towers import experiments
from towers.records import Measurement
run = experiments.begin("{name}", globals())
"""
ADD = 'run.add(Measurement(model="m", data="d", metric="r", value=rate, n=candidates, seed=seed))'
WRITE = "run.write()"
YAML = """\
title: Tiny
question: Does it run?
paper: clip
serves: [Table 1]
minutes: {smoke: 1, laptop: 1, paper: 1}
scales: {smoke: {candidates: 10}}
"""


def notebook(*cells: str, parameters: str = PARAMETERS) -> dict:
    """A notebook with a parameters cell and further code cells."""
    sources = [("# A tiny question", "markdown"), (parameters, "code")]
    sources += [(source, "code") for source in cells]
    return {
        "cells": [
            {
                "id": f"cell-{number}",
                "cell_type": kind,
                "metadata": {"tags": ["parameters"] if source is parameters else []},
                "source": source.splitlines(keepends=True),
                **({"outputs": [], "execution_count": None} if kind == "code" else {}),
            }
            for number, (source, kind) in enumerate(sources)
        ],
        "metadata": {"kernelspec": {"name": "nowhere", "language": "python", "display_name": "x"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def add(
    root: Path,
    name: str,
    *cells: str,
    yaml: str = YAML,
    parameters: str = PARAMETERS,
    whole: bool = False,
) -> Path:
    """Put an experiment into a checkout.

    Args:
        root: the checkout.
        name: "<part>/<notebook>".
        cells: code between `begin` and `write`; by default one that records a value.
        yaml: text of the file beside the notebook.
        parameters: text of the parameters cell.
        whole: the cells are all there is, without `begin` and `write`.

    Returns:
        The notebook.
    """
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = cells or (ADD,)
    if not whole:
        cells = (BEGIN.format(name=name), *cells, WRITE)
    path.write_text(json.dumps(notebook(*cells, parameters=parameters)))
    path.with_suffix(".yaml").write_text(yaml)
    (root / "_toc.yml").write_text("root: intro\n")
    return path
