"""Rendered pictures: the released renderer's hashes, the plain oracle, and any text at all."""

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rendering import oracle
from tests.rendering.texts import HARD, any_text
from towers.rendering import RenderingError, Style, render

# SHA-256, first 16 digits, of the picture that the authors' renderer makes with Unifont 15.0.01.
GOLDEN = {
    "A photo of a cat.": "12ecf37af7df6911",
    " ": "321e776f86a98043",
    "i": "71555c9cafca1417",
    "W" * 60: "ae992d7184d087f0",
    "  leading and trailing  ": "7b166ea4cd22ac94",
    "tab\tand newline\nend": "b40f2ed9dfc0e3b2",
    "日本語テキスト " * 20: "40645600fb806550",
}
STYLES = [
    {},
    {"lower": False},
    {"characters": 5},
    {"characters": None},
    {"monospace": True},
    {"word_wrap": True},
    {"word_wrap": True, "monospace": True},
    {"ink": 255, "background": 0},
    {"ink": 130, "background": 200},
    {"font_size": 32},
    {"font_size": 48, "word_wrap": True},
]


@pytest.mark.parametrize("text", GOLDEN, ids=lambda text: repr(text)[:16])
def test_pictures_are_the_authors_own(text):
    (image,) = render([text])
    assert image.shape == (224, 224)
    assert image.dtype == np.uint8
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == GOLDEN[text]


@pytest.mark.parametrize("options", STYLES, ids=str)
def test_every_style_follows_the_rules_pixel_by_pixel(options):
    texts = [text[:120] for text in HARD]
    for text, image in zip(texts, render(texts, 112, Style(**options)), strict=True):
        np.testing.assert_array_equal(image, oracle.picture(text, 112, **options), repr(text))


@given(
    texts=st.lists(any_text, max_size=4),
    size=st.sampled_from([32, 48, 100]),  # the last ends within a line
    word_wrap=st.booleans(),
    monospace=st.booleans(),
)
@settings(max_examples=60)
def test_any_text_is_set_by_the_rules(texts, size, word_wrap, monospace):
    images = render(texts, size, Style(word_wrap=word_wrap, monospace=monospace))
    assert images.shape == (len(texts), size, size)
    for text, image in zip(texts, images, strict=True):
        expected = oracle.picture(text, size, word_wrap=word_wrap, monospace=monospace)
        np.testing.assert_array_equal(image, expected)


def test_a_caption_looks_the_same_alone_and_among_thousands():
    texts = [f"{text} {number}" for number in range(300) for text in ("cat", "", "日本 " * 90)]
    np.testing.assert_array_equal(render(texts), np.concatenate([render([t]) for t in texts]))


def test_every_code_point_can_be_drawn():
    texts = ["".join(map(chr, range(start, start + 0x400))) for start in range(0, 0x110000, 0x400)]
    style = Style(characters=None, lower=False)
    images = render(texts, 448, style)
    for number in (0, 0x180, 0xD800 // 0x400, 0x1F400 // 0x400):
        expected = oracle.picture(texts[number], 448, characters=None, lower=False)
        np.testing.assert_array_equal(images[number], expected)


def test_a_megabyte_takes_no_time_where_768_characters_count_and_little_where_all_do():
    text = "ab " * 350_000
    start = time.perf_counter()
    short = render([text])
    assert time.perf_counter() - start < 0.2
    long = render([text], style=Style(characters=None))
    assert time.perf_counter() - start < 5
    np.testing.assert_array_equal(long, short)  # 768 characters fill the picture


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render("a cat"), "expected a list of captions"),
        (lambda: render([b"a cat"]), "expected a list of captions"),
        (lambda: render(["a"], 31), "at least 32.* got 31"),
        (lambda: render(["a"], 63, Style(font_size=32)), "at least 64.* got 63"),
        (lambda: Style(font_size=20), "16, 32, 48, ... pixels; got 20"),
        (lambda: Style(font_size=0), "16, 32, 48, ... pixels; got 0"),
        (lambda: Style(ink=127), "two different grey levels.* got 127 and 127"),
        (lambda: Style(ink=256), "two different grey levels.* got 256 and 127"),
        (lambda: Style(characters=-1), "0 characters or more.* got -1"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(RenderingError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_no_caption_gives_no_picture():
    assert render([]).shape == (0, 224, 224)
