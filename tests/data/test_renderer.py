"""Drawings come out right, on white, whatever the file lacks, and hostile ones harm nothing."""

import base64
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from towers.data import renderer, svg, svg_clean
from towers.data.errors import BadImage

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))


def drawn(body: str, root: str = f'{NAMESPACE} width="64" height="64"', size: int = 64):
    return svg.rasterise(f"<svg {root}>{body}</svg>".encode(), size)


def refusal(content: bytes, size: int = 64) -> str:
    """The reason why an SVG is refused; empty if it is drawn."""
    try:
        svg.rasterise(content, size)
    except BadImage as error:
        return "several lines" if "\n" in str(error) else error.reason
    return ""


def png(color=RED, size=(4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "png")
    return buffer.getvalue()


# The picture


def test_a_drawing_lies_on_white_in_rgb_with_its_proportions():
    picture = drawn('<rect width="20" height="10" fill="red"/>', 'width="40" height="20"', 100)
    assert (picture.mode, picture.size) == ("RGB", (100, 50))
    pixels = np.asarray(picture)
    assert (pixels[:24, :49] == RED).all()
    assert (pixels[26:] == WHITE).all()
    assert (pixels[:, 51:] == WHITE).all()


def test_half_transparent_ink_is_mixed_with_white():
    picture = drawn('<rect width="64" height="64" fill="red" opacity="0.5"/>')
    np.testing.assert_allclose(picture.getpixel((32, 32)), (255, 127.5, 127.5), atol=1)


@pytest.mark.parametrize(
    ("root", "left"),
    [
        ('width="200" height="100"', 100),
        ('width="200px" height="100px"', 100),
        ('width="2in" height="1in"', 96),
        ('width="50.8mm" height="25.4mm"', 96),
        ('width="5.08cm" height="2.54cm"', 96),
        ('width="144pt" height="72pt"', 96),
        ('width="12pc" height="6pc"', 96),
        ('width="2in" height="1in" sodipodi:version="0.32"', 90),
        ('width="2in" height="1in" sodipodi:version="0.32" inkscape:version="0.41"', 90),
        ('width="2in" height="1in" sodipodi:version="0.32" inkscape:version="0.92.4"', 96),
        ('width="2in" height="1in" inkscape:version="1.2"', 96),
        ('viewBox="0 0 200 100"', 100),
        ('viewBox=" 0,0 , 200,100"', 100),
        ('width="100%" height="100%" viewBox="0 0 200 100"', 100),
        ('width="200" viewBox="0 0 200 100"', 100),
        ('width="0" height="-5" viewBox="0 0 200 100"', 100),
        ('width="nan" height="inf" viewBox="0 0 200 100"', 100),
        ('width="8in" height="4in" viewBox="0 0 20 10"', 10),
        ('width="200" height="100" viewBox="0 0 0 0"', 100),
        ('width="200" height="100" viewBox="none"', 100),
        ('width="2e2" height="1.0e+2"', 100),
        ('x="50" y="50" width="200" height="100" overflow="hidden"', 100),
    ],
)
def test_the_page_is_found_from_any_form_of_size(root, left):
    """The left half is red, in the units that the size gives."""
    picture = drawn(f'<rect width="{left}" height="999" fill="red"/>', root, 128)
    assert picture.size == (128, 64)
    pixels = np.asarray(picture)
    assert (pixels[:, :63] == RED).all()
    assert (pixels[:, 65:] == WHITE).all()


def test_a_drawing_without_any_size_is_drawn():
    assert drawn('<rect width="500" height="500" fill="red"/>', "", 100).size == (100, 100)


@pytest.mark.parametrize(
    "document",
    [
        '<svg width="64" height="64">{}</svg>',
        f'<svg {NAMESPACE} width="64" height="64">{{}}</svg>',
        '<?xml version="1.0" encoding="iso-8859-1"?><svg width="64" height="64">{}</svg>',
        '<svg width="64" height="64"><sodipodi:namedview/><inkscape:x y="1"/>{}</svg>',
        '<svg width="64" height="64" xmlns="http://www.w3.org/Graphics/SVG/SVG-19991203.dtd">{}</svg>',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.0//EN" "http://nowhere.invalid/svg10.dtd">'
        '<svg width="64" height="64">{}</svg>',
        '<!DOCTYPE svg [<!ENTITY n "http://www.w3.org/2000/svg"><!ENTITY w "64">]>'
        '<svg xmlns="&n;" width="&w;" height="64">{}</svg>',
    ],
)
def test_what_old_editors_left_out_or_declared_is_supplied(document):
    body = '<g xlink:title="t" inkscape:label="l"><rect width="64" height="64" fill="red"/></g>'
    picture = svg.rasterise(document.format(body).encode(), 16)
    assert (np.asarray(picture) == RED).all()


def test_prefixed_elements_are_drawn():
    root = f'xmlns:svg="{svg_clean.SVG}" width="9" height="9"'
    rectangle = '<svg:rect width="9" height="9" fill="red"/>'
    document = f"<svg:svg {root}>{rectangle}</svg:svg>"
    assert svg.rasterise(document.encode(), 8).getpixel((4, 4)) == RED


def test_links_inside_the_file_are_followed():
    body = '<defs><rect id="r" width="64" height="64" fill="red"/></defs><use xlink:href="#r"/>'
    assert drawn(body, 'width="64" height="64"').getpixel((9, 9)) == RED


def installed_families() -> list[str]:
    if not shutil.which("fc-list"):
        return []
    listed = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True).stdout
    return [line.split(",")[0] for line in listed.splitlines()][:12]


