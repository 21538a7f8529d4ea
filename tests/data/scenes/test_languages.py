"""Seven languages agree with themselves: articles, genders, cases, numbers, elisions, counters.

The expected phrases were written by hand from the languages' grammars, one or more for each rule
and each exception, and are compared letter by letter.
"""

import re

import pytest

from towers.data.scenes import Scenes
from towers.data.scenes.languages import LANGUAGES, VARIANT_BITS, say
from towers.data.scenes.meanings import Counting, Description, Group, Lacking, Placing, Relating
from towers.data.scenes.world import COLOURS, PLACES, RELATIONS, SHAPES, SIZES

ALL = tuple(LANGUAGES)


@pytest.mark.parametrize(
    ("language", "case", "group", "expected"),
    [
        ("en", "", (1, "arrow"), "an arrow"),
        ("en", "", (1, "arrow", "orange"), "an orange arrow"),
        ("en", "", (1, "arrow", "red"), "a red arrow"),
        ("en", "", (3, "cross", "pink", "small"), "three small pink crosses"),
        ("en", "no", (1, "star"), "stars"),
        ("en", "no", (1, "star", "blue"), "blue star"),
        ("en", "number", (1,), "one shape"),
        ("de", "nom", (1, "star", "red", "large"), "ein großer roter Stern"),
        ("de", "nom", (1, "diamond", "red", "large"), "eine große rote Raute"),
        ("de", "nom", (1, "heart", "red", "large"), "ein großes rotes Herz"),
        ("de", "acc", (1, "star", "red", "large"), "einen großen roten Stern"),
        ("de", "acc", (1, "diamond", "red"), "eine rote Raute"),
        ("de", "acc", (1, "heart", "red"), "ein rotes Herz"),
        ("de", "dat", (1, "star", "red", "large"), "einem großen roten Stern"),
        ("de", "dat", (1, "diamond", "red"), "einer roten Raute"),
        ("de", "dat", (1, "heart", "red"), "einem roten Herzen"),
        ("de", "nom", (2, "star", "red", "small"), "zwei kleine rote Sterne"),
        ("de", "acc", (3, "circle", "blue"), "drei blaue Kreise"),
        ("de", "dat", (2, "star", "red", "small"), "zwei kleinen roten Sternen"),
        ("de", "dat", (2, "heart", "black"), "zwei schwarzen Herzen"),
        ("de", "dat", (4, "drop", "green"), "vier grünen Tropfen"),
        ("de", "kein", (1, "star", "blue"), "kein blauer Stern"),
        ("de", "kein", (1, "flower", "blue"), "keine blaue Blume"),
        ("de", "kein", (1, "cross", "blue"), "kein blaues Kreuz"),
        ("de", "kein", (1, "star"), "keine Sterne"),
        ("de", "ohne", (1, "star", "purple"), "einen violetten Stern"),
        ("de", "ohne", (1, "star"), "Sterne"),
        ("fr", "", (1, "star", "blue", "large"), "une grande étoile bleue"),
        ("fr", "", (1, "circle", "green", "small"), "un petit cercle vert"),
        ("fr", "", (2, "star", "purple", "small"), "deux petites étoiles violettes"),
        ("fr", "", (3, "square", "black", "large"), "trois grands carrés noirs"),
        ("fr", "", (2, "flower", "orange"), "deux fleurs orange"),
        ("fr", "", (2, "cross", "red"), "deux croix rouges"),
        ("fr", "", (4, "ring", "pink"), "quatre anneaux roses"),
        ("fr", "de", (1, "star", "blue"), "d'une étoile bleue"),
        ("fr", "de", (1, "heart", "blue"), "d'un cœur bleu"),
        ("fr", "pas", (1, "star", "blue"), "d'étoile bleue"),
        ("fr", "pas", (1, "ring"), "d'anneau"),
        ("fr", "pas", (1, "heart"), "de cœur"),
        ("fr", "none", (1, "star"), "aucune étoile"),
        ("fr", "none", (1, "heart", "green"), "aucun cœur vert"),
        ("es", "", (1, "star", "red", "large"), "una gran estrella roja"),
        ("es", "", (2, "star", "red", "large"), "dos grandes estrellas rojas"),
        ("es", "", (3, "heart", "blue", "small"), "tres pequeños corazones azules"),
        ("es", "", (2, "cross", "black"), "dos cruces negras"),
        ("es", "", (2, "flower", "green"), "dos flores verdes"),
        ("es", "", (1, "moon", "orange"), "una luna naranja"),
        ("es", "none", (1, "ring", "yellow"), "ningún anillo amarillo"),
        ("es", "none", (1, "arrow", "yellow"), "ninguna flecha amarilla"),
        ("it", "", (1, "star", "red", "small"), "una piccola stella rossa"),
        ("it", "", (2, "star", "red", "small"), "due piccole stelle rosse"),
        ("it", "", (2, "flower", "green", "large"), "due grandi fiori verdi"),
        ("it", "", (3, "drop", "blue"), "tre gocce blu"),
        ("it", "", (2, "cross", "orange"), "due croci arancioni"),
        ("it", "", (4, "arrow", "purple"), "quattro frecce viola"),
        ("it", "none", (1, "ring", "black"), "nessun anello nero"),
        ("it", "none", (1, "moon", "black"), "nessuna luna nera"),
        ("ru", "nom", (1, "circle", "red", "large"), "большой красный круг"),
        ("ru", "nom", (1, "star", "blue", "small"), "маленькая синяя звезда"),
        ("ru", "nom", (1, "heart", "blue", "large"), "большое синее сердце"),
        ("ru", "nom", (2, "circle", "red", "small"), "два маленьких красных круга"),
        ("ru", "nom", (2, "star", "blue", "large"), "две большие синие звезды"),
        ("ru", "nom", (3, "ring", "black"), "три чёрных кольца"),
        ("ru", "nom", (4, "arrow", "green"), "четыре зелёные стрелки"),
        ("ru", "gen", (1, "star", "blue"), "синей звезды"),
        ("ru", "gen", (1, "cross", "blue"), "синего креста"),
        ("ru", "gen", (1, "flower", "yellow"), "жёлтого цветка"),
        ("ru", "ins", (1, "star", "blue"), "синей звездой"),
        ("ru", "ins", (1, "drop", "pink"), "розовой каплей"),
        ("ru", "ins", (1, "triangle", "blue", "large"), "большим синим треугольником"),
        ("ru", "ins", (2, "star", "blue", "small"), "двумя маленькими синими звёздами"),
        ("ru", "no", (1, "heart"), "сердец"),
        ("ru", "no", (1, "drop", "orange"), "оранжевой капли"),
        ("ru", "number", (1,), "одна фигура"),
        ("ru", "number", (2,), "две фигуры"),
        ("ja", "", (1, "circle", "red", "large"), "大きい赤い円"),
        ("ja", "", (2, "star", "blue"), "二つの青い星"),
        ("ja", "number", (1, "star"), "一つの星"),
    ],
)
def test_noun_phrases_agree(language, case, group, expected):
    assert LANGUAGES[language].phrase(Group(*group), case, 0) == expected


