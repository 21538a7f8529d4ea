"""An edit of a module makes stale what it computes, and nothing else: the real code, edited.

A copy of `towers` is edited, one module after the other. Experiments are those of this checkout, at
laptop scale; kept results are one of each kind.
"""

import shutil
from pathlib import Path

import pytest

import towers
from towers import experiments, training
from towers.data import cards
from towers.experiments import fingerprints
from towers.papers import zoo
from towers.training import runs

WORLD = "scenes:train?count=100&size=32"
PAIR = {
    "image": "scratch:vit?image=32&patch=8&width=32&depth=2&heads=2",
    "text": "scratch:transformer?width=32&depth=2&heads=2&context=16",
    "steps": 10, "warmup": 1,
}  # fmt: skip
ONE_TOWER = PAIR | {"image": "scratch:map?image=32&patch=8&width=32&depth=2&heads=2",
                    "text": "shared:pixels"}  # fmt: skip
RUNS = {
    "English": training.Recipe(**PAIR, data=(WORLD,)),
    "German": training.Recipe(**PAIR, data=(f"{WORLD}&languages=de,en",), languages=("de",)),
    "emoji": training.Recipe(**PAIR, data=("emoji:openmoji",)),
    "words": training.Recipe(**PAIR, data=(WORLD,), objective="bag-of-words"),
    "adapters": training.Recipe(**PAIR, data=(WORLD,), policy="layerwise+layer-norms"),
    "pixels": training.Recipe(**ONE_TOWER, data=(WORLD,), optimiser="adafactor", weight_decay=0),
    "projections": zoo.LAPTOP,
    "distilled": zoo.distilled(zoo.LAPTOP.image, ["clipart", "emoji", "stamps"]),
}
OTHERS = {
    "features": (["towers.models.features"], {"tower": "package:minilm"}),
}
TRAINED = set(RUNS)
ON_SCENES = {"English", "German", "words", "adapters", "pixels"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    copy = tmp_path_factory.mktemp("edited") / "towers"
    unread = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(Path(towers.__file__).parent, copy, ignore=unread)


RUNNING = {name: ([runs.CODE], recipe.settings) for name, recipe in RUNS.items()}


def digest(name, package):
    """Of a kept result, or of an experiment."""
    if "/" in name:
        return fingerprints.fingerprint(experiments.get(name), package=package)
    return fingerprints.of_code(*(RUNNING | OTHERS)[name], package)


@pytest.fixture(scope="module")
def before(package):
    return {name: digest(name, package) for name in (*RUNNING, *OTHERS, *experiments.find())}


@pytest.fixture
def stale(package, before):
    """Edits modules, and gives which of some results are stale then."""
    edited = {}

    def edit(names, of):
        for path in (package / name for name in names):
            edited[path] = path.read_text()
            path.write_text(f"{edited[path]}\n{'# ' * (path.suffix == '.yaml')}EDITED = 1\n")
        return {name for name in of if digest(name, package) != before[name]}

    yield edit
    for path, text in edited.items():
        path.write_text(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cli.py", ()),
        ("listing.py", ()),
        ("report/book.py", ()),
        ("plots/style.py", ()),
        ("widgets/text.py", ()),
        ("records.py", ()),
        ("files.py", ()),
        ("metrics/retrieval.py", ()),
        ("evaluation/retrieval.py", ()),
        ("experiments/execution.py", ()),
        ("training/launch.py", ()),
        ("training/logs.py", ()),
        ("training/validation.py", ()),
        ("papers/clippo.py", ()),
        ("models/big_vision.py", ()),
        ("models/libraries.py", ()),
        ("data/custom.py", ()),
        ("data/scenes/german.py", ("German",)),
        ("data/scenes/english.py", ON_SCENES),
        ("data/scenes/drawing.py", ON_SCENES),
        ("data/emoji.py", ("emoji", "projections", "distilled")),
        ("data/cards/emoji.yaml", ("emoji", "projections", "distilled")),
        ("data/cards/food101.yaml", ()),
        ("models/cards/minilm.yaml", ("projections", "distilled", "features")),
        ("rendering/cards/unifont.yaml", ("pixels",)),
        ("data/images.py", TRAINED),
        ("losses/contrastive.py", TRAINED),
        ("losses/predictive.py", ("words",)),
        ("training/loop.py", TRAINED),
        ("training/order.py", TRAINED),
        ("training/optimisers.py", TRAINED),
        ("training/adafactor.py", ("pixels",)),
        ("models/adapters.py", ("adapters", "projections")),
        ("models/objectives.py", ("words",)),
        ("models/scratch.py", set(RUNS) - {"projections"}),
        ("models/map_vit.py", ("pixels",)),
        ("rendering/layout.py", ("pixels",)),
        ("models/sentences.py", ("projections", "distilled")),
        ("models/features.py", ("projections", "distilled", "features")),
        ("models/encoders.py", TRAINED | {"distilled", "features"}),
    ],
)
def test_kept_results(stale, name, expected):
    assert stale([name], [*RUNNING, *OTHERS]) == {*expected}


@pytest.mark.parametrize(
    ("name", "must", "must_not"),
    [
        ("data/scenes/german.py", {"clippo/languages"}, {
            "clip/zero_shot", "clip/retrieval", "clip/pretraining", "clip/scaling", "lilt/ablation",
            "clippo/one_tower", "foundations/towers", "scale/launch",
        }),
        ("losses/contrastive.py", {
            "clip/zero_shot", "clip/retrieval", "clip/pretraining", "clip/scaling", "lilt/ablation",
            "lilt/alignment", "lilt/scaling", "clippo/one_tower", "clippo/languages",
            "clippo/modality_gap", "foundations/towers", "scale/launch",
        }, {"clippo/pixels", "foundations/data", "scale/speed"}),
        ("plots/curves.py", {"clip/pretraining"}, {"clip/zero_shot", "clip/retrieval"}),
        ("evaluation/zero_shot.py", {"clip/zero_shot"}, {"clip/retrieval", "lilt/scaling"}),
        ("training/adafactor.py", {"clippo/one_tower"}, {"clip/zero_shot", "clip/pretraining"}),
        ("rendering/layout.py", {"clippo/pixels", "clippo/one_tower"}, {"clip/zero_shot"}),
        ("data/stamps.py", {"clip/retrieval", "clippo/pixels"}, {"lilt/ablation"}),
        ("data/cards/stamps.yaml", {"clip/retrieval", "clippo/pixels"}, {"lilt/ablation"}),
        ("data/cards/digits.yaml", {"clip/zero_shot"}, {"clip/retrieval", "lilt/scaling"}),
        ("metrics/vqa.py", {"clippo/vqa"}, {"clip/zero_shot", "lilt/alignment"}),
    ],
)  # fmt: skip
def test_experiments(stale, name, must, must_not):
    assert stale([name], must | must_not) == must


@pytest.mark.slow
def test_what_computes_nothing_leaves_every_experiment_fresh(stale):
    names = ("cli.py", "listing.py", "report/book.py", "files.py", "experiments/execution.py")
    assert stale(names, experiments.find()) == set()


@pytest.mark.slow
def test_a_new_card_leaves_every_experiment_fresh(package, before):
    card = package / "data/cards/brand-new-set.yaml"
    card.write_text("reader: bundled:digits\nmetric: accuracy\n")
    cards.of.cache_clear()
    try:
        stale = {name for name in experiments.find() if digest(name, package) != before[name]}
    finally:
        card.unlink()
        cards.of.cache_clear()
    assert stale == set()
