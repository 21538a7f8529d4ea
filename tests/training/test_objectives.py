"""What is learnt from features that are computed once, and from another tower."""

import dataclasses

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers import data, models, training
from towers.metrics import representational_similarity
from towers.training import loading, logs, making, objectives, samples
from towers.training.samples import Lookup

VIT = "scratch:vit?image=16&patch=8&width=16&depth=1&heads=2"
TEACHER = "scratch:vit?image=16&patch=8&width=24&depth=1&heads=2&seed=5"
TAUGHT = models.image_tower(TEACHER)
BOW = "scratch:bow?width=16&context=16&vocabulary=514"
CAPTIONS = [{"en": (f"owl {n}", f"an owl {n}"), "fr": (f"hibou {n}",)} for n in range(20)]
FROZEN = training.Recipe(
    image=VIT, text=BOW, data=("toys",), policy="projections", embed=4, steps=8, batch=8, warmup=2,
    cache_features=True,
)  # fmt: skip
DISTILS = training.Recipe(
    image=VIT, text=BOW, data=("digits",), objective="distillation", teacher=TEACHER, steps=200,
    batch=32, lr=3e-3, warmup=5, embed=4, augment="mirror",
)  # fmt: skip


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    """Toys and few digits in the place of data, by name, and an own cache."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    digits = data.load("digits")
    loaded = {
        "toys": toy_towers.collection(CAPTIONS), "others": toy_towers.collection(CAPTIONS[:9]),
        "digits": digits[:200], "unseen": digits[200:260],
    }  # fmt: skip
    monkeypatch.setattr(loading.data, "load", lambda name: loaded[name])
    return loaded


def weights(dual):
    return torch.cat([tensor.detach().flatten() for tensor in dual.own_weights.values()])


def changed(**changes):
    return training.train(dataclasses.replace(FROZEN, **changes), progress=False)


def test_features_that_are_looked_up_train_as_features_that_are_computed(tmp_path):
    once = changed()
    always = changed(cache_features=False)
    assert torch.allclose(weights(once.dual), weights(always.dual), atol=1e-4)
    losses = [[line["loss"] for line in logs.read(each.folder)] for each in (once, always)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert not torch.equal(weights(once.dual), weights(training.pair(FROZEN)))


def test_each_caption_is_read_once(monkeypatch):
    read, real = [], models.TextTower.tokenize
    monkeypatch.setattr(
        models.TextTower, "tokenize", lambda tower, texts: read.extend(texts) or real(tower, texts)
    )
    changed(steps=20)
    assert sorted(read) == sorted(text for each in CAPTIONS for text in each["en"])


def test_a_text_tower_that_moves_reads_in_every_update():
    pair = training.pair(dataclasses.replace(FROZEN, policy="image=locked,text=everything"))
    recipe = dataclasses.replace(FROZEN, policy="image=locked,text=everything")
    assert making.objective(recipe, pair, making.parts(recipe, pair)).read is None


def test_dropout_keeps_the_mean_and_is_drawn_for_each_side():
    dual, seen = toy_towers.dual(embed=toy_towers.WIDTH), []
    dual.embed_images = dual.embed_texts = lambda features: seen.append(features) or features
    objectives.Contrastive(dual, dropout=0.25)(torch.ones(1000, 20), torch.ones(1000, 20))
    assert seen[0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert seen[0].mean().item() == pytest.approx(1, abs=0.02)  # 5 standard errors
    assert not torch.equal(*seen)


def test_dropout_of_a_run_is_repeated_by_its_seed():
    first, again, other = (
        changed(dropout=0.4, checkpoint_every=every, seed=seed)
        for every, seed in ((1000, 0), (3, 0), (3, 1))
    )
    assert torch.equal(weights(first.dual), weights(again.dual))
    assert not torch.equal(weights(first.dual), weights(other.dual))
    assert not torch.equal(weights(first.dual), weights(changed().dual))


def test_what_will_be_tested_on_is_not_trained_on(toys):
    toys["tested"] = toys["toys"][2:3]
    recipe = dataclasses.replace(FROZEN, apart=("tested",))
    (images, _) = making.parts(recipe, training.pair(recipe))
    names = [item.name for item in toys["toys"]]
    assert [item.name for item in images.source.collection] == [*names[:2], *names[3:]]


def test_so_many_items_of_each_collection_are_trained_on_as_the_seed_draws_them():
    def drawn(**changes):
        recipe = dataclasses.replace(FROZEN, batch=2, **changes)
        source = making.parts(recipe, training.pair(recipe))[0].source
        return [
            item.name for part in getattr(source, "parts", [source]) for item in part.collection
        ]

    assert len(drawn(most=3)) == len(drawn(most=3, seed=1)) == 3
    assert drawn(most=3) != drawn(most=3, seed=1)
    assert len(drawn(most=3, data=("toys", "others"))) == 6
    with pytest.raises(training.TrainingError, match=r"at least most = 21 items .* got 20; lower"):
        drawn(most=21)


def test_a_squares_mirror_image_is_drawn_half_of_the_time(toys):
    transform = models.image_tower(VIT).transform
    plain = loading.pictures(["digits"], transform, mirror=False, teacher=TAUGHT)
    turned = loading.pictures(["digits"], transform, mirror=True, teacher=TAUGHT)
    rows, picks = np.arange(200), np.arange(200, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    straight, found = (each.read(rows, picks).images for each in (plain, turned))
    mirrored = [
        np.array_equal(one, other[:, ::-1]) for one, other in zip(found, straight, strict=True)
    ]
    kept = [np.array_equal(one, other) for one, other in zip(found, straight, strict=True)]
    assert all(either or other for either, other in zip(mirrored, kept, strict=True))
    assert 65 <= sum(kept) <= 135  # five standard deviations
    assert plain.digest != turned.digest


def test_squares_are_opened_once_and_only_while_they_fit(monkeypatch, toys):
    opened, real = [], type(toys["digits"]).image
    monkeypatch.setattr(
        type(toys["digits"]),
        "image",
        lambda self, row, *a: opened.append(row) or real(self, row, *a),
    )
    transform = models.image_tower(VIT).transform
    rows, picks = np.array([3, 3, 5]), np.arange(3, dtype=np.uint64)
    loading.pictures(["digits"], transform, mirror=True, teacher=TAUGHT).read(rows, picks)
    assert opened == [3, 5]
    monkeypatch.setattr(samples, "REMEMBERED", 1)
    loading.pictures(["digits"], transform, mirror=True, teacher=TAUGHT).read(rows, picks)
    assert opened == [3, 5, 3, 3, 5]


def test_what_was_never_trained_on_is_looked_at_without_dropout(toys):
    toys["held"] = toy_towers.collection([{"en": (f"a new owl {n}",)} for n in range(12)])
    found = []
    for dropout in (0.0, 0.4):
        done = changed(dropout=dropout, lr=1e-9, validation=("held",), evaluate_every=4)
        lines = [line["evaluation"] for line in logs.read(done.folder) if "evaluation" in line]
        assert len(lines) == 2
        found.append(lines[-1]["validation loss"])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_another_teacher_of_the_same_name_is_other_data(toys):
    transform, other = models.image_tower(VIT).transform, models.image_tower(TEACHER)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    digests = {
        loading.pictures(["digits"], transform, True, each).digest for each in (TAUGHT, other)
    }
    assert len(digests) == 2


def test_the_loss_of_a_distillation_is_one_minus_the_cosine():
    draws = np.random.default_rng(0)
    wanted = draws.normal(size=(6, 10)).astype(np.float32)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    dual = toy_towers.dual()
    objective = objectives.Distilled(dual, Lookup({str(n): n for n in range(6)}, wanted), seed=3)
    images = torch.from_numpy(draws.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    found = objective.loss(*objective(images, objective.tokenize(["5", "0", "0", "2"]))).item()
    with torch.no_grad():
        features = dual.image(dual.image.transform.normalised(images)).double().numpy()
    head = objective.head.weight.detach().double().numpy()
    mapped = features @ head.T
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    assert found == pytest.approx(1 - (mapped * wanted[[5, 0, 0, 2]]).sum(1).mean(), abs=1e-6)


def test_a_teacher_s_features_are_told_without_their_mean(toys):
    teacher = models.image_tower(TEACHER)
    told = loading.taught(toys["digits"], teacher, "fp32")
    seen = models.features(teacher, toys["digits"], dtype="fp32").astype(float)
    seen -= seen.mean(0)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    keys = [toys["digits"].picture_keys[row] for row in (7, 150)]
    assert told(keys).numpy() == pytest.approx(seen[[7, 150]], abs=1e-5)


@pytest.mark.slow
def test_the_student_comes_to_see_as_its_teacher_does(toys):
    wanted = models.features(models.image_tower(TEACHER), toys["unseen"], dtype="fp32")
    done = training.train(DISTILS, progress=False)
    told = [
        representational_similarity(models.features(each, toys["unseen"], dtype="fp32"), wanted)[0]
        for each in (models.image_tower(VIT), done.dual.image)
    ]
    assert told[1] > told[0] + 0.1
    assert done.dual.image.frozen
    assert not done.dual.image.named


@pytest.mark.parametrize("changes", [{"seed": 1}, {"lr": 1e-3}, {"teacher": f"{TEACHER[:-1]}6"}])
def test_another_distillation_is_another_tower(changes):
    short = dataclasses.replace(DISTILS, steps=6, warmup=0)
    first, other = (
        training.train(each, progress=False)
        for each in (short, dataclasses.replace(short, **changes))
    )
    assert first.folder != other.folder
    assert first.dual.image.checksum != other.dual.image.checksum
