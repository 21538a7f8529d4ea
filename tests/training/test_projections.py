"""Trained towers come from the cache or are trained, and a change of anything trains anew."""

import dataclasses

import pytest
import torch

from tests import toy_towers
from towers import models, training
from towers.training import projections

CONFIG = training.Projections(
    image="toy:image", text="toy:text", data=("toys",), embed=4, steps=8, batch=4, warmup=2,
    dtype="fp32",
)  # fmt: skip
CAPTIONS = [{"en": ("owl", "an owl"), "fr": ("hibou",)}, *({"en": (f"toy {n}",)} for n in range(5))]


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    """Toys in the place of data and towers, an own cache, and a list of the runs that trained."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    loaded = {"toys": toy_towers.collection(CAPTIONS)}
    monkeypatch.setattr(projections.data, "load", lambda name: loaded[name])
    real = models.dual

    def pair(image, text, embed, seed):
        return (
            toy_towers.dual(embed, seed) if text == "toy:text" else real(image, text, embed, seed)
        )

    monkeypatch.setattr(models, "dual", pair)
    runs, fit = [], projections.fit
    monkeypatch.setattr(projections, "fit", lambda *a, **k: runs.append(1) or fit(*a, **k))
    return loaded, runs


def same(first, second):
    return all(
        torch.equal(tensor, second.state_dict()[name])
        for name, tensor in first.state_dict().items()
    )


def test_the_second_time_the_cache_answers(toys):
    first = training.trained(CONFIG)
    assert first.name == "image and text on toys"
    assert not first.training
    assert same(first, training.trained(CONFIG))
    assert len(training.history(CONFIG).loss) == 8
    assert len(toys[1]) == 1


def test_a_network_that_both_sides_share_stays_locked(toys):
    image = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
    shared = dataclasses.replace(CONFIG, image=image, text="shared:pixels?separate=heads")
    first = training.trained(shared)
    assert first.text.encoder.network is first.image.encoder
    untrained = models.dual(image, shared.text, shared.embed, shared.seed)
    assert first.image.checksum == untrained.image.checksum
    assert not torch.equal(first.text_proj.weight, untrained.text_proj.weight)
    assert same(first, training.trained(shared))
    assert len(toys[1]) == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 9}, {"languages": ("en", "fr")}])
def test_another_configuration_is_another_model(toys, change):
    first = training.trained(CONFIG)
    assert not same(first, training.trained(dataclasses.replace(CONFIG, **change)))
    assert len(toys[1]) == 2


def test_the_name_is_no_part_of_what_is_trained(toys):
    first = training.trained(CONFIG)
    renamed = training.trained(dataclasses.replace(CONFIG, name="mine"))
    assert renamed.name == "mine"
    assert same(first, renamed)
    assert len(toys[1]) == 1


def test_data_named_twice_is_seen_twice_as_often(toys):
    twice = dataclasses.replace(CONFIG, data=("toys", "toys"))
    assert twice.title == "image and text on 2 x toys"
    assert not same(training.trained(CONFIG), training.trained(twice))


def test_other_data_under_the_same_name_trains_anew(toys):
    training.trained(CONFIG)
    toys[0]["toys"] = toy_towers.collection([*CAPTIONS, {"en": ("new",)}])
    training.trained(CONFIG)
    assert len(toys[1]) == 2


def test_what_will_be_tested_on_is_not_trained_on(toys, monkeypatch):
    apart = dataclasses.replace(CONFIG, apart=("tested",))
    toys[0]["tested"] = toys[0]["toys"][2:3]
    seen, without = [], projections.duplicates.without
    monkeypatch.setattr(
        projections.duplicates, "without",
        lambda *parts: seen.append(without(*parts)) or seen[-1],
    )  # fmt: skip
    assert not same(training.trained(CONFIG), training.trained(apart))
    names = [item.name for item in toys[0]["toys"]]
    assert [item.name for item in seen[1]] == [*names[:2], *names[3:]]


def test_so_many_items_of_each_collection_are_trained_on_as_the_seed_draws_them(toys, monkeypatch):
    seen, fit = [], projections.fit
    monkeypatch.setattr(
        projections,
        "fit",
        lambda dual, rows, *a, **k: seen.append(rows) or fit(dual, rows, *a, **k),
    )
    few = dataclasses.replace(CONFIG, most=3, batch=2)
    for config in (
        few,
        dataclasses.replace(few, seed=1),
        dataclasses.replace(few, data=("toys",) * 2),
    ):
        training.trained(config)
    assert [len(rows) for rows in seen] == [3, 3, 6]
    assert not (seen[0] == seen[1]).all()
    with pytest.raises(
        training.TrainingError, match=r"at least most = 7 items .* got 6; lower most"
    ):
        training.trained(dataclasses.replace(CONFIG, most=7))


def test_a_half_finished_cache_entry_is_trained_again(toys, tmp_path):
    first = training.trained(CONFIG)
    (weights,) = (tmp_path / "checkpoints").glob("*.safetensors")
    weights.unlink()
    assert same(first, training.trained(CONFIG))
    assert len(toys[1]) == 2


def test_only_items_with_captions_in_the_languages_train(toys):
    whole = toys[0]["toys"]
    assert [item.key for item in training.collection("toys", ("fr",))] == [whole[0].key]
    assert len(training.collection("toys", ("fr", "en"))) == len(whole)
    with pytest.raises(training.TrainingError, match=r"^expected captions in de .* got en, fr"):
        training.collection("toys", ("de",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "clipart"}, "data as a tuple of names, got 'clipart'"),
        ({"languages": ()}, "languages as a tuple"),
        ({"steps": 0}, "steps 0"),
        ({"lr": float("nan")}, "lr nan"),
        ({"weight_decay": -1}, "weight_decay -1"),
        ({"warmup": 8}, "warmup 8, steps 8"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(training.TrainingError, match=message):
        dataclasses.replace(CONFIG, **change)
