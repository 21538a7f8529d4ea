"""Lists and the doctor say what is there, and what to do about what is missing."""

import dataclasses
from pathlib import Path

import pytest

from tests import made_up_book
from towers import listing
from towers.data import sources


@dataclasses.dataclass
class Row:
    """A data source's state, with the fields that listings read."""

    name: str = "stamps"
    package: str = "stamps-default"
    wanted: str = "2022"
    found: str | None = "2022"
    licence: str = "GPL-2+"
    where: Path | None = Path("/cache/stamps")
    ok: bool = True
    advice: str = ""


LOST = Row(
    name="clipart", package="clipart-svg", found=None, where=None, ok=False, advice="run apt"
)


@pytest.fixture
def status(monkeypatch):
    """Sets what the data sources say of themselves."""
    return lambda *rows: monkeypatch.setattr(sources, "status", lambda: list(rows))


def test_columns_line_up_whatever_the_widths():
    text = listing.table([("a", 100), ("long name", 2)], ("NAME", "N"))
    assert text == "NAME       N\na          100\nlong name  2"


def test_a_narrow_table_breaks_its_widest_cells_between_words():
    rows = [("a", "one two three four", "x"), ("bb", "five-and-a-half", "y z")]
    expected = ["N   TEXT             X", "a   one two three    x", "    four",
                "bb  five-and-a-half  y", "                     z"]  # fmt: skip
    assert listing.table(rows, ("N", "TEXT", "X"), 22).splitlines() == expected
    assert listing.table(rows, ("N", "TEXT", "X"), 1).splitlines() == expected  # words stay whole


def test_the_list_of_experiments_fits_100_columns(checkout, tmp_path):
    serves = "[Table 1, Table 11, Figure 4, Figure 5, Figure 21]"
    yaml = made_up_book.YAML.replace("[Table 1]", serves).replace("Tiny", "A title of many words")
    made_up_book.add(checkout, "foundations/one", yaml=yaml.replace("clip", "declip"))
    made_up_book.add(checkout, "foundations/two", yaml=yaml.replace("paper: clip\n", ""))
    lines = listing.experiments("smoke", tmp_path).splitlines()
    assert max(map(len, lines)) <= 100
    place = lines[0].index("PAPER")
    papers = {line.split()[0]: line[place:].split()[0] for line in lines if line[0] == "f"}
    assert papers == {"foundations/one": "declip", "foundations/two": "-"}
    place = lines[0].index("SERVES")
    served = [line[place : place + 30].split("  ")[0] for line in lines[1:]]
    assert " ".join(" ".join(served).split()).startswith("Table 1, 11; Figure 4, 5, 21")


def test_what_listings_read_of_a_source_is_what_sources_say():
    wanted = {field.name for field in dataclasses.fields(Row)}
    assert wanted <= {field.name for field in dataclasses.fields(sources.Status)}


def test_sources_show_versions_and_advice(status):
    status(Row(), LOST)
    lines = listing.sources().splitlines()
    assert lines[1].split() == ["stamps", "stamps-default", "2022", "2022", "GPL-2+", "ok"]
    assert lines[2].split() == ["clipart", "clipart-svg", "2022", "-", "GPL-2+", "run", "apt"]


def test_fetching_names_each_source_as_it_arrives(status, monkeypatch):
    status(Row(), LOST)
    monkeypatch.setattr(sources, "fetch", lambda name: Path("/cache") / name)
    assert list(listing.fetched([])) == ["stamps /cache/stamps", "clipart /cache/clipart"]
    assert list(listing.fetched(["clipart"])) == ["clipart /cache/clipart"]


class TestDoctor:
    def test_is_content_where_all_is_there(self, checkout, status):
        made_up_book.add(checkout, "a/one")
        status(Row())
        text, sound = listing.doctor()
        assert sound
        assert "experiments      ok" in text
        assert "stamps-default 2022, GPL-2+, /cache/stamps" in text

    @pytest.mark.parametrize(
        ("break_it", "line"),
        [
            (lambda patch, root: None, "experiments      missing  0 in "),
            (
                lambda patch, root: patch.setattr(listing, "PACKAGES", ("no-such-package",)),
                "no-such-package  missing  run: pip install no-such-package",
            ),
            (
                lambda patch, root: patch.setattr(sources, "status", lambda: [LOST]),
                "data clipart     missing  clipart-svg 2022, GPL-2+; run apt",
            ),
            (
                lambda patch, root: patch.setattr(listing.os, "access", lambda *_: False),
                "cache            missing  ",
            ),
        ],
        ids=["experiments", "a package", "data", "a writable cache"],
    )
    def test_names_what_is_missing(self, checkout, status, monkeypatch, break_it, line):
        status(Row())
        if line.startswith("experiments") is False:
            made_up_book.add(checkout, "a/one")
        break_it(monkeypatch, checkout)
        text, sound = listing.doctor()
        assert not sound
        assert " ".join(line.split()) in " ".join(text.split())
