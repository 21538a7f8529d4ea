"""Russian: no articles, three genders, three of the six cases, numbers that govern the genitive."""

from towers.data.scenes.meanings import Group
from towers.data.scenes.speech import Language, chosen

NOUNS = {
    "circle": "m круг круга кругом кругов кругами",
    "square": "m квадрат квадрата квадратом квадратов квадратами",
    "triangle": "m треугольник треугольника треугольником треугольников треугольниками",
    "star": "f звезда звезды звездой звёзд звёздами",
    "heart": "n сердце сердца сердцем сердец сердцами",
    "cross": "m крест креста крестом крестов крестами",
    "ring": "n кольцо кольца кольцом колец кольцами",
    "moon": "m полумесяц полумесяца полумесяцем полумесяцев полумесяцами",
    "diamond": "m ромб ромба ромбом ромбов ромбами",
    "drop": "f капля капли каплей капель каплями",
    "arrow": "f стрелка стрелки стрелкой стрелок стрелками/f стрела стрелы стрелой стрел стрелами",
    "flower": "m цветок цветка цветком цветков цветками",
    None: "f фигура фигуры фигурой фигур фигурами",
}
"""Gender; nominative, genitive and instrumental singular; genitive and instrumental plural."""
ADJECTIVES = {
    "red": "красн ый",
    "orange": "оранжев ый",
    "yellow": "жёлт ый",
    "green": "зелён ый",
    "blue": "син ий",
    "purple": "фиолетов ый/лилов ый",
    "pink": "розов ый",
    "black": "чёрн ый",
    "small": "маленьк кий/небольш ой",
    "large": "больш ой/крупн ый",
}
"""Stem, and the kind of its endings."""
ENDINGS = {
    "ый": "ый ая ое ого ой ого ым ой ым ые ых ыми",
    "ий": "ий яя ее его ей его им ей им ие их ими",
    "кий": "ий ая ое ого ой ого им ой им ие их ими",
    "ой": "ой ая ое ого ой ого им ой им ие их ими",
}
"""Nominative, genitive, instrumental, each of m, f, n; and the three plurals."""
NUMBERS = {
    "nom": {"m": "один два три четыре", "f": "одна две три четыре", "n": "одно два три четыре"},
    "ins": dict.fromkeys("mfn", "одним двумя тремя четырьмя"),
}
CASES = ("nom", "gen", "ins")


def phrase(group: Group, case: str, words: int) -> str:
    """A noun phrase.

    Args:
        group: what is meant.
        case: "nom", "gen" or "ins"; "number": the nominative with a number also for one; "no": the
            genitive of what is absent, in the plural if it is a shape without a colour.
        words: chooses among near-synonyms.
    """
    gender, *forms = chosen(NOUNS[group.shape], words // 2).split()
    kinds = [chosen(ADJECTIVES[word], words).split() for word in group[3:1:-1] if word]
    governed = CASES.index({"number": "nom", "no": "gen"}.get(case, case))
    if case == "no" and not group.colour:
        return forms[3]
    if group.number == 1:
        noun, ending = forms[governed], 3 * governed + "mfn".index(gender)
        number = [NUMBERS["nom"][gender].split()[0]] if case == "number" else []
    elif governed == CASES.index("ins"):
        noun, ending = forms[4], 11
        number = [NUMBERS["ins"][gender].split()[group.number - 1]]
    else:  # два красных круга, две красные звезды
        noun, ending = forms[1], 9 if gender == "f" else 10
        number = [NUMBERS["nom"][gender].split()[group.number - 1]]
    adjectives = [stem + ENDINGS[kind].split()[ending] for stem, kind in kinds]
    return " ".join([*number, *adjectives, noun])


RUSSIAN = Language(
    phrase=phrase,
    description=(
        "{list:nom}", "картинка с {list:ins}", "на картинке {list:nom}", "на рисунке {list:nom}",
        "рисунок с {list:ins}",
    ),
    place=("{list}", "на картинке {list}"),
    placed="{where} {thing:nom}",
    relation=("{first:nom} {others}", "на картинке {first:nom} {others}"),
    count=("{total:number}: {list:nom}", "ровно {total:number}: {list:nom}"),
    negation=(
        "{list:nom}, но нет {absent:no}", "{list:nom} без {absent:no}",
        "есть {list:nom}, но нет {absent:no}", "{list:nom}, а {absent:no} нет",
    ),
    related={
        "left": ("слева от {thing:gen}", "левее {thing:gen}"),
        "right": ("справа от {thing:gen}", "правее {thing:gen}"),
        "above": ("над {thing:ins}", "выше {thing:gen}"),
        "below": ("под {thing:ins}", "ниже {thing:gen}"),
    },
    places=(
        "вверху слева", "вверху посередине", "вверху справа",
        "слева посередине", "в самом центре", "справа посередине",
        "внизу слева", "внизу посередине", "внизу справа",
    ),
    comma=", ",
    last=" и ",
    link=" и ",
)  # fmt: skip
