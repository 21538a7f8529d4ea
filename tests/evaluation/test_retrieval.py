"""Retrieval against loops over every query, and what several captions and ties must do."""

import dataclasses

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers.evaluation import retrieval
from towers.metrics import chance_at_k, intervals

CAPTIONS = [("a red owl", "owl"), ("two boats",), (), ("cat", "tiny cat", "kitten"), ("the sea",)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def named(rows):
    """Rows by "text R@1" or "text candidates"."""
    short = {"recall": "R@{k}", "candidates": "candidates"}
    return {
        f"{row.at['direction'].split()[0]} {short[row.metric].format(**row.at)}": row
        for row in rows
    }


def embedded(dual, toys, prompt=""):
    """Pictures with captions, all captions, and whose each is: by the towers themselves."""
    kept = [i for i, texts in enumerate(toys.captions()) if texts]
    texts = [prompt + text for i in kept for text in toys.captions()[i]]
    owner = [n for n, i in enumerate(kept) for _ in toys.captions()[i]]
    with torch.no_grad():
        images = dual.embed_images(torch.stack([dual.image.transform(toys.image(i)) for i in kept]))
        words = [dual.embed_texts(dual.text.tokenize([text]))[0] for text in texts]
    return images.double().numpy(), torch.stack(words).double().numpy(), owner


def hit(scores, right, k):
    """Whether a right one is among the k best of scores without ties."""
    return any(index in right for index in np.argsort(scores)[::-1][:k])


@pytest.mark.parametrize("prompt", ["", "a photo of"])
def test_both_directions_equal_a_loop_over_queries(prompt):
    dual, toys = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    images, texts, owner = embedded(dual, toys, f"{prompt} " if prompt else "")
    found = named(retrieval.evaluate(dual, toys, ks=(1, 2, 3), prompt=prompt, dtype="fp32"))
    for k in (1, 2, 3):
        of_image = [
            hit(texts @ image, [t for t, o in enumerate(owner) if o == i], k)
            for i, image in enumerate(images)
        ]
        of_text = [hit(images @ text, [owner[t]], k) for t, text in enumerate(texts)]
        assert found[f"text R@{k}"].value == np.mean(of_image)
        assert found[f"image R@{k}"].value == np.mean(of_text)


def test_intervals_resample_pictures_and_not_captions():
    dual, toys = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    images, texts, owner = embedded(dual, toys)
    hits = [float(hit(images @ text, [owner[t]], 2)) for t, text in enumerate(texts)]
    assert 0 < sum(hits) < len(hits)
    row = named(retrieval.evaluate(dual, toys, ks=[2], seed=3, dtype="fp32"))["image R@2"]
    assert (row.low, row.high) == intervals.proportion(hits, seed=3, groups=owner)
    assert (row.low, row.high) != intervals.proportion(hits, seed=3)


def test_near_duplicates_are_drawn_together():
    dual, made = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    items = [
        dataclasses.replace(item, group="twins" if number < 2 else None)
        for number, item in enumerate(made)
    ]
    toys = dataclasses.replace(made, items=tuple(items))
    images, texts, owner = embedded(dual, toys)
    hits = [float(hit(images @ text, [owner[t]], 2)) for t, text in enumerate(texts)]
    rows = named(retrieval.evaluate(dual, toys, ks=[2], seed=3, dtype="fp32"))
    row = rows["image R@2"]
    together = intervals.proportion(hits, groups=np.maximum(owner, 1), seed=3)
    assert (row.low, row.high) == together
    assert together != intervals.proportion(hits, groups=owner, seed=3)


def test_counts_chance_and_names_belong_to_the_direction():
    found = named(retrieval.evaluate(toy_towers.dual(), toy_towers.collection(CAPTIONS)))
    assert found["text R@1"].n == 4
    assert found["text candidates"].value == 7
    assert found["image R@1"].n == 7
    assert found["image candidates"].value == 4
    assert found["text R@5"].chance == chance_at_k([2, 1, 3, 1], 7, [5])[5]
    assert found["image R@1"].chance == 1 / 4
    assert {(row.data, row.at["language"]) for row in found.values()} == {("toys", "en")}
    assert {row.model for row in found.values()} == {"toy"}
    row = found["image R@5"]
    assert (row.value, row.high) == (1, 1)  # five places, four candidates
    assert 0 < row.low < 1  # and yet four pictures prove little


def test_a_collapsed_model_scores_chance():
    dual = toy_towers.dual()
    with torch.no_grad():
        dual.text_proj.weight.zero_()
    found = named(retrieval.evaluate(dual, toy_towers.collection(CAPTIONS)))
    for direction in retrieval.DIRECTIONS:
        for k in (1, 5, 10):
            row = found[f"{direction.split()[0]} R@{k}"]
            assert row.value == pytest.approx(row.chance, abs=1e-12)


def test_captions_with_the_same_words_tie_exactly():
    toys = toy_towers.collection([("owl",)] * 5)
    found = named(retrieval.evaluate(toy_towers.dual(), toys, ks=(1, 2)))
    assert found["text R@1"].value == pytest.approx(1 / 5, abs=1e-12)
    assert found["text R@2"].value == pytest.approx(2 / 5, abs=1e-12)


def test_a_language_brings_its_own_pictures_and_captions():
    toys = toy_towers.collection(
        [{"en": ("owl",), "fr": ("hibou",)}, {"en": ("cat",)}, {"fr": ("mer", "la mer")}]
    )
    found = named(retrieval.evaluate(toy_towers.dual(), toys, language="fr"))
    assert (found["text R@1"].n, found["image R@1"].n) == (2, 3)
    assert found["image R@1"].at["language"] == "fr"
    with pytest.raises(ValueError, match=r"^expected at least 2 pictures with captions in 'de'"):
        retrieval.evaluate(toy_towers.dual(), toys, language="de")


def test_tiles_change_nothing(monkeypatch):
    toys = toy_towers.collection(CAPTIONS)
    whole = retrieval.evaluate(toy_towers.dual(), toys)
    monkeypatch.setattr(retrieval, "ROWS", 2)
    assert retrieval.evaluate(toy_towers.dual(), toys) == whole


def test_the_prompt_is_a_condition_where_there_is_one():
    toys = toy_towers.collection(CAPTIONS)
    rows = retrieval.evaluate(toy_towers.dual(), toys, prompt="a photo of")
    assert {row.at["prompt"] for row in rows} == {"a photo of"}
    assert not any("prompt" in row.at for row in retrieval.evaluate(toy_towers.dual(), toys))


def test_hits_average_to_the_recalls_and_say_what_they_are():
    dual, toys = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    rows = named(retrieval.evaluate(dual, toys, ks=(2,)))
    hits = retrieval.hits(dual, toys, k=2)
    assert set(hits.metric) == {"recall"}
    assert set(hits.k) == {2}
    for direction, own in hits.groupby("direction"):
        row = rows[f"{direction.split()[0]} R@2"]
        assert (own.hit.mean(), own.chance.mean()) == pytest.approx((row.value, row.chance))


def test_records_name_a_language_in_one_spelling():
    toys = toy_towers.collection([{"pt_BR": ("a",)}] * 2)
    ours, given = (
        retrieval.evaluate(toy_towers.dual(), toys, language=code, ks=(1,))
        for code in ("pt_BR", "pt-br")
    )
    assert ours == given


@pytest.mark.parametrize("direction", retrieval.DIRECTIONS)
def test_neighbours_are_the_best_candidates_in_order(direction):
    dual, toys = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    images, texts, owner = embedded(dual, toys)
    kept = [0, 1, 3, 4]  # the pictures with captions
    every = [text for i in kept for text in CAPTIONS[i]]
    found = retrieval.neighbours(dual, toys, direction=direction, queries=99, k=3, dtype="fp32")
    assert len(found) == len(kept if direction == "text retrieval" else every)
    for one in found:
        if direction == "text retrieval":
            scores = texts @ images[kept.index(one.item)]
            best = np.argsort(scores)[::-1][:3]
            assert one.text is None
            assert one.texts == tuple(every[t] for t in best)
            assert one.items == tuple(kept[owner[t]] for t in best)
        else:
            asked = every.index(one.text)
            scores = images @ texts[asked]
            best = np.argsort(scores)[::-1][:3]
            assert one.item == kept[owner[asked]]
            assert one.items == tuple(kept[i] for i in best)
            assert one.texts == tuple(CAPTIONS[kept[i]][0] for i in best)
        assert one.sims == pytest.approx(scores[best], abs=1e-6)  # float32 against float64
        assert one.right == tuple(item == one.item for item in one.items)


def test_neighbours_are_drawn_by_seed_without_repeats():
    dual, toys = toy_towers.dual(), toy_towers.collection(CAPTIONS)
    draws = [retrieval.neighbours(dual, toys, queries=4, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len({one.text for one in draws[0]}) == 4
    with pytest.raises(ValueError, match=r"^expected a direction"):
        retrieval.neighbours(dual, toys, direction="sound retrieval")
