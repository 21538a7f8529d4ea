"""The text explorer in a real browser: the same pixels and the same tokens as in Python."""

import base64
import random

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from transformers import PreTrainedTokenizerFast

from tests.rendering.texts import HARD
from towers import data
from towers.data import sources
from towers.rendering import drawn, render, to_patches
from towers.rendering.glyphs import unifont
from towers.widgets import text_explorer
from towers.widgets.packing import shipped
from towers.widgets.text import EXAMPLES

pytestmark = pytest.mark.slow

PAGE = (
    '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><body>{}'
)
EXPLORER = "document.querySelector('.towers-text').explorer"
INK = """text => {
  const pixels = EXPLORER.render(text).pixels, bytes = new Uint8Array(pixels.length / 8);
  pixels.forEach((p, i) => {
    if (p !== 0 && p !== 127) throw new Error(`a pixel is ${p}`);
    bytes[i >> 3] |= (p === 0) << 7 - (i & 7);
  });
  return btoa(String.fromCharCode(...bytes));
}""".replace("EXPLORER", EXPLORER)
"""The pixels with ink, as bits in base64."""
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    """The address of a page that holds nothing but the explorer."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(PAGE.format(text_explorer("A </script> <b>cat</b>.")._repr_html_()))
    return path.as_uri()


@pytest.fixture(scope="module")
def page(browser: Browser, html: str):
    """The page, ready; whatever it complains of or asks for is a failure."""
    opened, complaints = visit(browser, html, PHONE, "dark")
    yield opened
    opened.close()
    assert complaints == []


def visit(browser: Browser, url: str, size: dict, scheme: str) -> tuple[Page, list[str]]:
    """Open the page and wait until it has drawn; collect errors and requests."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: complaints.append(r.url) if r.url.startswith("http") else None)
    page.goto(url)
    page.wait_for_function(EXPLORER, timeout=20_000)
    return page, complaints


def texts() -> list[str]:
    """Texts whose glyphs all come with the page: chosen ones, captions, and random ones."""
    rng = random.Random(0)
    points = np.flatnonzero(shipped() | (unifont().number == 0))
    points = [int(p) for p in points if not 0xD800 <= p < 0xE000]
    known = [int(p) for p in np.flatnonzero(shipped())]
    made = [
        "".join(map(chr, rng.choices(pool, k=90))) for pool in (points, known) for _ in range(60)
    ]
    spoken = [said for item in data.load("stamps")[:8] for (said, *_) in item.captions.values()]
    every = [*HARD, *EXAMPLES.values(), *made, *spoken]
    left_out = unifont().number.astype(bool) & ~shipped()
    left_out[0xD800:0xE000] = False
    return [text for text in every if not left_out[list(map(ord, text))].any()]


def test_the_browser_draws_every_pixel_as_the_library_does(page):
    given = texts()
    assert len(given) > 500
    found = page.evaluate(f"texts => texts.map({INK})", given)
    for text, coded, image in zip(given, found, render(given), strict=True):
        assert coded == base64.b64encode(np.packbits(image == 0)).decode(), repr(text)


def test_the_browser_counts_what_does_not_fit(page):
    call = (
        "texts => texts.map(t => document.querySelector('.towers-text').explorer.render(t).drawn)"
    )
    given = ["W" * 900, "i" * 900, "cat", ""]
    assert page.evaluate(call, given) == drawn(given).tolist()


def test_the_browser_finds_the_tokenizers_word_pieces(page):
    (path,) = sources.fetch("minilm").rglob("tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path)).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    items = data.load("stamps")[::40]
    given = [said for item in items for (said, *_) in item.captions.values()]
    given += [
        *EXAMPLES.values(),
        "",
        " ",
        "a" * 101,
        "don't [SEP] STOP!?",
        "naïve ΣΑΣ ﬁn",
        "x\ty\u00a0z\u200b",
    ]
    assert len(given) > 1000
    found = page.evaluate(f"texts => texts.map(text => {EXPLORER}.pieces(text))", given)
    for text, pieces in zip(given, found, strict=True):
        assert pieces == tokenizer.encode(text, add_special_tokens=False).tokens, repr(text)


def test_typing_shows_numbered_patches_tokens_and_sums(page):
    page.get_by_label("Your text").fill("A photo of a cat.")
    patches = to_patches(["A photo of a cat."]).lengths[0]
    tiles = page.get_by_role("list", name="patches with ink, in order")
    assert tiles.locator("li").count() == patches
    pieces = page.get_by_role("list", name="word pieces, in order").locator("li")
    assert pieces.all_inner_texts() == ["a", "photo", "of", "a", "cat", "."]
    assert f"patches with ink: {patches} of 196 · word pieces: 6 · bytes: 17" in page.inner_text(
        ".sums"
    )
    label = page.get_by_role("img").first.get_attribute("aria-label")
    assert f"{patches} of 196 patches carry ink" in label


def test_what_is_left_out_is_hatched_and_counted(page):
    rare = chr(next(p for p in range(0x9000, 0xA000) if not shipped()[p]))
    page.get_by_label("Your text").fill(rare + "日")
    assert "characters whose glyph is not on this page, hatched: 1" in page.inner_text(".sums")
    page.get_by_label("Your text").fill("W" * 800)
    lost = 800 - drawn(["W" * 800])[0]
    assert f"characters that do not fit: {lost} of 800" in page.inner_text(".sums")


def test_the_keyboard_reaches_everything(page):
    page.get_by_label("Your text").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_label("Your text").input_value() == list(EXAMPLES.values())[1]
    box = page.get_by_label("number the patches")
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    box.check()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_the_page_fits_phones_and_screens(browser, html, width, scheme):
    page, complaints = visit(browser, html, {"width": width, "height": 800}, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    page.close()


def test_without_scripts_a_described_picture_stands_there(browser, html):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(html)
    picture = page.get_by_role("img")
    assert "A </script> <b>cat</b>." in picture.get_attribute("alt")
    assert picture.evaluate("image => image.naturalWidth") == 224
    page.context.close()


def test_the_explorer_is_small_and_refers_to_nothing():
    written = text_explorer()._repr_html_()
    assert len(written.encode()) < 560_000
    assert "http" not in written
    assert "src=" not in written.replace('src="data:', "")


def test_two_explorers_of_a_page_have_names_of_their_own():
    first, second = (text_explorer("a")._repr_html_().split('id="')[1][:20] for _ in range(2))
    assert first != second
