"""Experiments: what they are, and which there are. Each is a notebook and the YAML beside it."""

import ast
import contextlib
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat

from towers import checked, files, strict_yaml
from towers.experiments import parameters
from towers.experiments.parameters import ExperimentError, Parameter
from towers.records import SCALES, Scale


@checked.fields(ExperimentError)
class Experiment:
    """One notebook with the YAML beside it.

    Attributes:
        name: "<part>/<notebook>", for example "clip/zero_shot".
        notebook: the file, outputs stripped.
        title: heading in lists.
        question: what it asks, one sentence.
        paper: short name of the paper it belongs to, if any.
        serves: the paper's tables and figures that it reproduces.
        needs: experiments whose results it reads.
        gpu: scales that end in no sensible time without one.
        minutes: scale -> budget: what a run may take on one core before `towers report` marks it
            as over; nothing is stopped by it.
        scales: scale -> parameters that differ from the parameters cell, which is "laptop".
        choices: parameter -> the only values it may take.
        needed: parameters that may not be empty, such as the tasks of an evaluation.
    """

    name: str
    notebook: Path
    title: str
    question: str
    paper: str | None = None
    serves: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    gpu: list[Scale] = field(default_factory=list)
    minutes: dict[Scale, PositiveFloat]
    scales: dict[Literal["smoke", "paper"], dict[str, Any]] = field(default_factory=dict)
    choices: dict[str, list[parameters.Value]] = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.minutes.keys() != {*SCALES}:
            raise ExperimentError(
                f"expected minutes for each of {', '.join(SCALES)}, got {self.minutes}"
            )

    @property
    def yaml(self) -> Path:
        """The YAML file beside the notebook."""
        return self.notebook.with_suffix(".yaml")

    def declarations(self) -> dict[str, Parameter]:
        """The parameters cell: name -> default and allowed types.

        Raises:
            ExperimentError: the notebook has not exactly one cell tagged `parameters`, the cell
                holds more than typed literals, or lacks `scale = "laptop"` or a whole `seed`.
        """
        tagged = [
            cell["source"]
            for cell in notebook_cells(self.notebook)
            if "parameters" in cell.get("metadata", {}).get("tags", [])
        ]
        if len(tagged) != 1:
            raise ExperimentError(
                f"{self.notebook}: expected one cell tagged `parameters`, got {len(tagged)}"
            )
        declared = parameters.declared(tagged[0], f"{self.notebook}, parameters cell")
        if "scale" not in declared or declared["scale"].default != "laptop":
            raise ExperimentError(f'{self.notebook}: its parameters need `scale: str = "laptop"`')
        if "seed" not in declared or type(declared["seed"].default) is not int:
            raise ExperimentError(f"{self.notebook}: its parameters need `seed: int = 0`")
        return declared

    def parameters(self) -> dict[str, Any]:
        """The parameters cell as name -> default: the laptop scale."""
        return {name: parameter.default for name, parameter in self.declarations().items()}


