"""French, Italian and Spanish: two genders; adjectives agree, before the noun or after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from towers.data.scenes.meanings import Group
from towers.data.scenes.speech import Language, chosen


@dataclass(frozen=True)
class Words:
    """The words of one Romance language; near-synonyms are parted by slashes.

    Attributes:
        nouns: shape -> gender, singular, plural.
        colours: colour -> masculine, feminine, and their plurals; they follow the noun.
        sizes: size -> the same, as they stand before the noun; those in brackets stand after it.
        numbers: one (masculine, feminine), two, three, four.
        none: "no" before a noun, by gender.
    """

    nouns: Mapping[str | None, str]
    colours: Mapping[str, str]
    sizes: Mapping[str, str]
    numbers: tuple[str, ...]
    none: Mapping[str, str]


def phrase(table: Words, group: Group, case: str, words: int) -> str:
    """A noun phrase.

    Args:
        table: the language's words.
        group: what is meant.
        case: "" with article or number; "de": the same after French de; "none": after the word for
            no; "pas": after French de alone, as "pas de" wants it.
        words: chooses among near-synonyms.
    """
    gender, *forms = chosen(table.nouns[group.shape], words // 2).split()
    many = group.number > 1
    form = 2 * many + (gender == "f")
    parts = [forms[many]]
    if group.colour:
        parts.append(chosen(table.colours[group.colour], words // 4).split()[form])
    if group.size:
        size = chosen(table.sizes[group.size], words).split()[form]
        parts = [*parts, size[1:-1]] if size.startswith("(") else [size, *parts]
    said = " ".join(parts)
    if case == "none":
        return f"{table.none[gender]} {said}"
    if case != "pas":
        said = f"{table.numbers[group.number if many else gender == 'f']} {said}"
    return after_de(said) if case in ("de", "pas") else said


def after_de(said: str) -> str:
    """French de with what follows; it loses its vowel before another one."""
    return f"d'{said}" if said[0] in "aeéiou" else f"de {said}"


_FRENCH = Words(
    nouns={
        "circle": "m cercle cercles/m disque disques",
        "square": "m carré carrés",
        "triangle": "m triangle triangles",
        "star": "f étoile étoiles",
        "heart": "m cœur cœurs",
        "cross": "f croix croix",
        "ring": "m anneau anneaux",
        "moon": "f lune lunes/m croissant croissants",
        "diamond": "m losange losanges",
        "drop": "f goutte gouttes",
        "arrow": "f flèche flèches",
        "flower": "f fleur fleurs",
        None: "f forme formes/f figure figures",
    },
    colours={
        "red": "rouge rouge rouges rouges",
        "orange": "orange orange orange orange",
        "yellow": "jaune jaune jaunes jaunes",
        "green": "vert verte verts vertes",
        "blue": "bleu bleue bleus bleues",
        "purple": "violet violette violets violettes",
        "pink": "rose rose roses roses",
        "black": "noir noire noirs noires",
    },
    sizes={
        "small": "petit petite petits petites",
        "large": "grand grande grands grandes/gros grosse gros grosses",
    },
    numbers=("un", "une", "deux", "trois", "quatre"),
    none={"m": "aucun", "f": "aucune"},
)
FRENCH = Language(
    phrase=partial(phrase, _FRENCH),
    description=(
        "{list}", "une image avec {list}", "un dessin avec {list}", "on voit {list}",
        "il y a {list}",
    ),
    place=("{list}", "on voit {list}"),
    placed="{thing} {where}",
    relation=("{first} est {others}", "{first} {others}", "on voit {first} {others}"),
    count=("{total} : {list}", "exactement {total} : {list}"),
    negation=(
        "{list} mais {absent:none}", "{list}, mais pas {absent:pas}", "{list} sans {absent:none}",
        "{list}, mais il n'y a pas {absent:pas}",
    ),
    related={
        "left": ("à gauche {thing:de}",),
        "right": ("à droite {thing:de}",),
        "above": ("au-dessus {thing:de}", "plus haut qu'{thing}"),
        "below": ("au-dessous {thing:de}", "en dessous {thing:de}", "plus bas qu'{thing}"),
    },
    places=(
        "en haut à gauche", "en haut au milieu", "en haut à droite",
        "à gauche au milieu", "au centre", "à droite au milieu",
        "en bas à gauche", "en bas au milieu", "en bas à droite",
    ),
    comma=", ",
    last=" et ",
    link=" et ",
)  # fmt: skip

_ITALIAN = Words(
    nouns={
        "circle": "m cerchio cerchi/m disco dischi",
        "square": "m quadrato quadrati",
        "triangle": "m triangolo triangoli",
        "star": "f stella stelle",
        "heart": "m cuore cuori",
        "cross": "f croce croci",
        "ring": "m anello anelli",
        "moon": "f luna lune/f mezzaluna mezzelune",
        "diamond": "m rombo rombi",
        "drop": "f goccia gocce",
        "arrow": "f freccia frecce",
        "flower": "m fiore fiori",
        None: "f forma forme/f figura figure",
    },
    colours={
        "red": "rosso rossa rossi rosse",
        "orange": "arancione arancione arancioni arancioni",
        "yellow": "giallo gialla gialli gialle",
        "green": "verde verde verdi verdi",
        "blue": "blu blu blu blu",
        "purple": "viola viola viola viola",
        "pink": "rosa rosa rosa rosa",
        "black": "nero nera neri nere",
    },
    sizes={
        "small": "piccolo piccola piccoli piccole",
        "large": "grande grande grandi grandi/grosso grossa grossi grosse",
    },
    numbers=("un", "una", "due", "tre", "quattro"),
    none={"m": "nessun", "f": "nessuna"},
)
ITALIAN = Language(
    phrase=partial(phrase, _ITALIAN),
    description=(
        "{list}", "un'immagine con {list}", "un disegno con {list}", "qui vediamo {list}",
    ),
    place=("{list}", "qui vediamo {list}"),
    placed="{thing} {where}",
    relation=("{first} è {others}", "{first} {others}", "qui vediamo {first} {others}"),
    count=("{total}: {list}", "esattamente {total}: {list}"),
    negation=(
        "{list} ma {absent:none}", "{list} e {absent:none}", "{list}, ma non c'è {absent:none}",
        "un'immagine con {list} ma senza {absent:none}",
    ),
    related={
        "left": ("a sinistra di {thing}",),
        "right": ("a destra di {thing}",),
        "above": ("sopra {thing}", "al di sopra di {thing}", "più in alto di {thing}"),
        "below": ("sotto {thing}", "al di sotto di {thing}", "più in basso di {thing}"),
    },
    places=(
        "in alto a sinistra", "in alto al centro", "in alto a destra",
        "a sinistra al centro", "proprio al centro", "a destra al centro",
        "in basso a sinistra", "in basso al centro", "in basso a destra",
    ),
    comma=", ",
    last=" e ",
    link=" e ",
)  # fmt: skip

_SPANISH = Words(
    nouns={
        "circle": "m círculo círculos/m disco discos",
        "square": "m cuadrado cuadrados",
        "triangle": "m triángulo triángulos",
        "star": "f estrella estrellas",
        "heart": "m corazón corazones",
        "cross": "f cruz cruces",
        "ring": "m anillo anillos/m aro aros",
        "moon": "f luna lunas/f medialuna medialunas",
        "diamond": "m rombo rombos",
        "drop": "f gota gotas",
        "arrow": "f flecha flechas",
        "flower": "f flor flores",
        None: "f forma formas/f figura figuras",
    },
    colours={
        "red": "rojo roja rojos rojas",
        "orange": "naranja naranja naranjas naranjas/anaranjado anaranjada anaranjados anaranjadas",
        "yellow": "amarillo amarilla amarillos amarillas",
        "green": "verde verde verdes verdes",
        "blue": "azul azul azules azules",
        "purple": "morado morada morados moradas/violeta violeta violetas violetas",
        "pink": "rosa rosa rosas rosas/rosado rosada rosados rosadas",
        "black": "negro negra negros negras",
    },
    sizes={
        "small": "pequeño pequeña pequeños pequeñas/(pequeño) (pequeña) (pequeños) (pequeñas)",
        "large": "gran gran grandes grandes/(grande) (grande) (grandes) (grandes)",
    },
    numbers=("un", "una", "dos", "tres", "cuatro"),
    none={"m": "ningún", "f": "ninguna"},
)
SPANISH = Language(
    phrase=partial(phrase, _SPANISH),
    description=(
        "{list}", "una imagen con {list}", "un dibujo con {list}", "aquí vemos {list}",
        "hay {list}",
    ),
    place=("{list}", "hay {list}"),
    placed="{thing} {where}",
    relation=("{first} está {others}", "{first} {others}", "hay {first} {others}"),
    count=("{total}: {list}", "exactamente {total}: {list}"),
    negation=(
        "{list} pero {absent:none}", "{list} y {absent:none}", "{list} sin {absent:none}",
        "hay {list}, pero no hay {absent:none}",
    ),
    related={
        "left": ("a la izquierda de {thing}",),
        "right": ("a la derecha de {thing}",),
        "above": ("encima de {thing}", "por encima de {thing}"),
        "below": ("debajo de {thing}", "por debajo de {thing}"),
    },
    places=(
        "arriba a la izquierda", "arriba en el centro", "arriba a la derecha",
        "a la izquierda en el centro", "justo en el centro", "a la derecha en el centro",
        "abajo a la izquierda", "abajo en el centro", "abajo a la derecha",
    ),
    comma=", ",
    last=" y ",
    link=" y ",
)  # fmt: skip
