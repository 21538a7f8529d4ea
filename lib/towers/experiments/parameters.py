"""Typed literals: a notebook's parameters cell, and what may stand in their place."""

import ast
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union

import pydantic

from towers.checked import short

NAMES = {
    "bool": pydantic.StrictBool, "int": pydantic.StrictInt, "float": pydantic.StrictFloat,
    "str": pydantic.StrictStr, "list": list, "tuple": tuple, "dict": dict,
}  # fmt: skip
ANY = ("None", *NAMES)


class ExperimentError(ValueError):
    """An experiment, one of its parameters or its run is not what it must be."""


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, default, and the types it takes, any of them."""

    name: str
    default: Any
    kinds: tuple[str, ...]


def kind(name: str, items: Sequence[str] = ()) -> str:
    """A type as an annotation writes it: "list[int | str]" of "list" with "int" and "str"."""
    some = " | ".join(dict.fromkeys(items))
    return f"{name}[{some}{', ...' if name == 'tuple' else ''}]" if items else name


def declared(source: str, where: str) -> dict[str, Parameter]:
    """The parameters that a cell declares.

    Args:
        source: lines `name = literal` or `name: type = literal`, with comments.
        where: names the cell in errors.

    Raises:
        ExperimentError: any other statement, a value that is no literal, a default that is not of
            its annotated type, or a name that is there twice.
    """
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExperimentError(f"{where}: expected Python assignments: {error}") from error
    found: dict[str, Parameter] = {}
    for statement in statements:
        parameter = _parameter(statement, f"{where}, line {statement.lineno}")
        if parameter.name in found:
            raise ExperimentError(f"{where}: {parameter.name} is declared twice")
        found[parameter.name] = parameter
    return found


def _parameter(statement: ast.stmt, where: str) -> Parameter:
    match statement:
        case ast.Assign(targets=[ast.Name(name)], value=value):
            kinds = ()
        case ast.AnnAssign(target=ast.Name(name), annotation=annotation, value=ast.expr() as value):
            kinds = (ast.unparse(annotation),)
        case _:
            raise ExperimentError(f"{where}: expected `name: type = literal`")
    try:
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ExperimentError(
            f"{where}: expected a literal for {name}, got `{ast.unparse(value)[:60]}`"
        ) from error
    try:
        default = accept(default, kinds or infer(default))
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {name} {error}") from error
    if kinds in ((), ("list",), ("tuple",)):
        kinds = infer(default)  # `seeds: list = [0, 1]` holds whole numbers, `[]` text
    return Parameter(name, default, kinds)


def infer(value: Any) -> tuple[str, ...]:
    """The types of value that may replace a default without annotation.

    Returns:
        The default's own type, with the types of its items; text for the items of an empty
        list or tuple; any for None.
    """
    if type(value).__name__ not in NAMES:
        return ANY
    items = []
    if isinstance(value, list | tuple):
        items = [each for item in value for each in infer(item)] or ["str"]
    return (kind(type(value).__name__, items),)


def accept(value: Any, kinds: Sequence[str]) -> Any:
    """A value as one of some types, which are written as in annotations.

    An int becomes a float, and a list a tuple, where only that is allowed; a bool is no int. All
    that is in the value is a literal; a dict's keys are texts.

    Raises:
        ExperimentError: it is of none of the types; the message completes "<name> ...".
    """
    wanted = " | ".join(kinds)
    try:
        return _checker(wanted).validate_python(value)
    except pydantic.ValidationError:
        got = f"{short(value)} ({type(value).__name__})"
        raise ExperimentError(f"must be {wanted}, got {got}") from None


@functools.cache
def _checker(annotation: str) -> pydantic.TypeAdapter:
    kind = _type(ast.parse(annotation, mode="eval").body)
    return pydantic.TypeAdapter(Annotated[kind, pydantic.BeforeValidator(literal)])


def _type(node: ast.expr) -> Any:
    """The type that an annotation names: int, list[str], dict[str, float], int | None, ..."""
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            return Union[_type(left), _type(right)]  # noqa: UP007
        case ast.Constant(None):
            return None
        case ast.Name(name) if name in NAMES:
            return NAMES[name]
        case ast.Subscript(ast.Name("dict"), ast.Tuple([ast.Name("str"), inner])):
            return dict[str, _type(inner)]
        case ast.Subscript(ast.Name("list" | "tuple" as name), inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            kinds = [_type(part) for part in parts if ast.unparse(part) != "..."]
            if kinds:
                return list[Union[*kinds]] if name == "list" else tuple[Union[*kinds], ...]
    raise ExperimentError(
        "must have a type such as int, float, str, bool, list[str] or int | None, "
        f"got `{ast.unparse(node)}`"
    )


def literal(value: Any) -> Any:
    """The value itself, if it is a literal: of None, truths, finite numbers, texts, lists, dicts.

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
