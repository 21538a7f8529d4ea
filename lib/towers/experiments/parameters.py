"""A notebook's parameters: what its parameters cell declares, and the values they take in a run."""

import ast
import contextlib
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union

import pydantic

from towers import checked, strict_yaml
from towers.records import SCALES

if TYPE_CHECKING:
    from towers.experiments.experiment import Experiment

TYPES = {
    "bool": pydantic.StrictBool, "int": pydantic.StrictInt, "float": pydantic.StrictFloat,
    "str": pydantic.StrictStr, "list": list, "tuple": tuple, "dict": dict,
}  # fmt: skip
ANY = " | ".join(["None", *TYPES])


class ExperimentError(ValueError):
    """An experiment, one of its parameters or its run is not what it must be."""


class Parameter(NamedTuple):
    """One line of the parameters cell.

    Attributes:
        default: its value.
        annotation: the types that it may have, such as "int | None" or "list[str]".
    """

    default: Any
    annotation: str


def declared(source: str, where: str) -> dict[str, Parameter]:
    """Read a parameters cell.

    Args:
        source: lines `name = literal` or `name: type = literal`, with comments.
        where: names the cell in errors.

    Returns:
        Name -> default and type, in the order of the cell.

    Raises:
        ExperimentError: any other statement, a value that is no literal, a default that is not of
            its annotated type, or a name that is there twice.
    """
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExperimentError(f"{where}: expected Python assignments: {error}") from error
    parameters: dict[str, Parameter] = {}
    for statement in statements:
        name, parameter = _parameter(statement, f"{where}, line {statement.lineno}")
        if name in parameters:
            raise ExperimentError(f"{where}: {name} is declared twice")
        parameters[name] = parameter
    return parameters


def _parameter(statement: ast.stmt, where: str) -> tuple[str, Parameter]:
    match statement:
        case ast.Assign(targets=[ast.Name(name)], value=value):
            annotation = None
        case ast.AnnAssign(target=ast.Name(name), annotation=written, value=ast.expr() as value):
            annotation = ast.unparse(written)
        case _:
            raise ExperimentError(f"{where}: expected `name: type = literal`")
    try:
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ExperimentError(
            f"{where}: expected a literal for {name}, got `{ast.unparse(value)[:60]}`"
        ) from error
    try:
        default = accept(default, annotation or infer(default))
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {name} {error}") from error
    if annotation in (None, "list", "tuple"):
        annotation = infer(default)  # `seeds: list = [0, 1]` holds whole numbers, `[]` text
    return name, Parameter(default, annotation)


def infer(value: Any) -> str:
    """The types that may replace a default without annotation.

    Returns:
        The default's own type, with the types of its items; text for the items of an empty list or
        tuple; any type for None.
    """
    name = type(value).__name__
    if name not in TYPES:
        return ANY
    if not isinstance(value, list | tuple):
        return name
    items = " | ".join(dict.fromkeys(map(infer, value))) or "str"
    return f"{name}[{items}{', ...' if name == 'tuple' else ''}]"


def accept(value: Any, annotation: str) -> Any:
    """Check a value against an annotation.

    An int becomes a float, and a list a tuple, where only that is allowed; a bool is no int. All
    that is in the value is a literal; a dict's keys are texts.

    Raises:
        ExperimentError: it is of none of the types; the message completes "<name> ...".
    """
    try:
        return _adapter(annotation).validate_python(value)
    except pydantic.ValidationError:
        got = f"{checked.short(value)} ({type(value).__name__})"
        raise ExperimentError(f"must be {annotation}, got {got}") from None


@functools.cache
def _adapter(annotation: str) -> pydantic.TypeAdapter:
    kind = _type(ast.parse(annotation, mode="eval").body)
    return pydantic.TypeAdapter(Annotated[kind, pydantic.BeforeValidator(literal)])


def _type(node: ast.expr) -> Any:
    """The type that an annotation names: int, list[str], dict[str, float], int | None, ..."""
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            return Union[_type(left), _type(right)]  # noqa: UP007
        case ast.Constant(None):
            return None
        case ast.Name(name) if name in TYPES:
            return TYPES[name]
        case ast.Subscript(ast.Name("dict"), ast.Tuple([ast.Name("str"), values])):
            return dict[str, _type(values)]
        case ast.Subscript(ast.Name("list"), items):
            return list[_type(items)]
        case ast.Subscript(ast.Name("tuple"), ast.Tuple([items, ast.Constant(value=end)])) if (
            end is ...
        ):
            return tuple[_type(items), ...]
    raise ExperimentError(
        "must have a type such as int, float, str, bool, list[str] or int | None, "
        f"got `{ast.unparse(node)}`"
    )


def literal(value: Any) -> Any:
    """The value itself, if it is a literal: None, bool, finite number, text, or lists, dicts of it.

    Raises:
        ValueError: something in it is another thing, or a key of a dict is no text.
    """
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        literal([*value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            literal(item)
    elif type(value) not in (type(None), bool, int, str) and not (
        type(value) is float and math.isfinite(value)
    ):
        raise ValueError("a literal")
    return value


Value = Annotated[Any, pydantic.BeforeValidator(literal)]
"""Any literal."""


def resolve(
    experiment: "Experiment", scale: str = "laptop", overrides: Mapping[str, Any] | None = None
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


def from_text(experiment: "Experiment", name: str, text: str) -> Any:
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
            return accept(read(text), annotation)
    raise ExperimentError(
        f"{experiment.name}: {name} must be {annotation}, got {checked.short(text)}"
    )


def check_name(
    experiment: "Experiment", declarations: Mapping[str, Parameter], name: str, where: str = ""
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
    experiment: "Experiment",
    declarations: Mapping[str, Parameter],
    given: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        check_name(experiment, declarations, name, where)
        parameter, place = declarations[name], f"{where}{experiment.name}: {name}"
        try:
            values[name] = accept(value, parameter.annotation)
        except ExperimentError as error:
            raise ExperimentError(f"{place} {error}") from error
        for rule in _broken(experiment, name, parameter.default, values[name]):
            raise ExperimentError(f"{place} must {rule}, got {values[name]!r}")
    return values


def _broken(experiment: "Experiment", name: str, default: Any, value: Any) -> Iterator[str]:
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
