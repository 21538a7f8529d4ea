"""Typed literals: a notebook's parameters cell, and what may stand in their place."""

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SIMPLE = {"bool": bool, "int": int, "float": float, "str": str}


class ExperimentError(ValueError):
    """An experiment, one of its parameters or its run is not what it must be."""


@dataclass(frozen=True)
class Kind:
    """A type that a parameter may have: a name, and for containers the kinds of their items.

    Attributes:
        name: "bool", "int", "float", "str", "list", "tuple", "dict", "None" or "any".
        items: any of them will do; empty outside containers.
    """

    name: str
    items: tuple["Kind", ...] = ()

    def __str__(self):
        if self.name == "any":
            return "any literal"
        return f"{self.name} of {describe(self.items)}" if self.items else self.name


Kinds = tuple[Kind, ...]
ANY = (Kind("any"),)


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, default, and the kinds of value it takes."""

    name: str
    default: Any
    kinds: Kinds


def describe(kinds: Kinds) -> str:
    """Kinds in words, for example "float or None"."""
    return " or ".join(map(str, kinds))


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
    annotation = getattr(statement, "annotation", None)
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    value = getattr(statement, "value", None)
    assigned = isinstance(statement, ast.Assign | ast.AnnAssign) and value is not None
    if not assigned or len(targets) != 1 or not isinstance(targets[0], ast.Name):
        raise ExperimentError(f"{where}: expected `name: type = literal`")
    name = targets[0].id
    try:
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ExperimentError(
            f"{where}: expected a literal for {name}, got `{ast.unparse(value)[:60]}`"
        ) from error
    kinds = infer(default) if annotation is None else _annotated(annotation, f"{where}: {name}")
    try:
        default = accept(default, kinds)
        if kinds in ((Kind("list", ANY),), (Kind("tuple", ANY),)):
            kinds = infer(default)  # `seeds: list = [0, 1]` holds whole numbers, `[]` text
        return Parameter(name, default, kinds)
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {name} {error}") from error


def infer(value: Any) -> Kinds:
    """The kinds of value that may replace a default without annotation.

    Returns:
        The default's own kind, with the kinds of its items; text for the items of an empty
        container; anything for None.
    """
    if value is None:
        return ANY
    if isinstance(value, list | tuple):
        items = {kind: None for item in value for kind in infer(item)}
        return (Kind(type(value).__name__, tuple(items) or (Kind("str"),)),)
    if isinstance(value, dict):
        return (Kind("dict", ANY),)
    return (Kind(type(value).__name__),)


def _annotated(node: ast.expr, where: str) -> Kinds:
    """The kinds that an annotation names: int, list[str], dict[str, float], int | None, ..."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return (*_annotated(node.left, where), *_annotated(node.right, where))
    if isinstance(node, ast.Constant) and node.value is None:
        return (Kind("None"),)
    if isinstance(node, ast.Name) and node.id in SIMPLE:
        return (Kind(node.id),)
    if isinstance(node, ast.Name) and node.id in ("list", "tuple", "dict"):
        return (Kind(node.id, ANY),)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        inner = [part for part in inner if ast.unparse(part) != "..."]
        if node.value.id == "dict" and len(inner) == 2 and ast.unparse(inner[0]) == "str":
            return (Kind("dict", _annotated(inner[1], where)),)
        if node.value.id in ("list", "tuple") and inner:
            items = {kind: None for part in inner for kind in _annotated(part, where)}
            return (Kind(node.value.id, tuple(items)),)
    raise ExperimentError(
        f"{where}: expected a type such as int, float, str, bool, list[str] or int | None, "
        f"got `{ast.unparse(node)}`"
    )


def accept(value: Any, kinds: Kinds) -> Any:
    """A value as one of the kinds.

    An int becomes a float, and a list a tuple, where only that is allowed; a bool is no int.

    Raises:
        ExperimentError: it is none of the kinds; the message completes "<name> ...".
    """
    for exact in (True, False):
        fits, converted = _any_fit(value, kinds, exact)
        if fits:
            return converted
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    raise ExperimentError(f"must be {describe(kinds)}, got {shown} ({type(value).__name__})")


def _any_fit(value: Any, kinds: Kinds, exact: bool) -> tuple[bool, Any]:
    """Whether a value is of one of the kinds, and the value as the first that it fits."""
    for kind in kinds:
        fits, converted = _fit(value, kind, exact)
        if fits:
            return True, converted
    return False, None


def _fit(value: Any, kind: Kind, exact: bool) -> tuple[bool, Any]:
    """Whether a value is of a kind, unchanged if `exact`, and the value as that kind."""
    if kind.name == "any":
        return _literal(value), value
    if kind.name == "None":
        return value is None, None
    if kind.name == "float" and not exact and type(value) is int and abs(value) < 2**1023:
        return True, float(value)
    if kind.name in SIMPLE:
        return type(value) is SIMPLE[kind.name] and _literal(value), value
    if kind.name == "dict":
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return False, None
        fits, items = _all_fit(value.values(), kind.items, exact)
        return fits, dict(zip(value, items, strict=False))
    if not isinstance(value, list | tuple) or (exact and type(value).__name__ != kind.name):
        return False, None
    fits, items = _all_fit(value, kind.items, exact)
    return fits, items if kind.name == "list" else tuple(items)


def _all_fit(values: Iterable[Any], kinds: Kinds, exact: bool) -> tuple[bool, list]:
    items = []
    for value in values:
        fits, item = _any_fit(value, kinds, True)
        if not fits and not exact:
            fits, item = _any_fit(value, kinds, False)
        if not fits:
            return False, []
        items.append(item)
    return True, items


def _literal(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_literal, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _literal(item) for key, item in value.items())
    return type(value) in (type(None), bool, int, str) or (
        type(value) is float and math.isfinite(value)
    )
