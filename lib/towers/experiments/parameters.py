"""A notebook's parameters: what its parameters cell declares, and which values fit a type."""

import ast
import functools
import math
from typing import Annotated, Any, NamedTuple, Union

import pydantic

from towers import checked

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