def notebook_cells(path: Path) -> list[dict]:
    """The cells of a notebook file.

    Raises:
        ExperimentError: the file is no notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExperimentError(f"{path}: expected a notebook of format 4: {error!r}") from error


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
    experiments = {name: _read(root, name, known) for name in known}
    _ordered(experiments, experiments.__getitem__)  # a circle of needs is refused
    return experiments


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


def in_order(names: Iterable[str], root: Path | None = None) -> list[Experiment]:
    """Experiments with everything they need, each after what it needs.

    Raises:
        ExperimentError: as `get`, or the needs run in a circle.
    """
    return [*_ordered(names, lambda name: get(name, root)).values()]


def _ordered(names: Iterable[str], read: Callable[[str], Experiment]) -> dict[str, Experiment]:
    ordered: dict[str, Experiment] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise ExperimentError(f"expected needs without a circle, got {circle}")
        if name not in ordered:
            experiment = read(name)
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
            others = ", ".join(other for other in known if other != name)
            raise ExperimentError(f"{path}: needs: no experiment {need!r}; there are: {others}")
    declarations = experiment.declarations()
    for parameter in (*experiment.choices, *experiment.needed):
        check_name(experiment, declarations, parameter, f"{path}: ")
    for parameter, allowed in experiment.choices.items():
        if declarations[parameter].default not in allowed:
            raise ExperimentError(f"{path}: choices: {parameter} lacks its default")
    for scale in SCALES:
        resolve(experiment, scale)
    return experiment


def resolve(
    experiment: Experiment, scale: str = "laptop", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All parameters of a run.

    Args:
        experiment: whose parameters cell gives names, defaults and types.
        scale: its overrides in the YAML apply first.
        overrides: apply last; `scale` is not among them.

    Returns:
        Name -> value, in the order of the cell, `scale` included.

    Raises:
        ExperimentError: an unknown scale or name, a value of a wrong type or not among the
            choices; one line with the key, what was given, and what is allowed.
    """
    if scale not in SCALES:
        raise ExperimentError(f"no scale {scale!r}; expected one of {', '.join(SCALES)}")
    given = dict(overrides or {})
    if given.get("scale", scale) != scale:
        raise ExperimentError(f"{experiment.name}: scale is {scale!r}; set it with --scale, not -p")
    declarations = experiment.declarations()
    values = {name: parameter.default for name, parameter in declarations.items()}
    of_scale = experiment.scales.get(scale, {})
    values |= _accepted(experiment, declarations, of_scale, f"{experiment.yaml}: ")
    return values | _accepted(experiment, declarations, given, "") | {"scale": scale}


def from_text(experiment: Experiment, name: str, text: str) -> Any:
    """A parameter's value from the command line: a Python or YAML literal, text unquoted.

    Raises:
        ExperimentError: unknown name, or not of the declared type.
    """
    declarations = experiment.declarations()
    check_name(experiment, declarations, name)
    annotation = declarations[name].annotation
    if annotation == "str":
        return text
    for read in (ast.literal_eval, strict_yaml.load, str):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return parameters.accept(read(text), annotation)
    raise ExperimentError(
        f"{experiment.name}: {name} must be {annotation}, got {checked.short(text)}"
    )


def check_name(
    experiment: Experiment, declarations: Mapping[str, Parameter], name: str, where: str = ""
) -> None:
    """Refuse a name that no parameter has.

    Raises:
        ExperimentError: `name` is not in `declarations`; `where` opens the message.
    """
    if name not in declarations:
        raise ExperimentError(
            f"{where}{experiment.name} has no parameter {name!r}; "
            f"its parameters: {', '.join(sorted(declarations))}"
        )


def _accepted(
    experiment: Experiment,
    declarations: Mapping[str, Parameter],
    given: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        check_name(experiment, declarations, name, where)
        parameter, place = declarations[name], f"{where}{experiment.name}: {name}"
        try:
            values[name] = parameters.accept(value, parameter.annotation)
        except ExperimentError as error:
            raise ExperimentError(f"{place} {error}") from error
        for rule in _broken(experiment, name, parameter.default, values[name]):
            raise ExperimentError(f"{place} must {rule}, got {values[name]!r}")
    return values


def _broken(experiment: Experiment, name: str, default: Any, value: Any) -> Iterator[str]:
    """The rules that a value of the right type breaks."""
    numbers = _numbers(value)
    if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        yield "be text in UTF-8, or no record could name it (give the file another name, or a link)"
    if name in experiment.choices and value not in experiment.choices[name]:
        yield f"be one of {', '.join(map(repr, experiment.choices[name]))}"
    if name == "seed" or name.endswith("seeds"):
        fits = len(numbers) == len({*numbers}) and all(0 <= seed < 2**32 for seed in numbers)
        if not numbers or not fits:
            yield "be in [0, 2^32), at least one, and each once"
    elif name in experiment.needed and not value:
        yield "not be empty"
    elif min(numbers, default=0) < 0 <= min(_numbers(default), default=0):
        yield "not be negative"


def _numbers(value: Any) -> list[int | float]:
    """The numbers in a value: itself, or the items of a list."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if type(item) in (int, float)]
