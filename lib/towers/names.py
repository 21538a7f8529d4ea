"""One grammar for names: `SCHEME:PLACE?key=value&key=value`, taken apart, read and written back.

What a key may be, and what its value is, says the signature of the function or class that the name
stands for: its keyword-only parameters are the options.
"""

import difflib
import inspect
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

Known = TypeVar("Known")


class Range(NamedTuple):
    """The least and the greatest value of a number, as in `Annotated[int, Range(1, 9)]`."""

    low: float
    high: float


Size = Annotated[int, Range(1, 65_536)]
"""A length; a name may come from a file, and must not ask for what no machine could build."""
Depth = Annotated[int, Range(1, 256)]
"""A number of layers."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""What random numbers follow from."""


@dataclass(frozen=True)
class Name:
    """A name in its parts; `str` writes it again.

    Attributes:
        scheme: before the first colon; empty where there is none.
        place: between the colon and the question mark.
        options: key -> its value as text, in the order of the name.
    """

    scheme: str
    place: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        listed = "&".join(f"{key}={value}" for key, value in self.options.items())
        return (self.scheme and f"{self.scheme}:") + self.place + (listed and f"?{listed}")

    def having(self, **options: object) -> str:
        """The name with some options, each in its place if it is there, and else at the end."""
        said = {key: _written(value) for key, value in options.items()}
        return str(Name(self.scheme, self.place, {**self.options, **said}))


def parse(text: str, pattern: bool = False) -> Name:
    """The parts of a name.

    A path that exists wins over the grammar: a question mark inside it begins no options, be it
    what follows the colon, or what follows the first slash after it (`SCHEME:NAME/PATH`).

    Args:
        text: the name.
        pattern: whether a question mark without `key=` behind it stands for a sign of a path.

    Raises:
        ValueError: an option that is said twice, or is no key=value.
    """
    end = _end(text, pattern)
    scheme, colon, place = text[:end].partition(":")
    options: dict[str, str] = {}
    for part in text[end + 1 :].split("&") if end < len(text) else ():
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise ValueError(f"expected options as key=value, got {_short(part)} in {_short(text)}")
        if key in options:
            raise ValueError(f"expected each option once, got {key} twice in {_short(text)}")
        options[key] = value
    return Name(scheme, place, options) if colon else Name("", text[:end], options)


def write(place: str, **options: object) -> str:
    """A name of what stands before the question mark, and of options.

    Args:
        place: with its scheme, if it has one.
        options: true and false, numbers, texts, or several of these.
    """
    return Name("", place, {}).having(**options)


def pick(known: Mapping[str, Known], word: str, what: str, name: object) -> Known:
    """What a word stands for.

    Args:
        known: word -> what it stands for.
        word: one of these.
        what: what words of this kind are called, for the message.
        name: that the word is in, for the message.

    Raises:
        ValueError: another word.
    """
    if word in known:
        return known[word]
    raise ValueError(
        f"expected {what} among {', '.join(known) or 'none'}; got {_short(word)} in {_short(name)}"
        f"{_near(word, known)}"
    )


def options(kind: Callable, name: Name) -> dict[str, Any]:
    """The options of a name as values, ready for `kind(**options)`.

    Args:
        kind: its keyword-only parameters are the options: bool, int, float, str, a `Literal`, a
            tuple of these, or one of them or None; `Range` bounds numbers.
        name: in its parts.

    Raises:
        ValueError: an option that is unknown, missing or unfit, in one line.
    """
    every = inspect.signature(kind).parameters
    known = {key: item for key, item in every.items() if item.kind is item.KEYWORD_ONLY}
    values = {}
    for key, text in name.options.items():
        parameter = pick(known, key, "an option", name)
        wanted, values[key] = _value(text, parameter.annotation)
        if values[key] is None:
            raise ValueError(f"expected {key} as {wanted}, got {_short(text)} in {_short(name)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in values:
            raise ValueError(f"expected the option {key}=, which is missing in {_short(name)}")
    return values


def divides(whole: int, part: int, what: str) -> None:
    """Refuse a number that is no multiple of another.

    Raises:
        ValueError: it isn't, in the words of `what`.
    """
    if whole % part:
        raise ValueError(f"expected {what}, got {whole} and {part}")


def _end(text: str, pattern: bool) -> int:
    """Where the options of a name begin, or the name's length."""
    marks = [found.start() for found in re.finditer(r"\?(?=\w+=)" if pattern else r"\?", text)]
    if not marks:
        return len(text)
    head = text[: marks[0]]
    begins = [head.find(sign) + 1 for sign in ":/" if sign in head]
    for end in (len(text), *reversed(marks[1:])):
        if any(os.path.exists(os.path.expanduser(text[begin:end])) for begin in begins):
            return end
    return marks[0]


def _value(text: str, kind: Any) -> tuple[str, Any]:
    """What an option's type wants, in words, and the text as a value of it; None if it is none."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    limits = Range(0, 2**63)
    if get_origin(kind) is Annotated:
        kind, limits = get_args(kind)
    if kind is bool:
        return "true or false", {"true": True, "false": False}.get(text)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind)), text if text in get_args(kind) else None
    if get_origin(kind) is tuple:
        return _several(text.split(","), get_args(kind))
    if kind in (int, float):
        form, word = ("[0-9]{1,19}", "whole number") if kind is int else (r"[0-9.e-]+", "number")
        value = _number(text, kind) if re.fullmatch(form, text) else None
        fits = value is not None and limits.low <= value <= limits.high  # NaN does not
        return f"a {word} from {limits.low} to {limits.high}", value if fits else None
    return "a word", text or None


def _several(parts: list[str], kinds: tuple) -> tuple[str, Any]:
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(parts)
        count = "words"
    else:
        count = f"{len(kinds)} values"
    values = [_value(part, kind) for part, kind in zip(parts, kinds, strict=False)]
    fits = len(parts) == len(kinds) and all(value is not None for _, value in values)
    wanted = f"{count} with commas between, each {values[0][0]}"
    return wanted, tuple(value for _, value in values) if fits else None


def _number(text: str, kind: type) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _short(value: object) -> str:
    shown = repr(str(value))
    return shown if len(shown) <= 120 else f"{shown[:117]}..."
