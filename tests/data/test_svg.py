"""Drawings: right pixels, no reach outside the file, a cache that notices damage."""

import time

import numpy as np
import pytest

from towers.data import svg
from towers.data.errors import BadImage
from towers.models import Preprocessing

NS = 'xmlns="http://www.w3.org/2000/svg"'
SQUARE = '<rect x="0" y="0" width="{}" height="{}" fill="red"/>'


def drawn(text: str, size: int = 64) -> np.ndarray:
    """The pixels of an SVG."""
    return np.asarray(svg.rasterise(text.encode(), size))


def test_pixels_lie_where_the_drawing_says():
    pixels = drawn(f'<svg {NS} width="4" height="4">{SQUARE.format(2, 4)}</svg>')
    assert pixels.shape == (64, 64, 3)
    assert (pixels[:, :32] == (255, 0, 0)).all()
    assert (pixels[:, 32:] == 255).all()


@pytest.mark.parametrize(
    "attributes",
    [
        f'{NS} width="20" height="10"',
        f'{NS} viewBox="0 0 20 10"',
        f'{NS} width="100%" height="100%" viewBox="0 0 20 10"',
        f'{NS} width="20mm" height="10mm" viewBox="0 0 20 10"',
        'width="20" height="10"',
    ],
    ids=["size", "viewBox only", "percent", "millimetres", "no namespace"],
)
def test_size_and_namespace_are_supplied_where_they_lack(attributes):
    pixels = drawn(f"<svg {attributes}>{SQUARE.format(10, 10)}</svg>")
    assert pixels.shape == (32, 64, 3)
    assert (pixels[:, :31] == (255, 0, 0)).all()
    assert (pixels[:, 33:] == 255).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not xml", "not svg"),
        ("<html/>", "not svg"),
        (f'<svg {NS} width="4" height="4"><rect', "damaged"),
        (f'<svg {NS} width="4" height="4"/>', "blank"),
        (f'<svg {NS} width="4000" height="4">{SQUARE.format(2, 4)}</svg>', "stretched"),
        ("<svg>" + "<g>" * 500 + "</g>" * 500 + "</svg>", "too deep"),
    ],
)
def test_what_is_no_drawing_is_refused_with_its_reason(text, reason):
    with pytest.raises(BadImage) as error:
        drawn(text)
    assert error.value.reason == reason


def test_billion_laughs_is_refused_at_once():
    entities = "".join(f'<!ENTITY l{i} "{"".join([f"&l{i - 1};"] * 10)}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE svg [<!ENTITY l0 "ha">{entities}]><svg {NS}><text>&l9;</text></svg>'
    start = time.perf_counter()
    with pytest.raises(BadImage) as error:
        drawn(bomb)
    assert error.value.reason == "entities"
    assert time.perf_counter() - start < 1


def test_nothing_outside_the_file_is_drawn(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8), "blue").save(tmp_path / "secret.png")
    link = (tmp_path / "secret.png").as_uri()
    xlink = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    for href in (link, str(tmp_path / "secret.png"), "http://127.0.0.1:9/x.png"):
        image = f'<image xlink:href="{href}" width="8" height="8"/>'
        text = f'<svg {NS} {xlink} width="8" height="8">{SQUARE.format(4, 8)}{image}</svg>'
        assert not (drawn(text) == (0, 0, 255)).all(axis=-1).any()


def test_letters_look_the_same_on_every_machine():
    text = (
        f'<svg {NS} width="60" height="20"><text x="2" y="15" font-family="{{}}">Ink</text></svg>'
    )
    first, second = drawn(text.format("Arial")), drawn(text.format("No Such Font"))
    assert (first < 128).any()
    np.testing.assert_array_equal(first, second)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A small drawing on disk, and a cache of its own."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    path = tmp_path / "a.svg"
    path.write_text(f'<svg {NS} width="4" height="4">{SQUARE.format(2, 4)}</svg>')
    return path


def test_second_picture_comes_from_the_cache(file, monkeypatch):
    first = np.asarray(svg.Raster(file)())
    monkeypatch.setattr(svg, "rasterise", lambda *_: pytest.fail("rendered again"))
    np.testing.assert_array_equal(np.asarray(svg.Raster(file)()), first)


@pytest.mark.parametrize("side", [200, 336, 1000])
@pytest.mark.parametrize("way", ["crop", "pad", "squash"])
@pytest.mark.parametrize("page", [(30, 9), (7, 64), (50, 50)])
def test_a_drawing_is_never_enlarged_for_a_tower(tmp_path, monkeypatch, side, way, page):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    path = tmp_path / "page.svg"
    ink = f'<ellipse cx="{page[0] / 2}" cy="{page[1] / 2}" rx="3" ry="4" fill="navy"/>'
    path.write_text(f'<svg {NS} width="{page[0]}" height="{page[1]}">{ink}</svg>')
    transform = Preprocessing(side, (0.5,) * 3, (0.5,) * 3, resize=way)

    def enlarged(picture):
        wanted = transform.scaled(*picture.size)
        return max(new / old for new, old in zip(wanted, picture.size, strict=True))

    small, picture = svg.Raster(path)(), svg.Raster(path)(transform.scaled)
    assert max(small.size) == svg.SIZE
    if enlarged(small) <= 1:
        assert picture.size == small.size
    else:  # no larger than it has to be, but for a pixel of rounding
        assert 0.97 < enlarged(picture) <= 1


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_cache_entry_is_made_again(file, tmp_path, damage):
    first = np.asarray(svg.Raster(file)())
    entry = next((tmp_path / "home/raster").rglob("*.png"))
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    broken = {"truncate": content[:-9], "flip": content, "empty": b""}[damage]
    entry.write_bytes(bytes(broken))
    np.testing.assert_array_equal(np.asarray(svg.Raster(file)()), first)
    assert entry.read_bytes() != bytes(broken)


def test_prepare_gives_a_reason_per_file_from_other_processes(file, tmp_path, monkeypatch):
    bad = tmp_path / "bad.svg"
    bad.write_text("no")
    assert svg.prepare([file, bad, file]) == [None, "not svg", None]
