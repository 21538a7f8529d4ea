"""Runs of the cache: trained once, found again, made anew where something else would come out."""

from dataclasses import replace

import pytest
import torch

from towers import training
from towers.training import runs as module

RECIPE = training.Recipe(
    image="scratch:vit?image=32&patch=16&width=16&depth=1&heads=1",
    text="scratch:bow?width=16&context=16&vocabulary=514",
    data=("scenes:train?count=64&size=32&objects=1",), embed=8, steps=3, batch=8, warmup=1,
    checkpoint_every=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    return tmp_path


def same(first, second) -> bool:
    pairs = zip(first.dual.state_dict().values(), second.dual.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_the_second_time_the_cache_answers_whatever_the_name(capfd):
    first = training.train(RECIPE)
    capfd.readouterr()
    again = training.train(replace(RECIPE, name="mine", checkpoint_every=1))
    assert (first.resumed, again.resumed) == (0, 3)
    assert first.folder == again.folder
    assert (first.dual.name, again.dual.name) == ("vit and bow", "mine")
    assert not again.dual.training
    assert not any(weight.requires_grad for weight in again.dual.parameters())
    assert same(first, again)
    assert "".join(capfd.readouterr()) == ""


def test_a_run_that_stopped_goes_on_to_the_same_end(monkeypatch):
    whole = training.train(replace(RECIPE, seed=1))
    save = module._Run._save

    def stop(run, step):
        save(run, step)
        raise KeyboardInterrupt

    other = replace(RECIPE, seed=2)
    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(other)
    resumed = training.train(other)
    assert resumed.resumed == 2
    straight = training.train(other, resumed.folder.with_name("straight"))
    assert same(resumed, straight)
    assert not same(resumed, whole)


@pytest.mark.parametrize("what", ["recipe", "data", "code"])
def test_what_would_come_out_otherwise_is_another_run(monkeypatch, what):
    first = training.train(RECIPE)
    recipe = replace(RECIPE, lr=1e-3) if what == "recipe" else RECIPE
    if what == "data":
        monkeypatch.setattr("towers.data.scenes.sets.VERSION", "2")
    if what == "code":
        monkeypatch.setattr(module.fingerprints, "of_code", lambda *_: "edited")
    again = training.train(recipe)
    assert again.folder != first.folder
    assert again.resumed == 0


@pytest.mark.parametrize("given", [{"resume": False}, {"evaluate": len}, {"dual": "pair"}])
def test_what_is_no_part_of_the_key_needs_a_folder(given):
    with pytest.raises(training.TrainingError, match="expected a folder for a run afresh, or on a"):
        training.train(RECIPE, **given)
