"""Catalogues count what was supplied to their drawings."""

from collections import Counter
from pathlib import Path

import pytest

from tests.data.made_up_debs import toy
from towers.data import catalogue, svg
from towers.data.catalogue import Found
from towers.data.items import Item
from towers.data.svg_clean import clean

DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" {}><rect width="{}" height="4"/></svg>'
SIZES = {
    'width="9" height="9"': True,
    'width="2in" height="1cm" viewBox="0 0 9 9"': True,
    'viewBox="0 0 9 9"': False,
    'width="100%" height="100%" viewBox="0 0 9 9"': False,
    'width="9" viewBox="0 0 9 9"': False,
    "": False,
}


@pytest.mark.parametrize(("attributes", "given"), SIZES.items())
def test_a_size_is_given_where_both_sides_stand_on_their_own(attributes, given):
    drawing = DRAWING.format(attributes, 5).encode()
    assert clean(drawing).sized == given
    assert (clean(drawing).width is None) == (not attributes)


def read(folder: Path) -> Found:
    """Every drawing of a folder."""
    drafts = [
        Item("", path.stem, Path(path.name), {"en": (path.stem,)}) for path in folder.glob("*.svg")
    ]
    return Found(sorted(drafts, key=lambda draft: draft.name), Counter(), Counter({"title": 2}))


def test_the_report_counts_kept_drawings_without_a_size(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "drawings"
    folder.mkdir()
    for number, attributes in enumerate(SIZES):
        (folder / f"{number}.svg").write_text(DRAWING.format(attributes, number + 2))
    (folder / "blank.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "copy.svg").write_bytes((folder / "2.svg").read_bytes())
    monkeypatch.setattr(catalogue.sources, "fetch", {"toy": folder}.get)
    source = toy(tmp_path)
    for again in range(2):  # read, then from the cache
        if again:
            monkeypatch.setattr(svg, "prepare", None)
        found = catalogue.collection("made up", source, read, distance=None)
        assert found.report.kept == 6
        assert found.report.dropped == {"svg: blank": 1, "copy of another file": 1}
        assert found.report.mended == {"title": 2, catalogue.SIZELESS: 4}
