"""What an experiment's numbers rest on, in code: one digest, found without importing anything.

The digest covers the notebook's code (an edit of its prose runs nothing), its YAML (time limits
apart), the parameters, and every module of `towers` that the notebook reaches through imports,
also those inside functions. Modules count by their syntax tree without docstrings, so comments and
formatting change nothing; other files in the packages around them (tables, templates) count by
their bytes. A package's face counts where it is asked for a name, not where one of its modules is.
"""

import ast
import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from towers import files
from towers.experiments import modules, strict_yaml
from towers.experiments.experiment import Experiment, notebook_cells, resolve

# These decide when, where and with which parameters a notebook runs (the parameters are in the
# digest themselves), and compute nothing that it reports.
NOT_FOLLOWED = frozenset(
    f"towers.experiments.{module}"
    for module in (
        "catalogue",
        "execution",
        "experiment",
        "fingerprints",
        "freshness",
        "kernel",
        "modules",
        "parameters",
        "strict_yaml",
    )
)


def fingerprint(
    experiment: Experiment,
    scale: str = "laptop",
    overrides: Mapping[str, Any] | None = None,
    package: Path | None = None,
) -> str:
    """Digest of the code and parameters behind an experiment's results.

    Args:
        experiment: whose notebook and YAML are read from disk.
        scale: selects the YAML's overrides.
        overrides: of the parameters, as for `resolve`.
        package: folder of the `towers` package; default: the one that runs.

    Returns:
        Hex SHA-256.

    Raises:
        ExperimentError: the notebook cannot be read, or a parameter is wrong.
    """
    package = package or Path(__file__).parents[1]
    cells = notebook_cells(experiment.notebook)
    entries = strict_yaml.load(experiment.yaml.read_text(encoding="utf-8"))
    parts = {
        "cells": [cell["source"] for cell in cells if cell.get("cell_type") == "code"],
        "yaml": {key: entries[key] for key in entries if key not in ("gpu", "minutes", "scales")},
        "parameters": resolve(experiment, scale, overrides),
        "modules": _digests(package, reached(experiment, package)),
    }
    modules.remember()
    return files.sha256(json.dumps(parts, sort_keys=True).encode())


def reached(experiment: Experiment, package: Path | None = None) -> list[str]:
    """The modules of `towers` that a notebook's code cells reach through imports, sorted.

    Args:
        experiment: whose notebook is read from disk.
        package: folder of the `towers` package; default: the one that runs.
    """
    package = package or Path(__file__).parents[1]
    cells = notebook_cells(experiment.notebook)
    code = [cell["source"] for cell in cells if cell.get("cell_type") == "code"]
    return _reached([name for text in code for name in modules.imports(_tree(text), "")], package)


def of_module(name: str, package: Path | None = None) -> str:
    """Digest of a module of `towers` and of all that it reaches through imports.

    Args:
        name: dotted, for example "towers.training.runs".
        package: folder of the `towers` package; default: the one that runs.

    Returns:
        Hex SHA-256; another one where any of these modules does something else.
    """
    package = package or Path(__file__).parents[1]
    parts = _digests(package, _reached([name], package))
    modules.remember()
    return files.sha256(json.dumps(parts, sort_keys=True).encode())


def _reached(waiting: list[str], package: Path) -> list[str]:
    found: set[str] = set()
    while waiting:
        name = modules.target(package, waiting.pop())
        if name in found or name in NOT_FOLLOWED:
            continue
        if module := modules.read(package, name):
            found.add(name)
            waiting += module.imports
    return sorted(found)


def _digests(package: Path, names: Iterable[str]) -> dict[str, str]:
    """Of modules by name, and of the files that are not Python in all packages around them."""
    found = {name: modules.read(package, name).digest for name in names}
    around = {parent for name in names for parent in modules.locate(package, name).parents}
    for folder in sorted(each for each in around if package in each.parents):
        data = [
            (str(item.relative_to(package)), files.sha256(item))
            for item in sorted(folder.rglob("*"))
            if item.is_file() and item.suffix not in (".py", ".pyc")
        ]
        found[str(folder.relative_to(package))] = files.sha256(json.dumps(data).encode())
    return found


def _tree(source: str) -> ast.AST:
    """A code cell's syntax; lines of IPython magic are left out, a broken cell imports nothing."""
    plain = [
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip()[:1] in ("%", "!") else line
        for line in source.splitlines()
    ]
    for text in (source, "\n".join(plain)):
        with contextlib.suppress(SyntaxError):
            return ast.parse(text)
    return ast.Module(body=[], type_ignores=[])
