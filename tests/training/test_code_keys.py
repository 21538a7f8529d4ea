"""Nothing that computes is left out of a cache's key: what runs is compared with what is declared.

A real tiny run of each kind is watched. Each module of `towers` that executed a function must be
among those whose code is in the run's key, or in `ASIDE` and `APART`, which say why it is not.
"""

from dataclasses import replace

import pytest

from tests.training import executed, toy_shards
from towers import data, models, training
from towers.experiments import chosen, fingerprints
from towers.models import vocabularies
from towers.training import runs

pytestmark = pytest.mark.slow

APART = {
    "training.logs": "writes down what has happened",
}
"""What runs beside, and cannot change a result."""

SCENES = "scenes:train?count=48&size=32&objects=1"
VIT = "scratch:vit?image=32&patch=16&width=16&depth=1&heads=2"
MAP = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
BOW = "scratch:bow?width=16&context=16&vocabulary=514"
GPT = "scratch:transformer?width=16&depth=1&heads=2&context=16&vocabulary=514"
PLAIN = training.Recipe(VIT, BOW, (SCENES,), embed=8, steps=3, batch=8, warmup=1)
PIXELS = {"image": MAP, "text": "shared:pixels"}
SPEAKING = {"languages": ("en", "de", "ja"), "data": (f"{SCENES}&languages=en,de,ja",)}

RECIPES = {
    "scenes": PLAIN,
    "languages": replace(PLAIN, text=GPT, **SPEAKING),
    "gradient caching, crops": replace(PLAIN, chunk=4, augment="crop"),
    "evaluated": replace(PLAIN, validation=(SCENES,), evaluate_every=2),
    "sharded memory": replace(PLAIN, shard=True, accumulate=2),
    "words": replace(PLAIN, objective="bag-of-words"),
    "captions": replace(PLAIN, objective="captions"),
    "resnet": replace(PLAIN, image="scratch:resnet?image=32&width=8&layers=1,1,1,1"),
    "CLIPPO": replace(PLAIN, **PIXELS, optimiser="adafactor", weight_decay=1e-4,
                      schedule="reciprocal-sqrt"),
    "CLIPPO, packed": replace(PLAIN, image=MAP, text="shared:pixels?packed=true&separate=both"),
    "CLIPPO on texts": replace(PLAIN, **PIXELS, text_share=0.5,
                               text_pairs=(f"dropout:captions:{SCENES}",)),
    "untied": replace(PLAIN, image=MAP, text=MAP.replace("map", "pixels")),
    "CLIP*": replace(PLAIN, image=MAP, text="scratch:words?width=16&depth=1&heads=2&context=16"),
    "LiT": replace(PLAIN, text=GPT, policy="image=locked,text=everything", cache_features=True),
    "LilT": replace(PLAIN, text=GPT, policy="layerwise+layer-norms"),
    "deep adapters": replace(PLAIN, text=GPT, policy="deep"),
    "projections": replace(PLAIN, policy="projections", cache_features=True, dropout=0.4,
                           apart=(f"{SCENES}&seed=1",)),
    "distillation": replace(PLAIN, objective="distillation", augment="mirror",
                            teacher=VIT.replace("width=16", "width=24")),
    "questions": replace(PLAIN, **PIXELS, objective="answers", data=(f"{SCENES}&hidden=picture",),
                         optimiser="sgd", weight_decay=0.0, head_rate=10.0),
    "a task": replace(PLAIN, text=GPT, objective="task", data=("movies",), most=24, hidden=8,
                      schedule="linear"),
    "pretrained towers": replace(PLAIN, image="package:efficientnet-lite0?resize=pad",
                                 text="package:minilm", policy="projections"),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One cache for all, so that glyphs are read once; what is watched lies in it only once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def keys(home, monkeypatch):
    """The modules of each key that is made, with the roots it was made from."""
    monkeypatch.setenv("TOWERS_HOME", str(home))
    made, real = [], fingerprints.of_code

    def noting(roots, settings):
        roots = list(roots)
        made.append((roots, set(fingerprints.computing(roots, settings))))
        return real(roots, settings)

    monkeypatch.setattr(fingerprints, "of_code", noting)
    return made


def forgotten(ran, covered):
    aside = {f"towers.{name}" for name in chosen.ASIDE | APART}
    return sorted(ran - covered - aside)


def covered_by(keys, root):
    return next(covered for roots, covered in keys if root in roots)


def run(recipe, keys):
    """What ran for a recipe, and what its key covers."""
    with executed.watched() as ran:
        training.train(recipe, progress=False)
    return ran, covered_by(keys, runs.CODE)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_of_a_run(keys, recipe):
    ran, covered = run(recipe, keys)
    assert {"towers.training.loop", "towers.models.encoders"} <= ran
    assert forgotten(ran, covered) == []


def test_of_a_run_on_shards_and_on_a_folder(keys, tmp_path):
    toy_shards.three_tars(tmp_path)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for name, content in toy_shards.members(range(8)):
        (pairs / name).write_bytes(content)
    for source in (f"shards:{tmp_path}/{{0..2}}.tar", f"folder:{pairs}"):
        ran, covered = run(replace(PLAIN, data=(source,)), keys)
        assert forgotten(ran, covered) == []
        keys.clear()


def test_of_a_run_that_reads_sentence_pieces(keys):
    made = vocabularies.trained((f"a toy {n} and another toy" for n in range(99)), 40)
    text = f"shared:words?context=16&vocabulary=40&tokens={made}"
    image = MAP.replace("patch=16", "patch=8")
    assert forgotten(*run(replace(PLAIN, image=image, text=text), keys)) == []


def test_of_a_run_that_begins_with_another(keys):
    first = training.named(replace(PLAIN, image=MAP))
    ran, _ = run(replace(PLAIN, image=first, text="shared:pixels"), keys)
    assert len([roots for roots, _ in keys if runs.CODE in roots]) == 2
    assert forgotten(ran, set().union(*(covered for _, covered in keys))) == []


@pytest.mark.parametrize("name", ["digits", "samples:cifar10", SCENES, "folder"])
def test_of_features_of_pictures(keys, tmp_path, name):
    if name == "folder":
        for member, content in toy_shards.members(range(4)):
            (tmp_path / member).write_bytes(content)
        name = f"folder:{tmp_path}"
    tower, pictures = models.image_tower(f"{VIT}&seed=1"), data.load(name)[:4]
    with executed.watched() as ran:
        models.features(tower, pictures, dtype="fp32", progress=False)
    assert forgotten(ran, set().union(*(covered for _, covered in keys))) == []


@pytest.mark.parametrize("name", [BOW, GPT, MAP.replace("map", "pixels"), "package:minilm"])
def test_of_features_of_texts(keys, name):
    tower = models.text_tower(name)
    with executed.watched() as ran:
        models.features(tower, ["a toy", "another"], dtype="fp32", progress=False)
    assert forgotten(ran, set().union(*(covered for _, covered in keys))) == []


def test_a_module_that_is_left_out_is_named(keys, monkeypatch):
    monkeypatch.setitem(chosen.CHOSEN, "training.loop", {"training.caching": "shard"})
    assert forgotten(*run(replace(PLAIN, chunk=2), keys)) == ["towers.training.caching"]
