"""Digests of the code behind a result: if the digest changes, the result is stale.

An experiment's digest covers the notebook's code (not its prose), its YAML (budgets apart), the
parameters, and every module of `towers` that computes something for it (see `chosen`). Modules are
read as text and never imported. They count by their syntax tree without docstrings, so comments and
formatting change nothing; other files in the packages around them (tables, cards) count by their
bytes.
"""

import ast
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from towers import files, strict_yaml
from towers.experiments import chosen, modules
from towers.experiments.experiment import Experiment, notebook_cells, resolve
from towers.experiments.modules import Package

FOLDER = Path(__file__).parents[1]
"""The package that runs."""


def fingerprint(
    experiment: Experiment,
    scale: str = "laptop",
    overrides: Mapping[str, Any] | None = None,
    package: Path = FOLDER,
) -> str:
    """One digest of the code and the parameters behind an experiment's results.

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
    return _sum(_parts(experiment, scale, overrides, package))


def noted(
    experiment: Experiment, scale: str = "laptop", overrides: Mapping[str, Any] | None = None
) -> str:
    """As `fingerprint`; the digest of each module goes to the cache, where `changed` finds it."""
    parts = _parts(experiment, scale, overrides, FOLDER)
    with contextlib.suppress(OSError):
        files.atomic_write(_note(_sum(parts)), json.dumps(parts["modules"]))
    return _sum(parts)


def changed(experiment: Experiment, scale: str, then: str) -> str | None:
    """The first module that changed since `noted` gave a fingerprint; None if that is unknown."""
    try:
        before = json.loads(_note(then).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    now = _parts(experiment, scale, None, FOLDER)["modules"]
    return next((name for name in {**now, **before} if now.get(name) != before.get(name)), None)


def reached(
    experiment: Experiment,
    scale: str = "laptop",
    overrides: Mapping[str, Any] | None = None,
    package: Path = FOLDER,
) -> list[str]:
    """The modules of `towers` that compute an experiment's results, sorted; see `fingerprint`."""
    return _reached(experiment, resolve(experiment, scale, overrides), Package(package))


def of_code(roots: Iterable[str], settings: Mapping[str, Any], package: Path = FOLDER) -> str:
    """Digest of the modules behind a cached result, such as a trained run or features.

    Args:
        roots: the modules that compute it, for example "towers.training.runs"; what they import is
            followed. Modules of other packages are left out.
        settings: all that the computation is told, such as a recipe's fields. Their texts, and the
            names of fields that are set, choose among towers, readers, languages and objectives.
        package: folder of the `towers` package; default: the one that runs.

    Returns:
        Hex SHA-256, which changes with the code of any of these modules.
    """
    names = computing(roots, settings, package)
    return _sum(_digests(names, Package(package), _texts(settings)))


def computing(
    roots: Iterable[str], settings: Mapping[str, Any], package: Path = FOLDER
) -> list[str]:
    """The modules that `of_code` covers, sorted."""
    ours = [name for name in roots if name.split(".")[0] == "towers"]
    return chosen.reached(Package(package), ours, _texts(settings), alone=True)


def _texts(settings: Any) -> Iterator[str]:
    """All texts in nested settings, and the names of those that are set to something."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from [str(name)] if value else []
            yield from _texts(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _texts(value)


def _parts(
    experiment: Experiment, scale: str, overrides: Mapping[str, Any] | None, package: Path
) -> dict[str, Any]:
    entries = strict_yaml.load(experiment.yaml.read_text(encoding="utf-8"))
    values, ours = resolve(experiment, scale, overrides), Package(package)
    return {
        "cells": _code(experiment),
        "yaml": {key: entries[key] for key in entries if key not in ("gpu", "minutes", "scales")},
        "parameters": values,
        "modules": _digests(_reached(experiment, values, ours), ours, _words(experiment, values)),
    }


def _sum(parts: Mapping[str, Any]) -> str:
    return files.sha256(json.dumps(parts, sort_keys=True).encode())


def _note(digest: str) -> Path:
    return files.cache_home() / "fingerprints" / f"{digest}.json"


def _reached(experiment: Experiment, values: Mapping[str, Any], package: Package) -> list[str]:
    names = modules.imports(_syntax(experiment), "")
    return chosen.reached(package, names, _words(experiment, values))


def _words(experiment: Experiment, values: Mapping[str, Any]) -> set[str]:
    """The words of an experiment's parameters and code."""
    return {*_texts(values), *modules.words(_syntax(experiment))}


def _syntax(experiment: Experiment) -> ast.Module:
    return ast.Module([line for text in _code(experiment) for line in _tree(text).body], [])


def _code(experiment: Experiment) -> list[str]:
    cells = notebook_cells(experiment.notebook)
    return [cell["source"] for cell in cells if cell.get("cell_type") == "code"]


def _digests(names: Iterable[str], package: Package, words: Iterable[str]) -> dict[str, str]:
    """Name of a module -> its digest, and folder -> digest of its files that are not Python.

    The folders are those of the packages around the modules. Of the cards in them only those count
    that the words, or the modules, name.
    """
    digests = {name: package[name].digest for name in names}
    cards = chosen.named(package, [*digests], words)
    package.remember()
    top = package.folder
    around = {parent for name in digests for parent in modules.locate(top, name).parents}
    for folder in sorted(parent for parent in around if top in parent.parents):
        data = [
            (str(item.relative_to(top)), files.sha256(item))
            for item in sorted(folder.rglob("*"))
            if item.is_file()
            and item.suffix not in (".py", ".pyc")
            and (item.parent.name != "cards" or item.stem in cards)
        ]
        digests[str(folder.relative_to(top))] = files.sha256(json.dumps(data).encode())
    return digests


def _tree(source: str) -> ast.Module:
    """A code cell's syntax tree; lines of IPython magic are left out, a broken cell is empty."""
    plain = [
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip()[:1] in ("%", "!") else line
        for line in source.splitlines()
    ]
    for text in (source, "\n".join(plain)):
        with contextlib.suppress(SyntaxError):
            return ast.parse(text)
    return ast.Module(body=[], type_ignores=[])
