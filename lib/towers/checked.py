"""Values from outside, checked by pydantic and refused in one line: what was expected, what came.

Fields are strict: a text is no number, and what is true is not one.
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
    """A frozen dataclass whose fields are checked when it is made.

    Args:
        error: raised for what is not as a field's type says; one line.
    """

    def make(bare: type) -> type:
        made = dataclasses.dataclass(bare, frozen=True, kw_only=True, config=STRICT)
        build = made.__init__

        @functools.wraps(build)
        def __init__(self, **values: Any) -> None:
            try:
                build(self, **values)
            except ValidationError as found:
                raise error(fault(found)) from None

        made.__init__ = __init__
        return made

    return make


def build(kind: type, content: Any, error: type[ValueError], **ours: Any) -> Any:
    """A `kind`, made by `fields`, of a file's `content` and of fields that the file cannot set.

    Raises:
        error: the content is no mapping, has another key, or a field is not as its type says.
    """
    if not isinstance(content, dict):
        raise error(f"expected `key: value` lines, got {short(content)}")
    names = [item.name for item in fields_of(kind) if item.name not in ours]
    for name in content:
        if name not in names:
            raise error(f"expected keys of {', '.join(names)}; got {short(name)}")
    return kind(**content, **ours)


def fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line."""
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
    """A value as it is written in an error."""
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
"""One line of text that says something."""
LISTED = BeforeValidator(lambda given: tuple(given) if type(given) is list else given)
"""For a tuple that files give as a list."""
Lines = Annotated[tuple[Line, ...], LISTED]
"""Some of them, from a list or a tuple."""
Real = Annotated[float, BeforeValidator(plain)]
"""A finite number."""
Whole = Annotated[int, BeforeValidator(plain), Field(ge=0)]
"""A whole number from 0."""