def test_letters_do_not_depend_on_the_fonts_of_the_machine():
    """Whatever family is asked for, installed or not, the letters are those of the one font."""
    text = '<text x="2" y="40" font-size="40" font-family="{}">ab</text>'
    names = ["Arial", "serif", "No Such Font", *installed_families()]
    pictures = [drawn(text.format(name)) for name in names]
    assert np.asarray(pictures[0]).min() < 50
    assert len({picture.tobytes() for picture in pictures}) == 1


def test_a_page_without_ink_is_refused_as_blank():
    assert refusal(b'<svg width="9" height="9"/>') == "blank"
    assert (
        refusal(b'<svg width="9" height="9"><rect width="9" height="9" fill="white"/></svg>')
        == "blank"
    )


# Nothing from outside


@pytest.mark.parametrize("element", ["image", "feImage", "use"])
@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
def test_no_file_and_no_address_is_read(tmp_path, monkeypatch, element, attribute):
    (tmp_path / "red.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    for target in (
        "red.png",
        f"{tmp_path}/red.png",
        f"file://{tmp_path}/red.png",
        "http://[::1]:9/",
    ):
        inner = f'<{element} {attribute}="{target}" width="64" height="64"/>'
        if element == "feImage":
            inner = (
                f'<filter id="f">{inner}</filter><rect width="64" height="64" filter="url(#f)"/>'
            )
        picture = drawn(f'{inner}<rect width="9" height="9" fill="blue"/>')
        assert picture.getpixel((40, 40)) == WHITE
        assert picture.getpixel((4, 4)) == BLUE


def test_pictures_inside_the_file_are_drawn():
    data = base64.b64encode(png()).decode()
    picture = drawn(f'<image xlink:href="data:image/png;base64,{data}" width="64" height="64"/>')
    assert picture.getpixel((40, 40)) == RED


def test_svg_inside_data_is_not_opened_for_it_was_not_cleaned():
    inner = base64.b64encode(f'<svg {NAMESPACE}><rect width="9" height="9"/></svg>'.encode())
    body = (
        f'<image xlink:href="data:image/svg+xml;base64,{inner.decode()}" width="64" height="64"/>'
    )
    assert refusal(f"<svg {NAMESPACE} width='64' height='64'>{body}</svg>".encode()) == "blank"


def test_scripts_and_foreign_content_are_left_out():
    kept = svg_clean.clean(
        b'<svg width="9" height="9"><script>while(true){}</script><foreignObject><b>x</b>'
        b'</foreignObject><metadata><rdf:RDF/></metadata><a:b xmlns:a="x"><rect/></a:b><rect/>'
        b"</svg>"
    )
    assert kept.body == "<rect></rect>"


# Hostile files

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
FILTER = '<filter id="f">{}</filter><rect width="64" height="64" filter="url(#f)"/>'
ENDLESS = FILTER.format('<feTurbulence numOctaves="100000000" baseFrequency=".1"/>')
GIANT = (
    '<pattern id="p" width="1e6" height="1e6" patternUnits="userSpaceOnUse"><rect width="1e6" '
    'height="1e6"/></pattern><rect width="64" height="64" fill="url(#p)"/>'
)


