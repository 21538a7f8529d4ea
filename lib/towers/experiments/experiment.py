"""One experiment: its notebook, its parameters, and the values they take in a run."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from towers.experiments import parameters, strict_yaml
from towers.experiments.parameters import ExperimentError, Parameter
from towers.records import SCALES


@dataclass(frozen=True)
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
        scales: scale -> parameters that differ from the parameters cell.
        choices: parameter -> the only values it may take.
        needed: parameters that may not be empty, such as the tasks of an evaluation.
    """

    name: str
    notebook: Path
    title: str
    question: str
    minutes: dict[str, float]
    paper: str | None = None
    serves: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    gpu: list[str] = field(default_factory=list)
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    choices: dict[str, list] = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)

    @property
    def yaml(self) -> Path:
        """The YAML file beside the notebook."""
        return self.notebook.with_suffix(".yaml")

    def declarations(self) -> dict[str, Parameter]:
        """The parameters cell: name -> default and allowed kinds.

        Raises:
            ExperimentError: the notebook has not exactly one cell tagged `parameters`, the cell
                holds more than typed literals, or lacks `scale = "laptop"` or a whole `seed`.
        """
        tagged = [
            "".join(cell["source"])
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
        experiment: whose parameters cell gives names, defaults and kinds.
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
    declared = experiment.declarations()
    _check(experiment, declared, experiment.scales.get(scale, {}), f"{experiment.yaml}: ")
    given = dict(overrides or {})
    if given.get("scale", scale) != scale:
        raise ExperimentError(f"{experiment.name}: scale is {scale!r}; set it with --scale, not -p")
    _check(experiment, declared, given, "")
    merged = {name: item.default for name, item in declared.items()}
    merged |= experiment.scales.get(scale, {}) | given | {"scale": scale}
    return {name: parameters.accept(value, declared[name].kinds) for name, value in merged.items()}


def from_text(experiment: Experiment, name: str, text: str) -> Any:
    """A parameter's value from the command line: a Python or YAML literal, text unquoted.

    Raises:
        ExperimentError: unknown name, or not of the declared kind.
    """
    declared = experiment.declarations()
    known_parameter(experiment, declared, name, "")
    kinds = declared[name].kinds
    if all(kind.name == "str" for kind in kinds):
        return text
    for read in (ast.literal_eval, strict_yaml.load, str):
        try:
            return parameters.accept(read(text), kinds)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    raise ExperimentError(
        f"{experiment.name}: {name} must be {parameters.describe(kinds)}, got {shown!r}"
    )


def _check(
    experiment: Experiment, declared: dict[str, Parameter], given: Mapping[str, Any], where: str
) -> None:
    for name, value in given.items():
        known_parameter(experiment, declared, name, where)
        try:
            value = parameters.accept(value, declared[name].kinds)
        except ExperimentError as error:
            raise ExperimentError(f"{where}{experiment.name}: {name} {error}") from error
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ExperimentError(
                f"{where}{experiment.name}: expected text in UTF-8 as {name}, got {value!a}, which "
                "no record could name; rename the file, or name it through a link"
            ) from None
        allowed = experiment.choices.get(name)
        if allowed is not None and value not in allowed:
            raise ExperimentError(
                f"{where}{experiment.name}: {name} must be one of "
                f"{', '.join(map(repr, allowed))}, got {value!r}"
            )
        if fault := _fault(name, value, declared[name].default, name in experiment.needed):
            raise ExperimentError(f"{where}{experiment.name}: {name} must {fault}, got {value!r}")


def _fault(name: str, value: Any, default: Any, needed: bool) -> str | None:
    """What a value of the right kind cannot be: empty, negative, or no seed."""
    numbers, usual = _numbers(value), _numbers(default)
    if name == "seed" or name.endswith("seeds"):
        fits = len(numbers) == len({*numbers}) and all(0 <= seed < 2**32 for seed in numbers)
        return None if numbers and fits else "be in [0, 2^32), at least one, and each once"
    if needed and not value:
        return "not be empty"
    return "not be negative" if min(numbers, default=0) < 0 <= min(usual, default=0) else None


def _numbers(value: Any) -> list[int | float]:
    """The numbers in a value: itself, or the items of a list."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if type(item) in (int, float)]


def known_parameter(
    experiment: Experiment, declared: Mapping[str, Parameter], name: str, where: str = ""
) -> None:
    """Refuse a name that no parameter has.

    Args:
        experiment: named in the message.
        declared: its parameters, listed in the message.
        name: to look for.
        where: opens the message, for example with a file.

    Raises:
        ExperimentError: there is no such parameter.
    """
    if name not in declared:
        raise ExperimentError(
            f"{where}{experiment.name} has no parameter {name!r}; "
            f"its parameters: {', '.join(sorted(declared))}"
        )
