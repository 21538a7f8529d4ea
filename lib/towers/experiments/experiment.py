"""One experiment: its notebook, its parameters, and the values they take in a run."""

import ast
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat

from towers import checked, strict_yaml
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
        minutes: scale -> budget, what a run is expected to take; nothing is stopped by it.
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
        found = parameters.declared(tagged[0], f"{self.notebook}, parameters cell")
        if "scale" not in found or found["scale"].default != "laptop":
            raise ExperimentError(f'{self.notebook}: its parameters need `scale: str = "laptop"`')
        if "seed" not in found or type(found["seed"].default) is not int:
            raise ExperimentError(f"{self.notebook}: its parameters need `seed: int = 0`")
        return found

    def parameters(self) -> dict[str, Any]:
        """The parameters cell as name -> default: the laptop scale."""
        return {name: item.default for name, item in self.declarations().items()}


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
        ExperimentError: an unknown scale or name, a value of a wrong kind or not among the
            choices; one line with the key, what was given, and what is allowed.
    """
    if scale not in SCALES:
        raise ExperimentError(f"no scale {scale!r}; expected one of {', '.join(SCALES)}")
    given = dict(overrides or {})
    if given.get("scale", scale) != scale:
        raise ExperimentError(f"{experiment.name}: scale is {scale!r}; set it with --scale, not -p")
    declared = experiment.declarations()
    merged = {name: item.default for name, item in declared.items()}
    merged |= _checked(
        experiment, declared, experiment.scales.get(scale, {}), f"{experiment.yaml}: "
    )
    return merged | _checked(experiment, declared, given, "") | {"scale": scale}


def from_text(experiment: Experiment, name: str, text: str) -> Any:
    """A parameter's value from the command line: a Python or YAML literal, text unquoted.

    Raises:
        ExperimentError: unknown name, or not of the declared kind.
    """
    declared = experiment.declarations()
    known_parameter(experiment, declared, name, "")
    kinds = declared[name].kinds
    if {*kinds} == {"str"}:
        return text
    for read in (ast.literal_eval, strict_yaml.load, str):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return parameters.accept(read(text), kinds)
    raise ExperimentError(
        f"{experiment.name}: {name} must be {' | '.join(kinds)}, got {checked.short(text)}"
    )


def _checked(
    experiment: Experiment, declared: dict[str, Parameter], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        known_parameter(experiment, declared, name, where)
        place = f"{where}{experiment.name}: {name}"
        try:
            found[name] = parameters.accept(value, declared[name].kinds)
        except ExperimentError as error:
            raise ExperimentError(f"{place} {error}") from error
        for fault in _faults(experiment, declared[name], found[name]):
            raise ExperimentError(f"{place} must {fault}, got {found[name]!r}")
    return found


def _faults(experiment: Experiment, parameter: Parameter, value: Any) -> Iterator[str]:
    """What a value of the right type cannot be: no text, no choice, no seed, empty, negative."""
    name, numbers, usual = parameter.name, _numbers(value), _numbers(parameter.default)
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
    elif min(numbers, default=0) < 0 <= min(usual, default=0):
        yield "not be negative"


def _numbers(value: Any) -> list[int | float]:
    """The numbers in a value: itself, or the items of a list."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if type(item) in (int, float)]


def known_parameter(
    experiment: Experiment, declared: Mapping[str, Parameter], name: str, where: str = ""
) -> None:
    """Refuse a name that no parameter has.

    Raises:
        ExperimentError: `name` is not in `declared`; `where` opens the message.
    """
    if name not in declared:
        raise ExperimentError(
            f"{where}{experiment.name} has no parameter {name!r}; "
            f"its parameters: {', '.join(sorted(declared))}"
        )