@pytest.mark.parametrize(
    "declaration",
    [
        f'<!ENTITY l0 "ha">{LAUGHS}',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY a PUBLIC "x" "http://[::1]:9/">',
        '<!ENTITY % a "x">',
        f'<!ENTITY a "{"x" * 1000}">',
        '<!ENTITY a "<rect/>">',
        "".join(f'<!ENTITY a{number} "x">' for number in range(100)),
    ],
)
def test_entities_other_than_short_literal_ones_are_refused_at_once(declaration):
    started = time.monotonic()
    content = f'<!DOCTYPE svg [{declaration}]><svg width="9" height="9"><desc>&l11;&a;</desc></svg>'
    assert refusal(content.encode()) == "entities"
    assert time.monotonic() - started < 0.5


def test_short_entities_cannot_swell_a_file(monkeypatch):
    monkeypatch.setattr(svg_clean, "MAX_BYTES", 10_000)
    entity = f'<!DOCTYPE svg [<!ENTITY a "{"x" * 200}">]>'
    content = f'{entity}<svg width="9" height="9"><text>{"&a;" * 100}</text></svg>'
    assert refusal(content.encode()) == "too many bytes"
    assert refusal(b"<svg>" + b" " * 10_000 + b"</svg>") == "too many bytes"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not svg"),
        (b"\x89PNG\r\n\x1a\n", "not svg"),
        (b"<html/>", "not svg"),
        (b"\x00\xff" * 99, "not svg"),
        (b"<svg><rect>", "damaged"),
        (b"<svg width='9' height='9'><rect a='1' a='2'/></svg>", "damaged"),
        (b"<svg width='900' height='1'><rect width='900' height='1'/></svg>", "stretched"),
        (b"<svg width='9' height='9'>" + b"<g>" * 500 + b"</g>" * 500 + b"</svg>", "too deep"),
    ],
)
def test_what_is_no_drawing_is_refused_with_its_reason(content, reason):
    assert refusal(content) == reason


@pytest.mark.parametrize("size", ["1e9", "999999999", "1e308", "1e-300", "1e999"])
def test_a_huge_or_tiny_nominal_size_costs_nothing(size):
    root = f'{NAMESPACE} width="{size}" height="{size}" viewBox="0 0 8 8"'
    picture = drawn('<rect width="8" height="8" fill="red"/>', root)
    assert (picture.size, picture.getpixel((32, 32))) == ((64, 64), RED)


def test_a_drawing_that_never_ends_is_given_up_and_the_next_one_drawn(monkeypatch):
    monkeypatch.setattr(renderer, "SECONDS", 0.5)
    started = time.monotonic()
    assert (
        refusal(f"<svg {NAMESPACE} width='64' height='64'>{ENDLESS}</svg>".encode()) == "too slow"
    )
    assert time.monotonic() - started < 10
    monkeypatch.undo()
    assert drawn('<rect width="64" height="64" fill="red"/>').getpixel((9, 9)) == RED


def test_a_drawing_that_kills_the_renderer_harms_nobody_else():
    content = f"<svg {NAMESPACE} width='64' height='64'>{GIANT}</svg>".encode()
    assert refusal(content) == "kills the renderer"
    assert drawn('<rect width="64" height="64" fill="red"/>').getpixel((9, 9)) == RED


SOUND = (
    f'<svg {NAMESPACE} width="9" height="9"><rect width="9" height="9" fill="#f00"/></svg>'.encode()
)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda place, value: SOUND[:place] + value + SOUND[place + len(value) :],
            st.integers(0, len(SOUND)), st.binary(min_size=1, max_size=4),
        ),
        st.integers(0, len(SOUND)).map(lambda length: SOUND[:length]),
    )
)  # fmt: skip
@example(SOUND.decode().encode("utf-16"))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_picture_or_a_refusal(content):
    refusal(content, 8)


# The cache


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "a.svg"
    path.write_bytes(SOUND)
    return svg.Raster(path, 32)


def test_a_drawing_is_rendered_once(raster, monkeypatch):
    first = raster()
    monkeypatch.setattr(svg, "render", lambda document: pytest.fail("rendered again"))
    assert raster().tobytes() == first.tobytes() == svg.open_image(png(size=(32, 32))).tobytes()