A, B, C = Group(1, "circle", "red"), Group(1, "star", "blue"), Group(1, "heart", "green")
TWO = Group(2, "star", "blue", "small")


@pytest.mark.parametrize(
    ("language", "meaning", "form", "expected"),
    [
        (
            "de",
            Description((A, TWO)),
            1,
            "ein Bild mit einem roten Kreis und zwei kleinen blauen Sternen",
        ),
        (
            "de",
            Description((A, TWO)),
            3,
            "man sieht einen roten Kreis und zwei kleine blaue Sterne",
        ),
        (
            "ru",
            Description((A, TWO)),
            1,
            "картинка с красным кругом и двумя маленькими синими звёздами",
        ),
        ("ja", Description((A, TWO, C)), 2, "赤い円と二つの小さい青い星と緑色のハートがある"),
        (
            "fr",
            Description((A, TWO, C)),
            0,
            "un cercle rouge, deux petites étoiles bleues et un cœur vert",
        ),
        (
            "en",
            Relating(A, (("left", B), ("above", C))),
            0,
            "a red circle is left of a blue star and above a green heart",
        ),
        (
            "de",
            Relating(A, (("left", B), ("above", C))),
            0,
            "ein roter Kreis ist links von einem blauen Stern und über einem grünen Herzen",
        ),
        (
            "fr",
            Relating(A, (("left", B), ("above", C))),
            0,
            "un cercle rouge est à gauche d'une étoile bleue et au-dessus d'un cœur vert",
        ),
        ("it", Relating(A, (("right", B),)), 0, "un cerchio rosso è a destra di una stella blu"),
        ("es", Relating(B, (("below", A),)), 0, "una estrella azul está debajo de un círculo rojo"),
        (
            "ru",
            Relating(A, (("above", B), ("left", C))),
            0,
            "красный круг над синей звездой и слева от зелёного сердца",
        ),
        (
            "ja",
            Relating(A, (("left", B), ("above", C))),
            0,
            "赤い円は青い星の左、緑色のハートの上にある",
        ),
        ("ja", Placing(((A, "top left"), (B, "bottom"))), 0, "左上に赤い円、中央下に青い星がある"),
        (
            "de",
            Placing(((A, "top left"), (B, "bottom"))),
            0,
            "oben links ein roter Kreis und unten in der Mitte ein blauer Stern",
        ),
        (
            "en",
            Counting(Group(3), (Group(1, "circle"), Group(2, "star"))),
            0,
            "three shapes: a circle and two stars",
        ),
        (
            "ru",
            Counting(Group(3), (Group(1, "circle"), Group(2, "star"))),
            0,
            "три фигуры: круг и две звезды",
        ),
        ("fr", Counting(Group(1), (Group(1, "star"),)), 0, "une forme : une étoile"),
        (
            "ja",
            Counting(Group(3), (Group(1, "circle"), Group(2, "star"))),
            0,
            "三つの図形：一つの円と二つの星",
        ),
        ("en", Lacking((TWO,), Group(1, "heart")), 0, "two small blue stars but no hearts"),
        ("de", Lacking((A,), B), 2, "ein Bild mit einem roten Kreis, aber ohne einen blauen Stern"),
        ("fr", Lacking((A,), B), 1, "un cercle rouge, mais pas d'étoile bleue"),
        ("es", Lacking((A,), B), 3, "hay un círculo rojo, pero no hay ninguna estrella azul"),
        ("it", Lacking((A,), B), 2, "un cerchio rosso, ma non c'è nessuna stella blu"),
        ("ru", Lacking((A,), B), 0, "красный круг, но нет синей звезды"),
        ("ja", Lacking((A,), B), 0, "赤い円があるが、青い星はない"),
    ],
)
def test_sentences_govern_their_cases(language, meaning, form, expected):
    assert LANGUAGES[language].say(meaning, form) == expected


