"""The embedded collections: their readers on small inputs, and their promises on the real data."""

import pickle

import numpy as np
import pytest

from towers import data
from towers.data import bundled, clipart, emoji, stamps
from towers.data.errors import DataError


@pytest.mark.parametrize(
    ("title", "caption"),
    [
        ("Apple with worm", "Apple with worm"),
        ("Clipart by Nicu Buculei - w_cloud", "w cloud"),
        ("smiley111", "smiley"),
        ("arrow-down-seagreen", "arrow down seagreen"),
        ("bread_01.svg", "bread"),
        ("untitled", ""),
        ("Part of the Flat Icon Collection (Wed Aug 25 23:29:46 2004)", ""),
        ("Lemon SVG theme", ""),
        ("12", ""),
        ("", ""),
    ],
)
def test_titles_become_captions_or_nothing(title, caption):
    assert clipart._title(title) == caption


def metadata(title: str = "", creator: str = "", licence: str = "", keywords: str = "") -> bytes:
    """A drawing with Open Clip Art's metadata."""
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords.split())
    mark = f'<cc:license rdf:resource="{licence}"/>' if licence else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><metadata><rdf:RDF><cc:Work>'
        f"<dc:title>{title}</dc:title><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"
        f"<dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:creator>{mark}"
        '</cc:Work></rdf:RDF></metadata><rect width="5" height="9"/></svg>'
    ).encode()


def test_reads_words_even_where_prefixes_are_declared_nowhere():
    words = clipart.read_words(metadata("Tulip", "Ann", "http://x/PublicDomain", "plant flower"))
    assert (words.title, words.creator, words.keywords) == ("Tulip", "Ann", ["plant", "flower"])
    assert clipart.PUBLIC_DOMAIN.search(words.licence)


def test_file_names_serve_where_a_title_names_a_set(tmp_path):
    for name in ("apple", "bread", "cheese", "dates", "eggs_01"):
        (tmp_path / f"{name}_ann_miller.svg").write_bytes(metadata("My Food", "Ann Miller"))
    found = clipart.read(tmp_path)
    assert [draft.captions["en"] for draft in found.drafts] == [
        ("apple",), ("bread",), ("cheese",), ("dates",), ("eggs",),
    ]  # fmt: skip
    assert found.mended["shared title left aside"] == 5


def test_other_licences_and_wordless_files_are_dropped(tmp_path):
    (tmp_path / "tulip.svg").write_bytes(metadata("Tulip", licence="http://x/GPL/2.0/"))
    (tmp_path / "1.svg").write_bytes(metadata())
    found = clipart.read(tmp_path)
    assert found.drafts == []
    assert found.dropped["licence not public domain"] == 1
    assert found.dropped["no words"] == 1


def test_the_same_words_are_kept_a_limited_number_of_times(tmp_path):
    for number in range(clipart.MOST + 5):
        (tmp_path / f"star_{number}.svg").write_bytes(metadata())
    found = clipart.read(tmp_path)
    assert len(found.drafts) == clipart.MOST
    assert found.dropped[f"same words as {clipart.MOST} others"] == 5


def test_stamp_captions_by_language():
    text = "A red apple.\nfr.utf8=Une pomme  rouge.\nde.utf8=\nbroken line\npt_BR.utf8=Uma maçã.\n"
    assert stamps.read_captions(text) == {
        "en": "A red apple.",
        "fr": "Une pomme rouge.",
        "pt_BR": "Uma maçã.",
    }
    assert stamps.read_captions("") == {}


def test_emoji_names_are_words_and_one_concept_is_one_sequence():
    assert emoji._spoken(":red_apple:") == "red apple"
    assert emoji.without_selector((0x2764, 0xFE0F)) == (0x2764,)
    found = emoji.concepts()
    assert found[(0x1F34E,)]["en"][0] == "red apple"
    assert found[(0x1F34E,)]["de"] == ("roter apfel",)
    names = [captions["en"][0] for captions in found.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["clipart:x", "stamps:fr", "nosuch", "emoji:apple", "samples:x"])
def test_unknown_names_are_refused_in_one_line(name):
    with pytest.raises(DataError) as error:
        data.load(name)
    assert "\n" not in str(error.value)


EXPECTED = {  # items at least, languages at least, classes
    "stamps": (750, 60, 16),
    "emoji:openmoji": (1800, 14, 1800),
    "emoji:noto": (1800, 14, 1800),
    "digits": (1797, 0, 10),
    "samples": (100, 0, 1000),
    "clipart": (4000, 1, 0),
    "clipart:categories": (4000, 1, 20),
}


@pytest.mark.parametrize("name", EXPECTED)
class TestRealCollections:
    def test_is_as_large_as_promised(self, name):
        items, languages, classes = EXPECTED[name]
        found = data.load(name)
        assert len(found) >= items
        assert len(found.languages()) >= languages
        assert len(found.classes) >= classes
        assert found.report.found == found.report.kept + sum(found.report.dropped.values())

    def test_pictures_are_opaque_rgb_of_bounded_size(self, name):
        found = data.load(name).take(12, seed=1)
        for index in range(len(found)):
            picture = found.image(index)
            assert picture.mode == "RGB"
            assert 8 <= max(picture.size) <= 2348  # of the largest stamp
            assert np.asarray(picture).std() > 0

    def test_splits_are_disjoint_and_groups_stay_together(self, name):
        found = data.load(name)
        train, test = found.split("train"), found.split("test")
        assert len(train) + len(test) == len(found)
        groups = [{item.group for item in part if item.group} for part in (train, test)]
        assert not groups[0] & groups[1]
        assert 0.1 < len(test) / len(found) < 0.3

    def test_items_travel_between_processes(self, name):
        item = data.load(name)[0]
        assert pickle.loads(pickle.dumps(item)) == item

    def test_a_second_load_is_the_same(self, name):
        assert data.load(name).digest == data.load(name).digest


def test_a_concept_is_on_one_side_in_every_style():
    sides = [{i.group for i in data.load(f"emoji:{s}[test]")} for s in emoji.STYLES]
    others = [{i.group for i in data.load(f"emoji:{s}[train]")} for s in emoji.STYLES]
    assert not sides[0] & others[1]
    assert not sides[1] & others[0]
    assert len(sides[0] & sides[1]) > 300


def test_digits_are_dark_on_white():
    picture = np.asarray(bundled.digits().image(0))
    assert picture[0, 0].min() > 200
    assert picture.min() < 60
