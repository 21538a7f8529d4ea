"""Pretrained towers under several policies: which image tower each takes, and how it begins."""

import pytest

from towers import data, models, training
from towers.training import distillation
from towers.training.pretrained_runs import Alignments

TEACHER = "scratch:vit?image=16&patch=8&width=24&depth=1&heads=2&seed=5"
STUDENT = "scratch:vit?image=16&patch=8&width=16&depth=2&heads=2"
TEXT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
SCENES = "scenes:train?count=24&size=32&objects=1"
POLICIES = {
    "projections": "projections", "LiT": "image=locked,text=everything",
    "LilT": "layerwise+layer-norms", "CLIP": "everything",
}  # fmt: skip
RUNS = Alignments(
    TEACHER, TEXT, POLICIES, {"data": (SCENES,), "steps": 2, "batch": 8, "warmup": 1, "embed": 4},
    seeds=(0, 1), rates={"CLIP": 1e-4},
    student={"student": STUDENT, "data": ("digits",), "steps": 2, "batch": 8, "warmup": 1},
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def test_a_locked_image_tower_looks_once_and_one_that_moves_is_the_student():
    recipes = RUNS.recipes
    assert list(recipes) == [(name, seed) for name in POLICIES for seed in (0, 1)]
    for name in ("projections", "LiT"):
        assert recipes[name, 0].image == TEACHER
        assert recipes[name, 0].cache_features
    for name in ("LilT", "CLIP"):
        assert recipes[name, 1].image == STUDENT
        assert not recipes[name, 1].cache_features
        assert recipes[name, 1].seed == 1


def test_rates_are_the_budgets_where_no_own_one_is_given():
    rates = {name: RUNS.recipes[name, 0].lr for name in POLICIES}
    assert rates == {"projections": 5e-4, "LiT": 5e-4, "LilT": 5e-4, "CLIP": 1e-4}


def test_without_a_student_the_tower_itself_moves():
    runs = Alignments(TEACHER, TEXT, POLICIES, RUNS.budget)
    assert runs.distillation is None
    assert {recipe.image for recipe in runs.recipes.values()} == {TEACHER}
    assert not runs.recipes["CLIP", 0].cache_features


def test_pictures_in_shards_are_read_as_they_come():
    shards = RUNS.budget | {"data": ("shards:/data/{0..3}.tar",)}
    assert not Alignments(TEACHER, TEXT, POLICIES, shards).recipes["LiT", 0].cache_features


def test_runs_begin_with_the_distilled_tower(monkeypatch):
    digits = data.load("digits")[:40]
    load = data.load
    monkeypatch.setattr(
        distillation.data, "load", lambda name: digits if name == "digits" else load(name)
    )
    done = RUNS.run(progress=False)
    assert list(done) == list(RUNS.recipes)
    assert {dual.dual.name for dual in done.values()} == set(POLICIES)
    seen = training.distilled(RUNS.distillation, progress=False)
    lilt = done["LilT", 0].dual.image.plain().encoder.state_dict()
    locked = {name for name in lilt if "ln_" not in name}
    start = seen.encoder.state_dict()
    assert all(lilt[name].equal(start[name]) for name in locked)
    assert not all(lilt[name].equal(start[name]) for name in start)
    assert done["LiT", 1].dual.image.checksum == models.image_tower(TEACHER).checksum
