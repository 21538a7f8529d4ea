"""Zero-shot classification against its formula, chance, and a reading of every row."""

import dataclasses

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers.evaluation import zero_shot
from towers.metrics import intervals

LABELS = ["owl", "cat", "owl", "sea", None, "cat", "owl"]
PROMPTS = {"class name": ["{}"], "photo": ["a photo of a {}."], "both": ["{}", "a photo of a {}."]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def toys():
    return toy_towers.collection([()] * len(LABELS), labels=LABELS)


def text_embeds(dual, *texts):
    with torch.no_grad():
        return torch.cat([dual.embed_texts(dual.text.tokenize([text])) for text in texts])


def named(rows):
    """Rows by "metric (prompt)", accuracies with their k: "accuracy 1 (photo)"."""
    return {
        " ".join([row.metric, *([str(row.at["k"])] if row.metric == "accuracy" else []),
                  f"({row.at['prompt']})"]): row
        for row in rows
    }  # fmt: skip


def test_an_ensemble_is_the_normalised_mean_of_unit_embeddings():
    dual = toy_towers.dual()
    found = zero_shot.class_embeddings(dual, ["owl", "cat"], ["{}", "one {}", "{}s"], "fp32")
    filled = [("owl", "one owl", "owls"), ("cat", "one cat", "cats")]
    for row, texts in zip(found, filled, strict=True):
        mean = text_embeds(dual, *texts).double().mean(dim=0)
        # two roundings of float32
        torch.testing.assert_close(row.double(), mean / mean.norm(), atol=1e-6, rtol=0)


def test_one_template_is_that_text_and_templates_have_no_order():
    dual = toy_towers.dual()
    single = zero_shot.class_embeddings(dual, ["owl"], ["an {}"], "fp32")
    torch.testing.assert_close(single, text_embeds(dual, "an owl"), atol=1e-6, rtol=0)
    forth = zero_shot.class_embeddings(dual, ["owl"], ["an {}", "{}"], "fp32")
    back = zero_shot.class_embeddings(dual, ["owl"], ["{}", "an {}"], "fp32")
    torch.testing.assert_close(forth, back, atol=1e-6, rtol=0)


def test_class_names_are_taken_as_they_are():
    dual = toy_towers.dual()
    braces = zero_shot.class_embeddings(dual, ["{} Set"], ["{a} {}"], "fp32")
    torch.testing.assert_close(braces, text_embeds(dual, "{a} {} Set"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{} and {}"]])
def test_templates_need_one_place_for_the_name(templates):
    with pytest.raises(ValueError, match=r"each template with one {}"):
        zero_shot.class_embeddings(toy_towers.dual(), ["owl"], templates)


def test_probabilities_are_a_softmax_at_the_learned_scale():
    dual, pictures = toy_towers.dual(), toys()
    with torch.no_grad():
        dual.log_scale.fill_(np.log(50.0))
        images = dual.embed_images(
            torch.stack([dual.image.transform(pictures.image(i)) for i in range(7)])
        )
    logits = 50 * images.double() @ text_embeds(dual, "a cat", "a sea").double().T
    found = zero_shot.predict(dual, pictures, ["cat", "sea"], ["a {}"], "fp32")
    # similarities round at 1e-7, times the scale
    np.testing.assert_allclose(found, torch.softmax(logits, dim=1).numpy(), atol=2e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_every_row_says_what_it_measures():
    dual, pictures = toy_towers.dual(seed=4), toys()
    rows = named(zero_shot.evaluate(dual, pictures, PROMPTS, ks=(1, 2, 3)))
    labelled = [i for i, label in enumerate(LABELS) if label]
    truth = pictures.labels[labelled]
    right = {}
    for name, templates in PROMPTS.items():
        guesses = zero_shot.predict(dual, pictures, pictures.classes, templates)[labelled]
        right[name] = guesses.argmax(axis=1) == truth
        top = rows[f"accuracy 1 ({name})"]
        assert (top.value, top.n) == (right[name].mean(), 6)
        assert (top.low, top.high) == intervals.clopper_pearson(right[name].sum(), 6)
        second = np.argsort(-guesses, axis=1)[:, :2] == truth[:, None]
        assert rows[f"accuracy 2 ({name})"].value == second.any(axis=1).mean()
        per_class = [right[name][truth == number].mean() for number in range(3)]
        row = rows[f"accuracy per class ({name})"]
        assert row.value == pytest.approx(np.mean(per_class), abs=1e-12)
        assert row.low <= row.value <= row.high
    assert len({hits.sum() for hits in right.values()}) > 1  # else no gain could be wrong
    for name in ("photo", "both"):
        gain = right[name].mean() - right["class name"].mean()
        assert rows[f"accuracy gain ({name})"].value == pytest.approx(gain, abs=1e-12)
    assert "accuracy gain (class name)" not in rows
    assert {row.at["over"] for name, row in rows.items() if "gain" in name} == {"class name"}
    assert rows["accuracy 1 (both)"].chance == rows["accuracy per class (both)"].chance == 1 / 3
    assert rows["accuracy 2 (both)"].chance == 2 / 3
    assert not any(name.startswith("accuracy 3") for name in rows)  # of three classes all are


def test_bootstraps_draw_within_classes_and_whole_groups():
    dual, labels = toy_towers.dual(seed=4), (LABELS * 6)[:40]
    made = toy_towers.collection([()] * 40, labels=labels)
    items = [
        dataclasses.replace(item, group=f"twins {number // 2:02}")
        for number, item in enumerate(made)
    ]
    pictures = dataclasses.replace(made, items=tuple(items))
    rows = named(zero_shot.evaluate(dual, pictures, PROMPTS, seed=2))
    labelled = np.flatnonzero(pictures.labels >= 0)
    truth, same = pictures.labels[labelled], {"groups": labelled // 2, "seed": 2}
    plain, photo = (
        (zero_shot.predict(dual, pictures, pictures.classes, templates)[labelled].argmax(axis=1)
         == truth).astype(float)
        for templates in (PROMPTS["class name"], PROMPTS["photo"])
    )  # fmt: skip
    row = rows["accuracy per class (photo)"]
    assert (row.low, row.high) == intervals.proportion_per_class(photo, truth, **same)
    row = rows["accuracy gain (photo)"]
    assert (row.low, row.high) == intervals.paired_difference(photo, plain, **same)
    assert row.low < row.high  # else no grouping could show


def test_a_collapsed_model_scores_chance():
    dual = toy_towers.dual()
    with torch.no_grad():
        dual.image_proj.weight.zero_()
    rows = named(zero_shot.evaluate(dual, toys(), PROMPTS, ks=(1, 2)))
    for name in PROMPTS:
        assert rows[f"accuracy 1 ({name})"].value == pytest.approx(1 / 3, abs=1e-12)
        assert rows[f"accuracy 2 ({name})"].value == pytest.approx(2 / 3, abs=1e-12)
        assert rows[f"accuracy per class ({name})"].value == pytest.approx(1 / 3, abs=1e-12)


def test_all_wrong_still_has_an_interval_with_some_width():
    dual, pictures = toy_towers.dual(), toys()
    guesses = zero_shot.predict(dual, pictures, pictures.classes, ["{}"]).argmax(axis=1)
    wrong = [pictures.classes[(guess + 1) % 3] for guess in guesses]
    renamed = toy_towers.collection([()] * 7, labels=wrong, class_names=pictures.classes)
    rows = named(zero_shot.evaluate(dual, renamed, {"name": ["{}"]}))
    row = rows["accuracy per class (name)"]
    assert (row.low, row.value) == (0, 0)
    assert row.high == intervals.clopper_pearson(0, 7).high


def test_other_names_for_the_same_classes():
    dual, pictures = toy_towers.dual(), toys()
    spoken = [f"{name}!" for name in pictures.classes]
    renamed = zero_shot.evaluate(dual, pictures, {"plain": ["{}"]}, class_names=spoken)
    written = zero_shot.evaluate(dual, pictures, {"plain": ["{}!"]})
    assert renamed == written


@pytest.mark.parametrize(
    ("prompts", "names"), [({}, None), (PROMPTS, ["owl"]), (PROMPTS, ["owl"] * 4)]
)
def test_what_cannot_be_classified_is_refused(prompts, names):
    with pytest.raises(ValueError, match=r"^expected prompts and 3 class names"):
        zero_shot.evaluate(toy_towers.dual(), toys(), prompts, class_names=names)
