"""The languages of captions, by their codes."""

from towers.data.scenes.english import ENGLISH
from towers.data.scenes.german import GERMAN
from towers.data.scenes.japanese import JAPANESE
from towers.data.scenes.romance import FRENCH, ITALIAN, SPANISH
from towers.data.scenes.russian import RUSSIAN
from towers.data.scenes.speech import Language

LANGUAGES: dict[str, Language] = {
    "en": ENGLISH,
    "de": GERMAN,
    "es": SPANISH,
    "fr": FRENCH,
    "it": ITALIAN,
    "ja": JAPANESE,
    "ru": RUSSIAN,
}
VARIANT_BITS = 9
"""Of a caption's random number, these many choose the words in each language."""


def say(language: str, meaning: object, die: int) -> str:
    """Say a meaning in a language.

    Args:
        language: a key of `LANGUAGES`.
        meaning: from `meanings`.
        die: a random 64-bit number, of which each language takes bits of its own.
    """
    place = VARIANT_BITS * list(LANGUAGES).index(language)
    return LANGUAGES[language].say(meaning, die >> place & (2**VARIANT_BITS - 1))
