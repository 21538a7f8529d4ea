"""Reads English captions and questions anew, with a grammar of its own, and holds them to a scene.

Nothing of the library's grammar is used: what a sentence says is found from the sentence alone,
and what is true from the objects' places alone.
"""

import re
from collections import Counter

NOUNS = {
    "circle": "circle", "disc": "circle", "square": "square", "triangle": "triangle",
    "star": "star", "heart": "heart", "cross": "cross", "ring": "ring", "moon": "moon",
    "crescent": "moon", "diamond": "diamond", "rhombus": "diamond", "drop": "drop",
    "teardrop": "drop", "arrow": "arrow", "flower": "flower", "blossom": "flower",
    "shape": None, "object": None,
}  # fmt: skip
PLURALS = {noun + ("es" if noun.endswith("s") else "s"): shape for noun, shape in NOUNS.items()}
COLOURS = {
    name: name for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
} | {"violet": "purple"}
SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "no": 0, "any": 0}
INTROS = ("a picture of ", "a picture with ", "an image with ", "a drawing of ", "we can see ")
RELATIONS = {
    "left": r"(?:to the )?left of", "right": r"(?:to the )?right of", "above": "above|higher than",
    "below": "below|lower than",
}  # fmt: skip
PLACES = {
    "at the top left": (0, 0), "at the top": (1, 0), "at the top right": (2, 0),
    "on the left": (0, 1), "in the middle": (1, 1), "on the right": (2, 1),
    "at the bottom left": (0, 2), "at the bottom": (1, 2), "at the bottom right": (2, 2),
}  # fmt: skip
PLACE = "|".join(sorted(PLACES, key=len, reverse=True))


def group(text: str) -> tuple[int, str | None, str | None, str | None]:
    """Number, size, colour and shape of a noun phrase; fails on what is no English."""
    first, *words = text.split()
    number = NUMBERS[first]
    noun = words.pop()
    shape = ({**NOUNS, **PLURALS}, NOUNS, PLURALS)[min(number, 2)][noun]
    if first in ("a", "an"):
        assert (first == "an") == ([*words, noun][0][0] in "aeiou"), text
    size = SIZES[words.pop(0)] if words and words[0] in SIZES else None
    colour = COLOURS[words.pop(0)] if words else None
    assert not words, text
    return number, size, colour, shape


def groups(text: str) -> list[tuple]:
    return [group(part) for part in re.split(r", | and ", text)]


def having(scene, size, colour, shape) -> list:
    return [
        thing
        for thing in scene.objects
        if size in (None, thing.size)
        and colour in (None, thing.colour)
        and shape in (None, thing.shape)
    ]


def related(one, relation: str, other) -> bool:
    gap = {
        "left": other.x - one.x, "right": one.x - other.x, "above": other.y - one.y,
        "below": one.y - other.y,
    }  # fmt: skip
    assert abs(abs(gap[relation]) - 0.15) > 0.01, "a case of doubt"
    return gap[relation] > 0.15


def ninth(thing) -> tuple[int, int]:
    for position in (thing.x, thing.y):
        assert min(abs(position - 0.4), abs(position - 0.6)) > 0.01, "a case of doubt"
    return sum(thing.x > edge for edge in (0.4, 0.6)), sum(thing.y > edge for edge in (0.4, 0.6))


def family(caption: str) -> str:
    """Which of the five kinds of captions a sentence is."""
    if re.search(r" (?:but|and) no | without any ", caption):
        return "negation"
    if ":" in caption:
        return "count"
    if re.search("|".join(f" (?:{words}) an? " for words in RELATIONS.values()), caption):
        return "relation"
    return "place" if re.search(f"(?:{PLACE})(?: and |$)", caption) else "description"


def holds(caption: str, scene) -> bool:
    """Whether a caption is true of a scene."""
    kind = family(caption)
    for intro in INTROS:
        caption = caption.removeprefix(intro)
    return {
        "negation": negation, "count": count, "relation": relation, "place": place,
        "description": description,
    }[kind](caption, scene)  # fmt: skip


def description(caption: str, scene) -> bool:
    said = Counter()
    for number, *kind in groups(caption):
        assert tuple(kind) not in said, caption
        said[tuple(kind)] += number
    return said == Counter((thing.size, thing.colour, thing.shape) for thing in scene.objects)


def place(caption: str, scene) -> bool:
    parts = re.findall(rf"(.+?) ({PLACE})(?: and |$)", caption)
    assert " and ".join(" ".join(part) for part in parts) == caption
    return all(
        any(ninth(thing) == PLACES[where] for thing in having(scene, *group(what)[1:]))
        for what, where in parts
    )


def relation(caption: str, scene) -> bool:
    words = "|".join(f"(?P<{name}>{form})" for name, form in RELATIONS.items())
    found = list(re.finditer(rf"(?: is| and)? (?:{words}) (?P<thing>an? .+?)(?= and |$)", caption))
    assert found[-1].end() == len(caption), caption
    first = group(caption[: found[0].start()])
    others = [(part.lastgroup, part) for part in found]
    conditions = []
    for _, part in others:
        (name,) = [name for name in RELATIONS if part[name]]
        conditions.append((name, having(scene, *group(part["thing"])[1:])))
    return any(
        all(any(related(one, name, other) for other in among) for name, among in conditions)
        for one in having(scene, *first[1:])
    )


def count(caption: str, scene) -> bool:
    total, listed = caption.removeprefix("exactly ").split(": ")
    said = {kind[3]: kind[0] for kind in groups(listed)}
    return group(total) == (len(scene.objects), None, None, None) and said == Counter(
        thing.shape for thing in scene.objects
    )


def negation(caption: str, scene) -> bool:
    present, absent = re.split(r" but (?=no )| and (?=no )| without (?=any )", caption)
    return not having(scene, *group(absent)[1:]) and all(
        len(having(scene, *kind)) == number for number, *kind in groups(present)
    )


def answer(question: str, scene) -> str:
    """The answer to a question, found anew."""
    text = question.removesuffix("?")
    if found := re.fullmatch("is there (.+)", text):
        return "yes" if having(scene, *group(found[1])[1:]) else "no"
    if found := re.fullmatch("is (an? .+?) (left of|right of|above|below) (.+)", text):
        return "yes" if relation(" ".join(found.groups()), scene) else "no"
    if found := re.fullmatch("is anything (.+)", text):
        return "yes" if having(scene, None, COLOURS[found[1]], None) else "no"
    if found := re.fullmatch("how many (.+) are there", text):
        return str(len(having(scene, *group(f"two {found[1]}")[1:])))
    if found := re.fullmatch("what colour is the (.+)", text):
        (thing,) = having(scene, None, None, NOUNS[found[1]])
        return thing.colour
    largest = max(scene.objects, key=lambda thing: thing.radius)
    if text == "what shape is largest":
        return largest.shape
    if text == "where is the largest shape":
        names = {place: words.split("the ")[1] for words, place in PLACES.items()}
        return names[ninth(largest)]
    (thing,) = having(scene, None, re.fullmatch("what shape is (.+)", text)[1], None)
    return thing.shape
