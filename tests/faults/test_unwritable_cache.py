"""A cache that cannot be written costs time, never an answer: each place that keeps something."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import toy_towers
from tests.data.made_up_debs import toy
from towers import cli, data, files, models
from towers.data import DataError, catalogue, duplicates, export, sources, svg
from towers.data.catalogue import Found
from towers.data.items import Item
from towers.rendering import glyphs
from towers.training import shards, texts
from towers.training.remote import Remote

DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="4"/></svg>'
HEX = "0041:0000000018242442427E424242420000\n"


@pytest.fixture
def unwritable(tmp_path, monkeypatch) -> Iterator[Path]:
    """A cache below a file, where nobody can make a folder, not even root."""
    monkeypatch.setattr(files, "_said", threading.Lock())
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "file" / "cache"))
    glyphs.unifont.cache_clear()
    yield tmp_path
    glyphs.unifont.cache_clear()


def pictures(folder: Path) -> data.Collection:
    for number in range(3):
        place = folder / f"birds/{number}.png"
        place.parent.mkdir(exist_ok=True)
        toy_towers.collection([("a",)] * 3).image(number).save(place)
        place.with_suffix(".txt").write_text(f"bird {number}")
    return data.load(f"folder:{folder / 'birds'}")


def checks(folder, _):
    assert len(pictures(folder)) == 3


def features(folder, _):
    tower = toy_towers.trainable().image.freeze()
    found = models.features(tower, pictures(folder), progress=False)
    assert found.shape == (3, tower.width)


def signatures(folder, _):
    assert len(duplicates.signatures(pictures(folder))) == 3


def rasters(folder, _):
    (folder / "a.svg").write_text(DRAWING)
    assert max(svg.Raster(folder / "a.svg")().size) == svg.SIZE


def catalogues(folder, monkeypatch):
    (folder / "a.svg").write_text(DRAWING)
    found = Found([Item("", "a", Path("a.svg"), {"en": ("a",)})], Counter())
    monkeypatch.setattr(sources, "fetch", {"toy": folder}.get)
    made = catalogue.collection("toys", toy(folder), lambda _: found)
    assert [item.name for item in made] == ["a"]


def indices(folder, _):
    export.export_shards(pictures(folder), folder / "tars")
    assert len(shards.index(folder / "tars/000000.tar").places) == 3


def lines(folder, _):
    (folder / "a.txt").write_text("One. Two.\nThree. Four.\n")
    found = texts.load([f"sentences:{folder / 'a.txt'}"], ("en",))
    assert [found.pair(row, 0) for row in (0, 1)] == [("One.", "Two."), ("Three.", "Four.")]


def tables(folder, monkeypatch):
    (folder / "unifont.hex").write_text(HEX)
    monkeypatch.setattr(sources, "fetch", lambda name: folder)
    monkeypatch.setattr(glyphs, "read_outlines", lambda path: {})
    table = glyphs.unifont()
    assert table.number[ord("A")] == 1
    assert np.count_nonzero(table.columns[1]) == 6  # columns of that A that have ink


@pytest.mark.parametrize(
    "site", [checks, features, signatures, rasters, catalogues, indices, lines, tables]
)
def test_what_is_not_kept_is_found_all_the_same_and_said_once(
    site, unwritable, monkeypatch, capsys
):
    site(unwritable, monkeypatch)
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1
    assert "cache cannot keep" in said[0]
    assert "Not a directory" in said[0]


@pytest.mark.parametrize(
    "need",
    [lambda: sources.fetch("unifont"), lambda: Remote("file:///nowhere.tar").open()],
    ids=["sources are unpacked", "shards are fetched"],
)
def test_what_needs_a_place_says_so_in_one_line(need, unwritable):
    with pytest.raises(DataError, match=r"expected a cache to .* set TOWERS_HOME to") as raised:
        need()
    assert "\n" not in str(raised.value)


def test_a_run_that_would_lie_there_fails_loudly(unwritable, capsys, monkeypatch):
    monkeypatch.chdir(unwritable)
    Path("r.yaml").write_text(
        "image: scratch:vit?image=32&patch=16&width=16&depth=1&heads=2\n"
        "text: scratch:bow?width=16&context=16\ndata: ['scenes:train?count=64&size=32']\n"
        "steps: 2\nbatch: 16\nwarmup: 0\n"
    )
    assert cli.main(["train", "r.yaml"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("Not a directory; TOWERS_HOME names another folder for the cache")
