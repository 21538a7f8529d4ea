"""Runs that begin with another run's tower, by its name: a chain of runs is a chain of names."""

from dataclasses import replace

import pytest
import torch

from towers import models, training
from towers.training import runs

VIT = "scratch:vit?image=32&patch=16&width=16&depth=2&heads=2"
MAP = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
GPT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
WORDS = training.Recipe(
    image=VIT, text="scratch:bow?width=16&context=16&vocabulary=514",
    data=("scenes:train?count=32&size=32&objects=1",), embed=4, steps=2, batch=8, warmup=1,
    objective="bag-of-words",
)  # fmt: skip
LATER = replace(WORDS, text=GPT, embed=8, objective="clip", policy="layerwise")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """Recipes that were asked of the cache, in order."""
    asked, real = [], runs._cached
    monkeypatch.setattr(runs, "_cached", lambda r, progress: asked.append(r) or real(r, progress))
    return asked


def test_a_name_is_what_the_weights_depend_on():
    first = training.named(WORDS)
    assert first == training.named(replace(WORDS, name="other", workers=2))
    assert first != training.named(replace(WORDS, seed=1))


def test_a_run_is_trained_when_its_tower_is_needed_and_read_once(trained):
    name = training.named(WORDS)
    assert trained == []
    pairs = [training.pair(replace(LATER, image=name, seed=seed)) for seed in (0, 1)]
    assert trained == [WORDS]
    own = training.train(WORDS).dual.image
    for pair in pairs:
        pair.image.plain()
        assert pair.image.checksum == own.checksum
    assert not torch.equal(pairs[0].image_proj.weight, pairs[1].image_proj.weight)


def test_pairs_that_begin_alike_do_not_share_their_towers():
    begins = replace(LATER, image=training.named(WORDS), policy="everything")
    first, second = (training.pair(begins) for _ in range(2))
    before = second.checksum
    with torch.no_grad():
        next(first.image.parameters()).zero_()
    assert first.checksum != second.checksum == before
    assert training.pair(begins).checksum == before


@pytest.mark.slow
def test_a_chain_of_runs_is_trained_and_found_again(trained):
    begins = replace(LATER, image=training.named(WORDS))
    further = replace(begins, image=training.named(begins), steps=3, policy="everything")
    done = training.train(further)
    assert trained == [WORDS, begins] or trained == [further, begins, WORDS]
    assert training.train(further).folder == done.folder
    first = training.train(begins).dual.image
    assert first.adapters is not None
    assert done.dual.image.adapters is not None
    assert first.checksum != done.dual.image.checksum


@pytest.mark.parametrize("code", ["the same", "edited"])
@pytest.mark.slow
def test_what_a_run_begins_with_is_in_its_key(monkeypatch, code):
    begins = replace(LATER, image=training.named(WORDS))
    done = training.train(begins)
    bare = training.train(LATER)
    assert done.folder != bare.folder
    assert not done.dual.image.named
    runs._trained.cache_clear()
    if code == "edited":
        monkeypatch.setattr("towers.data.scenes.sets.VERSION", "2")
    assert (training.train(begins).folder == done.folder) == (code == "the same")


@pytest.mark.parametrize("text", ["shared:pixels?packed=true", "shared:words?context=4",
                                  "scratch:words?width=16&depth=1&heads=2&context=4"])  # fmt: skip
def test_a_text_tower_may_share_the_network_of_another_run(text):
    eyes = replace(WORDS, image=MAP)
    pair = training.pair(replace(eyes, image=training.named(eyes), text=text, objective="clip"))
    assert pair.image.checksum == training.train(eyes).dual.image.checksum
    assert pair.text.borrows == text.startswith("shared:")
    assert pair.embed_texts(pair.text.tokenize(["a cat"])).shape == (1, 4)


def test_shapes_are_known_before_anything_is_trained(trained):
    begins = replace(LATER, image=training.named(WORDS), policy="everything")
    shapes = training.pair(begins, device="meta")
    assert trained == []
    assert {weight.device.type for weight in shapes.parameters()} == {"meta"}
    assert models.counting.parameters(shapes) == models.counting.parameters(training.pair(begins))


@pytest.mark.parametrize("damage", ["missing", "no recipe"])
def test_a_run_that_nobody_named_is_refused_in_one_line(home, damage):
    name = training.named(WORDS)
    path = home / "recipes" / f"{name.removeprefix('run:')}.json"
    path.unlink() if damage == "missing" else path.write_text('{"image": 3}')
    with pytest.raises(training.TrainingError, match=r"expected a run that .* got 'run:") as caught:
        training.train(replace(LATER, image=name))
    assert "\n" not in str(caught.value)
