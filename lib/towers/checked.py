"""Checks values from files and callers with pydantic; an error is one line.

Checks are strict: text is not taken for a number, nor True for 1.
"""

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import fields as fields_of
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    dataclasses,
)

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def fields(error: type[ValueError]) -> Callable[[type], type]:
    """Decorator for a frozen dataclass whose fields are checked when it is made.

    Args:
        error: raised if a value does not fit the type of its field; one line.
    """

    def make(bare: type) -> type:
        made = dataclasses.dataclass(bare, frozen=True, kw_only=True, config=STRICT)
        build = made.__init__

        @functools.wraps(build)
        def __init__(self, **values: Any) -> None:
            try:
                build(self, **values)
            except ValidationError as problems:
                raise error(fault(problems)) from None

        made.__init__ = __init__
        return made

    return make


def build(kind: type, content: Any, error: type[ValueError], **ours: Any) -> Any:
    """Make a dataclass from the content of a file.

    Args:
        kind: a class decorated by `fields`.
        content: of the file; a mapping of field names to values.
        error: as for `fields`.
        **ours: fields that the file cannot set.

    Raises:
        error: the content is no mapping, has an unknown key, or a value does not fit its field.
    """
    if not isinstance(content, dict):
        raise error(f"expected `key: value` lines, got {short(content)}")
    names = [item.name for item in fields_of(kind) if item.name not in ours]
    for name in content:
        if name not in names:
            raise error(f"expected keys of {', '.join(names)}; got {short(name)}")
    return kind(**content, **ours)


def fault(error: ValidationError) -> str:
    """The first problem that pydantic reports, in one line."""
    first = error.errors(include_url=False)[0]
    place = short(".".join(map(str, first["loc"])).removesuffix(".[key]"))[1:-1]
    wanted = re.sub(r"^\w+ should ", "to ", first["msg"])
    if first["type"] == "value_error":
        if str(first["ctx"]["error"]).startswith("expected "):
            return str(first["ctx"]["error"])
        wanted = f"to be {first['ctx']['error']}"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"expected {place}, which is missing"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"expected no {place}; there is no such field"
    return f"expected {place} {wanted}, got {short(first['input'])}"


def short(value: object) -> str:
    """A value as it is shown in an error: its `repr`, cut to 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def plain(value: Any) -> Any:
    """Python's own number for one of numpy's."""
    return value.item() if type(value).__module__ == "numpy" and not value.ndim else value


def _line(value: str) -> str:
    odd = {"Cc", "Cs", "Zl", "Zp"}  # controls, halves of characters, ends of lines and paragraphs
    if not value.strip() or odd & set(map(unicodedata.category, value)):
        raise ValueError("one line of text")
    return value


Line = Annotated[str, AfterValidator(_line)]
"""One line of text, not blank."""
LISTED = BeforeValidator(lambda given: tuple(given) if type(given) is list else given)
"""Makes a tuple of a list, which is how files write it."""
Lines = Annotated[tuple[Line, ...], LISTED]
"""Several lines of text, from a list or a tuple."""
Real = Annotated[float, BeforeValidator(plain)]
"""A finite number."""
Whole = Annotated[int, BeforeValidator(plain), Field(ge=0)]
"""A whole number from 0."""
