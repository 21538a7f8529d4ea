"""What experiments there are: a notebook and the YAML beside it, read strictly."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from towers import files
from towers.experiments import parameters, strict_yaml
from towers.experiments.experiment import Experiment, known_parameter, resolve
from towers.experiments.parameters import ExperimentError
from towers.records import SCALES

NUMBER = (parameters.Kind("float"),)
TEXT = (parameters.Kind("str"),)
TEXTS = (parameters.Kind("list", TEXT),)
FIELDS = {
    "title": TEXT,
    "question": TEXT,
    "paper": (*TEXT, parameters.Kind("None")),
    "serves": TEXTS,
    "needs": TEXTS,
    "gpu": TEXTS,
    "minutes": (parameters.Kind("dict", NUMBER),),
    "scales": (parameters.Kind("dict", (parameters.Kind("dict", parameters.ANY),)),),
    "choices": (parameters.Kind("dict", (parameters.Kind("list", parameters.ANY),)),),
    "needed": TEXTS,
}
REQUIRED = ("title", "question", "minutes")


def names(root: Path | None = None) -> list[str]:
    """Names of all experiments, from their files alone."""
    folder = (root or files.repo_root()) / "notebooks"
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.glob("*/*.ipynb")
        if not path.name.startswith(".") and not path.parent.name.startswith(".")
    )


def find(root: Path | None = None) -> dict[str, Experiment]:
    """All experiments of the book, checked.

    Args:
        root: the checkout; default: the one we are in.

    Returns:
        Name -> experiment, sorted by name.

    Raises:
        ExperimentError: a notebook lacks its YAML or the other way round, an entry is wrong, or
            `needs` names no experiment or runs in a circle.
    """
    root = root or files.repo_root()
    known = names(root)
    for path in sorted((root / "notebooks").glob("*/*.yaml")):
        if not path.with_suffix(".ipynb").is_file():
            raise ExperimentError(f"{path}: expected a notebook {path.stem}.ipynb beside it")
    found = {name: _read(root, name, known) for name in known}
    for name in found:
        _refuse_circle(name, found, ())
    return found


def get(name: str, root: Path | None = None) -> Experiment:
    """One experiment, checked, whatever state the others are in.

    Raises:
        ExperimentError: there is none of this name (the closest names are given), or it is wrong.
    """
    root = root or files.repo_root()
    known = names(root)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        advice = f"did you mean {' or '.join(close)}" if close else f"there are: {', '.join(known)}"
        if not known:
            advice = f"there is none in {root / 'notebooks'}"
        raise ExperimentError(f"no experiment {name!r}; {advice}")
    return _read(root, name, known)


def in_order(experiments: Iterable[str], root: Path | None = None) -> list[Experiment]:
    """Experiments with everything they need, each after what it needs.

    Raises:
        ExperimentError: as `get`, or the needs run in a circle.
    """
    found: dict[str, Experiment] = {}
    ordered: dict[str, Experiment] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        found.setdefault(name, get(name, root))
        for need in found[name].needs:
            found.setdefault(need, get(need, root))
        _refuse_circle(name, found, ())
        for need in found[name].needs:
            visit(need)
        ordered[name] = found[name]

    for name in experiments:
        visit(name)
    return list(ordered.values())


def _read(root: Path, name: str, known: list[str]) -> Experiment:
    notebook = root / "notebooks" / f"{name}.ipynb"
    path = notebook.with_suffix(".yaml")
    try:
        content = strict_yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentError(f"{notebook}: expected {path.name} beside it") from error
    except (ExperimentError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: {error}") from error
    experiment = Experiment(name=name, notebook=notebook, **_entries(path, content))
    for need in experiment.needs:
        if need not in known or need == name:
            raise ExperimentError(
                f"{path}: needs: no experiment {need!r}; there are: "
                f"{', '.join(other for other in known if other != name)}"
            )
    declared = experiment.declarations()
    for parameter, allowed in experiment.choices.items():
        known_parameter(experiment, declared, parameter, f"{path}: choices: ")
        if declared[parameter].default not in allowed:
            raise ExperimentError(f"{path}: choices: {parameter} lacks its default")
    for parameter in experiment.needed:
        known_parameter(experiment, declared, parameter, f"{path}: needed: ")
    for scale in SCALES:
        resolve(experiment, scale)
    return experiment


def _entries(path: Path, content: Any) -> dict[str, Any]:
    """The YAML's entries, each of its kind."""
    if not isinstance(content, dict):
        raise ExperimentError(f"{path}: expected `key: value` lines, got {type(content).__name__}")
    for key in content:
        if key not in FIELDS:
            raise ExperimentError(f"{path}: unknown key {key!r}; known: {', '.join(FIELDS)}")
    for key in REQUIRED:
        if key not in content:
            raise ExperimentError(f"{path}: key {key!r} is missing")
    entries = {}
    for key, value in content.items():
        try:
            entries[key] = parameters.accept(value, FIELDS[key])
        except ExperimentError as error:
            raise ExperimentError(f"{path}: {key} {error}") from error
    if set(entries["minutes"]) != set(SCALES) or min(entries["minutes"].values()) <= 0:
        raise ExperimentError(f"{path}: minutes needs a number > 0 for each of {', '.join(SCALES)}")
    if unknown := sorted({*entries.get("gpu", [])} - {*SCALES}):
        raise ExperimentError(
            f"{path}: gpu: expected some of {', '.join(SCALES)}, got {', '.join(unknown)}"
        )
    for scale in entries.get("scales", {}):
        if scale not in SCALES[:1] + SCALES[2:]:
            raise ExperimentError(
                f"{path}: scales: expected smoke or paper, got {scale!r}; "
                "the parameters cell itself is the laptop scale"
            )
    return entries


def _refuse_circle(name: str, found: Mapping[str, Experiment], above: tuple[str, ...]) -> None:
    if name in above:
        circle = " -> ".join((*above[above.index(name) :], name))
        raise ExperimentError(f"{found[name].yaml}: needs: a circle, {circle}")
    for need in found[name].needs if name in found else ():
        _refuse_circle(need, found, (*above, name))