@pytest.mark.parametrize("language", ALL)
def test_every_word_is_there(language):
    """All things, places and relations can be said in every form, without an open slot."""
    spoken, said = LANGUAGES[language], set()
    things = [Group(n, shape, colour, size) for n in (1, 2, 4) for shape in SHAPES
              for colour in COLOURS for size in SIZES]  # fmt: skip
    for number, thing in enumerate(things):
        said.add(spoken.say(Description((thing,)), 0))
        one = thing._replace(number=1)
        place = PLACES[number % 9]
        said.add(spoken.say(Placing(((one, place),)), number))
        other = one._replace(size=None)
        relation = RELATIONS[number % 4]
        said.add(spoken.say(Relating(other, ((relation, other),)), number))
        said.add(spoken.say(Lacking((thing,), other), number))
    assert len({spoken.say(Description((thing,)), 0) for thing in things}) == len(things)
    assert len({*spoken.places}) == len(PLACES)
    for text in said:
        assert text == " ".join(text.split())
        assert not re.search(r"[{}_]|None", text)


def test_scripts_are_those_of_the_language():
    texts = {language: [] for language in ALL}
    for item in Scenes(150, languages=ALL).collection():
        for language, captions in item.captions.items():
            texts[language] += captions
    said = {language: " ".join(found) for language, found in texts.items()}
    assert re.fullmatch(r"[а-яё ,:]+", said["ru"])
    assert re.fullmatch(r"[a-z ,:]+", said["en"])
    assert re.fullmatch(r"[A-Za-zäöüß ,:]+", said["de"])
    assert re.fullmatch(r"[a-zéèàçœ' ,:-]+", said["fr"])
    assert re.fullmatch(r"[a-záíóúñ ,:]+", said["es"])
    assert re.fullmatch(r"[a-zèù' ,:]+", said["it"])
    assert not re.search("[a-zA-Z]", said["ja"])


def test_each_language_chooses_its_words_from_bits_of_its_own():
    assert VARIANT_BITS * len(ALL) <= 64
    meaning = Description((Group(1, "circle", "purple", "large"),))
    for number, language in enumerate(ALL):
        lower = (1 << (VARIANT_BITS * number)) - 1
        higher = ((1 << 64) - 1) ^ ((1 << VARIANT_BITS * (number + 1)) - 1)
        assert say(language, meaning, 0) == say(language, meaning, lower | higher)
