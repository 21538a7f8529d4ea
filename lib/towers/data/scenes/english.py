"""English: articles before vowels, plurals."""

from towers.data.scenes.meanings import Group
from towers.data.scenes.speech import Language, chosen

NOUNS = {
    "circle": ("circle/disc", "circles/discs"),
    "square": ("square", "squares"),
    "triangle": ("triangle", "triangles"),
    "star": ("star", "stars"),
    "heart": ("heart", "hearts"),
    "cross": ("cross", "crosses"),
    "ring": ("ring", "rings"),
    "moon": ("moon/crescent", "moons/crescents"),
    "diamond": ("diamond/rhombus", "diamonds/rhombuses"),
    "drop": ("drop/teardrop", "drops/teardrops"),
    "arrow": ("arrow", "arrows"),
    "flower": ("flower/blossom", "flowers/blossoms"),
    None: ("shape/object", "shapes/objects"),
}
ADJECTIVES = {"purple": "purple/violet", "small": "small/little", "large": "large/big"}
NUMBERS = ("no", "one", "two", "three", "four")


def phrase(group: Group, case: str, words: int) -> str:
    """A noun phrase.

    Args:
        group: what is meant.
        case: "" with article or number; "no" after no, where a shape alone stands in the plural;
            "number" with one for a.
        words: chooses among near-synonyms.
    """
    many = group.number > 1 or (case == "no" and not group.colour)
    adjectives = [chosen(ADJECTIVES.get(word, word), words) for word in group[3:1:-1] if word]
    said = " ".join([*adjectives, chosen(NOUNS[group.shape][many], words // 2)])
    if case == "no":
        return said
    if group.number > 1 or case == "number":
        return f"{NUMBERS[group.number]} {said}"
    return f"{'an' if said[0] in 'aeiou' else 'a'} {said}"


ENGLISH = Language(
    phrase=phrase,
    description=(
        "{list}", "a picture of {list}", "an image with {list}", "a drawing of {list}",
        "we can see {list}",
    ),
    place=("{list}", "a picture with {list}", "we can see {list}"),
    placed="{thing} {where}",
    relation=("{first} is {others}", "{first} {others}", "a picture of {first} {others}"),
    count=("{total:number}: {list}", "exactly {total:number}: {list}"),
    negation=(
        "{list} but no {absent:no}", "{list} and no {absent:no}",
        "we can see {list} but no {absent:no}", "{list} without any {absent:no}",
    ),
    related={
        "left": ("left of {thing}", "to the left of {thing}"),
        "right": ("right of {thing}", "to the right of {thing}"),
        "above": ("above {thing}", "higher than {thing}"),
        "below": ("below {thing}", "lower than {thing}"),
    },
    places=(
        "at the top left", "at the top", "at the top right",
        "on the left", "in the middle", "on the right",
        "at the bottom left", "at the bottom", "at the bottom right",
    ),
    comma=", ",
    last=" and ",
    link=" and ",
)  # fmt: skip
