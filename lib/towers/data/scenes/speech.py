"""From meanings to sentences: what all languages share.

A language gives its words as tables and its sentences as templates. A slot of a template names the
case that it governs, as in "ein Bild mit {list:dat}".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from towers.data.scenes.meanings import (
    Counting,
    Description,
    Group,
    Lacking,
    Meaning,
    Placing,
    Relating,
)
from towers.data.scenes.world import PLACES

Phrase = Callable[[Group, str, int], str]
"""A noun phrase from what it means, its case, and the number of its choice among near-synonyms."""


@dataclass(frozen=True, eq=False)
class Language:
    """How a language says what there is.

    Attributes:
        phrase: says a group of things.
        description: templates with {list}.
        place: templates with {list}.
        placed: one thing in such a list, with {thing} and {where}.
        relation: templates with {first} and {others}.
        count: templates with {total} and {list}.
        negation: templates with {list} and {absent}.
        related: relation -> near-synonymous templates with {thing}.
        places: words for each of `world.PLACES`, as they lie on the page.
        comma: between the things of a list, but for the last two.
        last: between the last two.
        link: between the places of things, and the relations of one.
    """

    phrase: Phrase
    description: tuple[str, ...]
    place: tuple[str, ...]
    placed: str
    relation: tuple[str, ...]
    count: tuple[str, ...]
    negation: tuple[str, ...]
    related: Mapping[str, tuple[str, ...]]
    places: tuple[str, ...]
    comma: str
    last: str
    link: str

    def say(self, meaning: Meaning, variant: int) -> str:
        """A sentence; another `variant`, from 0, may choose other words of the same meaning."""
        words = variant >> 4
        listed = _Listed(self, (), words)
        match meaning:
            case Description(groups):
                form, slots = self.description, {"list": listed.of(groups)}
            case Placing(placed):
                said = [
                    self.placed.format(
                        thing=listed.of([thing]), where=self.places[PLACES.index(place)]
                    )
                    for thing, place in placed
                ]
                form, slots = self.place, {"list": self.link.join(said)}
            case Relating(first, others):
                said = [
                    self.related[relation][words % len(self.related[relation])].format(
                        thing=listed.of([other])
                    )
                    for relation, other in others
                ]
                slots = {"first": listed.of([first]), "others": self.link.join(said)}
                form = self.relation
            case Counting(total, groups):
                form, slots = self.count, {"total": listed.of([total]), "list": listed.of(groups)}
            case Lacking(present, absent):
                slots = {"list": listed.of(present), "absent": listed.of([absent])}
                form = self.negation
        return form[variant % 16 % len(form)].format(**slots)

    def joined(self, phrases: Sequence[str]) -> str:
        """Phrases as one enumeration: "a, b and c"."""
        if len(phrases) == 1:
            return phrases[0]
        return self.comma.join(phrases[:-1]) + self.last + phrases[-1]


@dataclass(frozen=True)
class _Listed:
    """Groups of things that a template's slot puts into its case."""

    language: Language
    groups: Sequence[Group]
    words: int

    def of(self, groups: Sequence[Group]) -> "_Listed":
        return _Listed(self.language, groups, self.words)

    def __format__(self, case: str) -> str:
        return self.language.joined(
            [_spoken(self.language, group, case, self.words % 8) for group in self.groups]
        )


@lru_cache(maxsize=2**16)
def _spoken(language: Language, group: Group, case: str, words: int) -> str:
    return language.phrase(group, case, words)


def chosen(options: str, words: int) -> str:
    """One of the near-synonyms in "large/big"."""
    among = options.split("/")
    return among[words % len(among)]
