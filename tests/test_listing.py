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


def test_the_list_of_experiments_is_one_line_each_of_80_characters_at_most(checkout, tmp_path):
    yaml = made_up_book.YAML.replace("Tiny", "A title of far too many words to be shown")
    names = [f"foundations/{'long_' * 9}name", "foundations/one", "lilt/two"]
    for name in names:
        made_up_book.add(checkout, name, yaml=yaml)
    header, *lines = listing.experiments("smoke", tmp_path).splitlines()
    assert header.split("  ")[0] == "NAME"
    assert max(map(len, (header, *lines))) <= 80
    assert [line.split()[0] for line in lines] == ["foundations/long_long_long_lo...", *names[1:]]
    state, title = header.index("STATE"), header.index("TITLE")
    assert {line[state:title].strip() for line in lines} == {"never run"}
    assert {line[title:] for line in lines} == {"A title of far t..."}


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
