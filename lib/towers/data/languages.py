"""Language codes in one spelling, that of the collections which come with the library."""

import re

_CODE = re.compile(r"[a-z]{2,3}(?:[-_@][a-z0-9]{2,8}){0,3}")
_SUBTAG = re.compile(r"([-_@])([a-z0-9]+)")


def language_code(text: str) -> str | None:
    """A language tag in our spelling: "pt_BR", "zh_Hant_TW", "es_419", "ca@valencia".

    The language is in lower case; a script of four letters is capitalised and a region of two
    letters in upper case, each after "_"; what follows "@" and all other subtags are in lower case.
    Hyphens, underscores and any case are read: "pt-br" and "PT_BR" are "pt_BR".

    Returns:
        The code, or None if the text is no language tag.
    """
    code = text.strip().lower()
    return _SUBTAG.sub(_spelt, code) if _CODE.fullmatch(code) else None


def _spelt(found: re.Match[str]) -> str:
    mark, subtag = found.groups()
    if mark == "@":
        return mark + subtag
    if subtag.isalpha() and len(subtag) in (2, 4):
        subtag = subtag.upper() if len(subtag) == 2 else subtag.capitalize()
    return f"_{subtag}"
