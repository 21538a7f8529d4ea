"""Language codes have one spelling, whichever they came in."""

import pytest

from tests import toy_towers
from towers.data.languages import language_code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("en", "en"), (" DE ", "de"), ("pt-br", "pt_BR"), ("PT_BR", "pt_BR"), ("zh-CN", "zh_CN"),
        ("zh-hant-tw", "zh_Hant_TW"), ("sr_LATN", "sr_Latn"), ("es-419", "es_419"),
        ("ca@valencia", "ca@valencia"), ("SR@Latin", "sr@latin"), ("ca-VALENCIA", "ca_valencia"),
        ("be@tarask", "be@tarask"), ("shs", "shs"),
    ],
)  # fmt: skip
def test_a_tag_has_one_spelling(given, code):
    assert language_code(given) == code
    assert language_code(code) == code


@pytest.mark.parametrize("text", ["", "e", "english", "not a tag", "pt--br", "pt_", "en_a", "é"])
def test_what_is_no_tag_has_none(text):
    assert language_code(text) is None


def test_the_codes_of_embedded_collections_are_spelt_so():
    from towers.data.emoji import concepts

    codes = {code for names in concepts().values() for code in names}
    stamps = {"pt_BR", "zh_CN", "zh_TW", "en_GB", "ca@valencia", "sr@latin", "nn"}
    for code in codes | stamps:
        assert language_code(code) == code


def test_a_collection_is_asked_in_either_spelling():
    toys = toy_towers.collection([{"pt_BR": ("a",)}, {"en": ("b",), "x y": ("c",)}])
    for code in ("pt_BR", "pt-br", "PT_br"):
        assert toys.captions(code) == [("a",), ()]
    assert toys.captions("x y") == [(), ("c",)]  # a key that is no code is found as it is
    assert toys.captions("fr") == [(), ()]
