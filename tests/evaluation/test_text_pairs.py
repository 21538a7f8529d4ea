"""Retrieval of a text's partner: by hand, with doubles, against chance."""

from dataclasses import replace

import numpy as np
import pytest

from tests import toy_towers
from towers import metrics, models
from towers.evaluation import embeds, text_pairs


class Dual:
    name = "toy"


@pytest.fixture
def placed(monkeypatch):
    """Texts embedded as their first letter says, on a circle."""

    def of_texts(dual, texts, dtype):
        angles = np.array([(ord(text[0]) - ord("a")) / 10 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    monkeypatch.setattr(embeds, "of_texts", of_texts)


def recalls(rows):
    """Values by k."""
    assert {(row.metric, row.at["direction"]) for row in rows} == {("recall", "text to text")}
    return {row.at["k"]: row.value for row in rows}


def test_partners_that_lie_nearest_are_found_both_ways(placed):
    pairs = [("a one", "a two"), ("d one", "d two"), ("h one", "h two")]
    rows = text_pairs.evaluate(Dual(), pairs, name="toys", ks=(1, 2))
    assert recalls(rows) == {1: 1, 2: 1}
    assert rows[0].chance == pytest.approx(1 / 3)


def test_a_partner_that_lies_elsewhere_is_missed_one_way(placed):
    """The second text of the first pair lies with the third: only the other way is it near."""
    pairs = [("a", "h far"), ("d", "d two"), ("h", "h two")]
    found = recalls(text_pairs.evaluate(Dual(), pairs, name="toys", ks=(1,)))
    # there: a -> d (missed), d -> d, h -> a tie of both h; back: h -> h (missed), d, h
    assert found[1] == pytest.approx(np.mean([0, 1, 0.5, 0, 1, 1]))


def test_any_text_with_the_partners_words_is_right(placed):
    pairs = [("a", "x"), ("b", "x"), ("y", "z")]
    (row,) = text_pairs.evaluate(Dual(), pairs, name="toys", ks=(1,))
    assert row.chance == pytest.approx(metrics.chance_at_k([2, 2, 1, 1, 1, 1], 3, [1])[1])


def test_one_pair_is_too_few(placed):
    with pytest.raises(ValueError, match="at least 2 pairs of texts, got 1"):
        text_pairs.evaluate(Dual(), [("a", "b")], name="toys")


def test_a_text_tower_is_asked_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    tower, texts = toy_towers.text_tower(), ["an owl", "two boats", "ein Eule", "zwei Boote"]
    features = models.features(tower, texts, dtype="fp32", progress=False)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert np.allclose(embeds.of_texts(tower, texts, "fp32"), expected, atol=1e-6)
    pairs = [*zip(texts[:2], texts[2:], strict=True)]
    rows = text_pairs.evaluate(tower, pairs, name="toys", ks=(1,), dtype="fp32")
    right = (expected[:2] @ expected[2:].T).argmax(1) == [0, 1]
    back = (expected[2:] @ expected[:2].T).argmax(1) == [0, 1]
    assert recalls(rows)[1] == pytest.approx(np.mean([right, back]))
    assert rows[0].model == "toy:text"


def test_translations_are_first_captions_of_pictures_with_both():
    toys = toy_towers.collection([("one", "uno"), (), ("two",)])
    second = [{"de": ("eins",)}, {"de": ("leer",)}, {}]
    items = [
        replace(item, captions=dict(item.captions) | more)
        for item, more in zip(toys.items, second, strict=True)
    ]
    assert text_pairs.translations(replace(toys, items=tuple(items)), "de") == [("one", "eins")]


def test_records_say_the_language_of_translations(placed):
    """And have each their own chance."""
    for code, count in (("de", 3), ("ru", 2)):
        pairs = [(f"{letter} one", f"{letter} two") for letter in "adh"[:count]]
        (row,) = text_pairs.evaluate(Dual(), pairs, name="toys", language=code, ks=(1,))
        assert row.at == {"direction": "text to text", "language": code, "k": 1}
        assert (row.data, row.chance) == ("toys", pytest.approx(1 / count))
