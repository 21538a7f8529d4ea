"""One grammar for names: parts, typed options, what is written back, and what is refused."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers import names
from towers.names import Name, Range

WORDS = st.text("abcdefgh-_0123456789.", min_size=1, max_size=8)
VALUES = st.text("abcdefgh:/,.0123456789=", max_size=8)


def tower(
    place: str, *, size: names.Size, depth: names.Depth = 2,
    drop: Annotated[float, Range(0, 1)] = 0, saving: bool = False,
    pool: Literal["mean", "last"] | None = None, word: str = "x",
    layers: tuple[names.Depth, names.Depth] = (1, 1), many: tuple[str, ...] = (),
):  # fmt: skip
    """Whatever has options."""


@given(st.one_of(st.just(""), WORDS), WORDS, st.dictionaries(WORDS, VALUES, max_size=4))
def test_a_name_comes_back_from_its_parts(scheme, place, options):
    name = Name(scheme, place, options)
    assert names.parse(str(name)) == name


def test_what_is_said_again_keeps_its_place_and_the_rest_comes_last():
    assert names.parse("a:b?x=1&y=2").having(x=3) == "a:b?x=3&y=2"
    assert names.parse("a:b?x=1").having(y=True, z=(1, 2)) == "a:b?x=1&y=true&z=1,2"
    assert names.parse("a:b").having(y="c") == names.write("a:b", y="c") == "a:b?y=c"


def test_a_colon_behind_the_question_mark_is_no_scheme():
    assert names.parse("norms?layers=4:") == Name("", "norms", {"layers": "4:"})
    assert names.parse("a:b:c?x=d:e") == Name("a", "b:c", {"x": "d:e"})


@pytest.mark.parametrize("form", ["file:{}", "timm:resnet/{}"])
def test_a_path_that_exists_wins(tmp_path, form):
    path = tmp_path / "what?resize=crop"
    name = form.format(path)
    assert names.parse(name).options == {"resize": "crop"}
    path.touch()
    assert (names.parse(name).options, str(names.parse(name))) == ({}, name)
    assert names.parse(name + "?resize=pad").options == {"resize": "pad"}
    assert names.parse(name + "?resize=pad").place.endswith("what?resize=crop")


def test_a_path_in_an_option_stays_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").touch()
    assert names.parse("a:b?tokens=x:/model").options == {"tokens": "x:/model"}
    assert names.parse(f"a:b?tokens=/{tmp_path}").options == {"tokens": f"/{tmp_path}"}


def test_a_path_below_home_wins_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a?b=c").touch()
    assert names.parse("file:~/a?b=c").options == {}


def test_a_question_mark_without_a_key_behind_it_belongs_to_a_pattern():
    parts = names.parse("shards:a/0?.tar?max_bad=0.2", pattern=True)
    assert (parts.place, parts.options) == ("a/0?.tar", {"max_bad": "0.2"})
    assert names.parse("shards:??.tar", pattern=True) == Name("shards", "??.tar", {})
    with pytest.raises(ValueError, match="key=value"):
        names.parse("shards:??.tar")


def test_options_have_the_types_of_the_signature():
    said = "size=9&depth=256&drop=0.5&saving=true&pool=last&word=y&layers=3,4&many=a,b,c"
    assert names.options(tower, names.parse(f"t:vit?{said}")) == {
        "size": 9, "depth": 256, "drop": 0.5, "saving": True, "pool": "last", "word": "y",
        "layers": (3, 4), "many": ("a", "b", "c"),
    }  # fmt: skip
    assert names.options(tower, names.parse("t:vit?size=1")) == {"size": 1}


@pytest.mark.parametrize(("said", "told"), [
    ("", ("size=", "missing")),
    ("size=1&size=2", ("once", "size")),
    ("size=1&", ("key=value", "''")),
    ("size", ("key=value", "'size'")),
    ("=1", ("key=value", "'=1'")),
    ("size=0", ("size", "1 to 65536", "'0'")),
    ("size=65537", ("size", "1 to 65536", "'65537'")),
    ("size=1.5", ("size", "whole number", "'1.5'")),
    ("size=٣", ("size", "whole number")),
    ("size=1&depth=257", ("depth", "1 to 256", "'257'")),
    ("size=1&drop=nan", ("drop", "from 0 to 1", "'nan'")),
    ("size=1&drop=1.1", ("drop", "from 0 to 1")),
    ("size=1&drop=-.1", ("drop", "from 0 to 1")),
    ("size=1&drop=--", ("drop", "from 0 to 1")),
    ("size=1&saving=1", ("saving", "true or false", "'1'")),
    ("size=1&pool=max", ("pool", "mean or last", "'max'")),
    ("size=1&word=", ("word", "a word", "''")),
    ("size=1&layers=1", ("layers", "2 values", "1 to 256", "'1'")),
    ("size=1&layers=1,0", ("layers", "2 values", "'1,0'")),
    ("size=1&many=a,", ("many", "words", "'a,'")),
    ("size=1&place=3", ("'place'", "size, depth")),
    ("size=1&dept=3", ("'dept'", "size, depth", "did you mean depth?")),
    ("size=1&" + "y" * 500 + "=2", ("yyy",)),
])  # fmt: skip
def test_an_unfit_option_is_named_with_what_was_expected(said, told):
    with pytest.raises(ValueError, match="expected") as error:
        names.options(tower, names.parse(f"t:vit{said and '?'}{said}"))
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    assert [part for part in told if part not in message] == []


def test_another_word_is_told_what_there_is():
    assert names.pick({"vit": 1}, "vit", "a tower", "vit") == 1
    with pytest.raises(ValueError, match=r"a tower among vit, bow; got 'vot' .*did you mean vit"):
        names.pick({"vit": 1, "bow": 2}, "vot", "a tower", "vot")
