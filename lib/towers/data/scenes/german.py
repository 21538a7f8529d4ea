"""German: three genders, three of the four cases, adjectives after ein, kein or a number."""

from towers.data.scenes.meanings import Group
from towers.data.scenes.speech import Language, chosen

NOUNS = {
    "circle": "m Kreis Kreise",
    "square": "n Quadrat Quadrate",
    "triangle": "n Dreieck Dreiecke",
    "star": "m Stern Sterne",
    "heart": "n Herz Herzen",
    "cross": "n Kreuz Kreuze",
    "ring": "m Ring Ringe",
    "moon": "m Mond Monde/m Halbmond Halbmonde",
    "diamond": "f Raute Rauten/m Rhombus Rhomben",
    "drop": "m Tropfen Tropfen",
    "arrow": "m Pfeil Pfeile",
    "flower": "f Blume Blumen/f Blüte Blüten",
    None: "f Form Formen/f Figur Figuren",
}
"""Gender, nominative singular, nominative plural."""
DATIVES = {"Herz": "Herzen"}
"""Datives of the singular that are not the nominative."""
ADJECTIVES = {
    "red": "rot",
    "orange": "orangefarben",
    "yellow": "gelb",
    "green": "grün",
    "blue": "blau",
    "purple": "violett",
    "pink": "rosafarben/pinkfarben",
    "black": "schwarz",
    "small": "klein",
    "large": "groß",
}
"""Stems."""
ARTICLES = {
    "nom": {"m": "ein", "f": "eine", "n": "ein"},
    "acc": {"m": "einen", "f": "eine", "n": "ein"},
    "dat": {"m": "einem", "f": "einer", "n": "einem"},
}
ENDINGS = {
    "nom": {"m": "er", "f": "e", "n": "es"},
    "acc": {"m": "en", "f": "e", "n": "es"},
    "dat": {"m": "en", "f": "en", "n": "en"},
}
"""Of adjectives after ein and kein."""
PLURAL_ENDINGS = {"nom": "e", "acc": "e", "dat": "en"}
"""Of adjectives after a number, or after nothing."""
NUMBERS = ("", "ein", "zwei", "drei", "vier")


def phrase(group: Group, case: str, words: int) -> str:
    """A noun phrase.

    Args:
        group: what is meant.
        case: "nom", "acc" or "dat" with article or number; "kein": the nominative after kein;
            "ohne": the accusative of what is absent. Of these two, a shape without a colour stands
            in the plural.
        words: chooses among near-synonyms.
    """
    gender, singular, plural = chosen(NOUNS[group.shape], words // 2).split()
    stems = [chosen(ADJECTIVES[word], words) for word in group[3:1:-1] if word]
    absent = case in ("kein", "ohne")
    governed = {"kein": "nom", "ohne": "acc"}.get(case, case)
    if group.number > 1 or (absent and not group.colour):
        noun = plural
        if governed == "dat" and not plural.endswith(("n", "s")):
            noun += "n"
        article = {"kein": "keine", "ohne": ""}.get(case, NUMBERS[group.number])
        endings = PLURAL_ENDINGS[governed]
    else:
        noun = DATIVES.get(singular, singular) if governed == "dat" else singular
        article = ("k" if case == "kein" else "") + ARTICLES[governed][gender]
        endings = ENDINGS[governed][gender]
    return " ".join(filter(None, [article, *(stem + endings for stem in stems), noun]))


GERMAN = Language(
    phrase=phrase,
    description=(
        "{list:nom}", "ein Bild mit {list:dat}", "eine Zeichnung von {list:dat}",
        "man sieht {list:acc}", "hier gibt es {list:acc}",
    ),
    place=("{list}", "ein Bild: {list}"),
    placed="{where} {thing:nom}",
    relation=("{first:nom} ist {others}", "{first:nom} {others}", "man sieht {first:acc} {others}"),
    count=("{total:nom}: {list:nom}", "genau {total:nom}: {list:nom}"),
    negation=(
        "{list:nom}, aber {absent:kein}", "{list:nom} und {absent:kein}",
        "ein Bild mit {list:dat}, aber ohne {absent:ohne}", "{list:nom} ohne {absent:ohne}",
    ),
    related={
        "left": ("links von {thing:dat}", "weiter links als {thing:nom}"),
        "right": ("rechts von {thing:dat}", "weiter rechts als {thing:nom}"),
        "above": ("über {thing:dat}", "oberhalb von {thing:dat}"),
        "below": ("unter {thing:dat}", "unterhalb von {thing:dat}"),
    },
    places=(
        "oben links", "oben in der Mitte", "oben rechts",
        "links in der Mitte", "genau in der Mitte", "rechts in der Mitte",
        "unten links", "unten in der Mitte", "unten rechts",
    ),
    comma=", ",
    last=" und ",
    link=" und ",
)  # fmt: skip
