"""What experiments there are: a notebook and the YAML beside it, read strictly."""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

from towers import checked, files, strict_yaml
from towers.experiments.experiment import Experiment, known_parameter, resolve
from towers.experiments.parameters import ExperimentError
from towers.records import SCALES


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
    _ordered(found, found.__getitem__)
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
    return list(_ordered(experiments, lambda name: get(name, root)).values())


def _ordered(names: Iterable[str], read: Callable[[str], Experiment]) -> dict[str, Experiment]:
    ordered: dict[str, Experiment] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in ordered:
            return
        experiment = read(name)
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise ExperimentError(f"{experiment.yaml}: needs: a circle, {circle}")
        for need in experiment.needs:
            visit(need, (*above, name))
        ordered[name] = experiment

    for name in names:
        visit(name, ())
    return ordered


def _read(root: Path, name: str, known: list[str]) -> Experiment:
    notebook = root / "notebooks" / f"{name}.ipynb"
    path = notebook.with_suffix(".yaml")
    try:
        content = strict_yaml.load(path.read_text(encoding="utf-8"), ExperimentError)
        experiment = checked.build(
            Experiment, content, ExperimentError, name=name, notebook=notebook
        )
    except FileNotFoundError as error:
        raise ExperimentError(f"{notebook}: expected {path.name} beside it") from error
    except (ExperimentError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: {error}") from error
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
