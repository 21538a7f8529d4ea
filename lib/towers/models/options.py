"""Typed options of a model name, `a=1&b=true`, read strictly into a dataclass."""

import re
import types
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

Config = TypeVar("Config")

LARGEST = {"seed": 2**32 - 1, "depth": 256, "layers": 256}
"""The largest whole number that an option takes; 65,536 for all others.

A name may come from a file, so that it must not ask for a tower that no machine could build.
"""


def read(kind: type[Config], listed: str, name: str) -> Config:
    """The dataclass that the options describe.

    Args:
        kind: its fields are the options: whole numbers (from 1; `seed` from 0), fractions, yes or
            no, a word, one of several words, or several whole numbers; `limits` bounds fractions.
        listed: the options, joined by "&".
        name: of the model, for the message.

    Raises:
        ValueError: an option that is unknown, repeated, missing or unfit, in one line.
    """
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    for part in listed.split("&") if listed else ():
        key, _, text = part.partition("=")
        if key not in known:
            raise ValueError(
                f"expected one of the options {', '.join(known)}, got {part!r} in {name!r}"
            )
        if key in values:
            raise ValueError(f"expected each option once, got {key} twice in {name!r}")
        values[key] = _value(key, text, known[key].type, kind.limits.get(key), name)
    missing = [key for key, field in known.items() if field.default is MISSING]
    if missing := [key for key in missing if key not in values]:
        raise ValueError(f"expected the option {missing[0]}=, which is missing in {name!r}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{error} in {name!r}") from None


def divides(whole: int, part: int, what: str) -> None:
    """Refuse a number that is no multiple of another.

    Raises:
        ValueError: it isn't, in the words of `what`.
    """
    if whole % part:
        raise ValueError(f"expected {what}, got {whole} and {part}")


def _value(key: str, text: str, kind: Any, limits: tuple[float, float] | None, name: str) -> Any:
    """An option's text as a value of its type."""
    if kind is str:
        wanted, value = "a word", text or None
    elif kind is bool:
        wanted, value = "true or false", {"true": True, "false": False}.get(text)
    elif kind is float:
        low, high = limits
        wanted, value = f"a number from {low:g} to {high:g}", _fraction(text, low, high)
    elif get_origin(kind) is Literal:
        wanted, value = " or ".join(get_args(kind)), text if text in get_args(kind) else None
    elif isinstance(kind, types.GenericAlias):
        count = len(get_args(kind))
        numbers = tuple(_whole(key, each) for each in text.split(","))
        wanted = f"{count} whole numbers from 1 to {LARGEST[key]}"
        value = numbers if len(numbers) == count and None not in numbers else None
    else:
        wanted = f"a whole number from {int(key != 'seed')} to {LARGEST.get(key, 65536)}"
        value = _whole(key, text)
    if value is None:
        raise ValueError(f"expected {key} as {wanted}, got {text[:40]!r} in {name!r}")
    return value


def _whole(key: str, text: str) -> int | None:
    if not re.fullmatch("[0-9]{1,10}", text):
        return None
    return int(text) if int(key != "seed") <= int(text) <= LARGEST.get(key, 65536) else None


def _fraction(text: str, low: float, high: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if low <= value <= high else None  # NaN is neither