@pytest.mark.parametrize("harm", [b"", b"x", "cut", "flip", "other"])
def test_a_harmed_entry_is_made_again(raster, tmp_path, harm):
    first = raster()
    (entry,) = (tmp_path / "home/raster").rglob("*.png")
    whole = entry.read_bytes()
    if harm == "cut":
        harm = whole[:-1]
    elif harm == "flip":
        harm = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    elif harm == "other":
        harm = png()
    entry.write_bytes(harm)
    assert raster().tobytes() == first.tobytes()
    assert entry.read_bytes() == whole


def test_another_size_or_content_has_an_entry_of_its_own(raster, tmp_path):
    assert raster().size == (32, 32)
    assert svg.Raster(raster.path, 16)().size == (16, 16)
    raster.path.write_bytes(SOUND.replace(b"#f00", b"#00f"))
    assert raster().getpixel((9, 9)) == BLUE


def test_a_raster_pickles(raster):
    assert pickle.loads(pickle.dumps(raster))().tobytes() == raster().tobytes()


def test_many_are_prepared_in_their_order_with_their_reasons(tmp_path):
    contents = [SOUND, b"<svg", b'<svg width="9" height="9"/>', SOUND.replace(b"#f00", b"#00f")]
    paths = [tmp_path / f"{number}.svg" for number in range(len(contents) * 5)]
    for number, path in enumerate(paths):
        path.write_bytes(contents[number % len(contents)])
    assert svg.prepare(paths, 16) == [None, "not svg", "blank", None] * 5
    assert len(list((tmp_path / "home/raster").rglob("*.png"))) == 2


# Processes


def _in_another_process(queue):
    color = svg.rasterise(SOUND, 8).getpixel((4, 4))
    queue.put((color, [child.process.pid for child in renderer._idle]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_a_renderer_of_its_own():
    drawn('<rect width="64" height="64"/>')
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_another_process, args=(queue,))
    child.start()
    color, theirs = queue.get(timeout=20)
    child.join()
    assert color == RED
    assert not {*theirs} & {ours.process.pid for ours in renderer._idle}
    assert svg.rasterise(SOUND, 8).getpixel((4, 4)) == RED


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_renderers_end_with_the_process_that_started_them(end):
    """From a script without a main guard, too."""
    code = (
        "import os\nfrom towers.data import renderer, svg\n"
        f"svg.rasterise({SOUND!r}, 8)\nprint(renderer._idle[0].process.pid, flush=True)\n{end}"
    )
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(script.stdout)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


# Trimming


def trimmed(body: str, root: str = 'width="200" height="100"', size: int = 100) -> Image.Image:
    return svg.rasterise(f"<svg {root}>{body}</svg>".encode(), size, trim=True)


def ink(picture: Image.Image) -> tuple[float, float]:
    """Width and height of what is not white, as shares of the picture."""
    dark = (np.asarray(picture) != 255).any(axis=2)
    return dark.any(axis=0).mean(), dark.any(axis=1).mean()


@pytest.mark.parametrize("side", [80, 40, 10, 2, 0.5])
def test_a_trimmed_drawing_fills_its_picture_however_small_it_stands_on_its_page(side):
    picture = trimmed(f'<rect x="9" y="8" width="{side}" height="{side / 2}" fill="red"/>')
    across, down = ink(picture)
    assert 0.85 < across <= 1
    np.testing.assert_allclose(picture.width * across, 2 * picture.height * down, rtol=0.06)


def test_a_full_page_stays_as_it_is_and_scraps_beside_it_are_left_out():
    body = '<rect width="200" height="100" fill="red"/><circle cx="350" cy="50" r="9"/>'
    assert trimmed(body).tobytes() == drawn(body, 'width="200" height="100"', 100).tobytes()


def test_a_drawing_that_lies_mostly_beside_its_page_is_shown_whole():
    picture = trimmed('<rect x="-90" y="10" width="100" height="50" fill="red"/>')
    across, down = ink(picture)
    np.testing.assert_allclose(picture.width * across, 2 * picture.height * down, rtol=0.06)
    assert picture.getpixel((1, 1)) == WHITE


def test_a_trimmed_blank_is_refused():
    with pytest.raises(BadImage) as caught:
        trimmed("<g/>")
    assert caught.value.reason == "blank"
