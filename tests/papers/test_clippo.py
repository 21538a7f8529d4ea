"""The recipes of the CLIPPO chapters: one budget, one difference each."""

import re
from dataclasses import asdict, replace

import pytest

from towers import experiments, published, training
from towers.experiments.experiment import resolve
from towers.papers import clippo
from towers.training import TrainingError, plans

IMAGE = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
COMMON = {
    "data": ("scenes:train?count=64&size=32&objects=1",),
    "steps": 30,
    "batch": 8,
    "warmup": 2,
}
PLAN = plans.Plan(
    "toy", plans.ACCELERATORS["A100-80GB"], 64, 10_240, "bf16", 1000, 10_240,
    dict.fromkeys(plans.MEMORY, 1e3), 1e12, 0.3, 2.0,
)  # fmt: skip
PAIRS = ("captions:scenes:train?count=64&size=32&objects=1",)


def test_the_family_differs_in_the_text_tower_alone():
    family = clippo.family(IMAGE, "context=4&vocabulary=600", COMMON)
    assert list(family) == [
        "CLIP*", "CLIPPO untied", "1T-CLIP", "CLIPPO", "CLIPPO separate heads",
        "CLIPPO separate embeddings", "CLIPPO separate embeddings and heads",
    ]  # fmt: skip
    rest = {
        str({k: v for k, v in asdict(each).items() if k not in ("text", "name")})
        for each in family.values()
    }
    assert len(rest) == 1
    assert len({each.text for each in family.values()}) == len(family)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_families_of_the_chapter_are_one_for_each_seed(scale):
    given = resolve(experiments.get("clippo/one_tower"), scale)
    found = clippo.families(given)
    assert {seed for _, seed in found} == {*given["seeds"]}
    names = [name for name, seed in found if seed == given["seeds"][0]]
    assert names == [*given["members"], *(f"CLIPPO + {100 * s:g} % text" for s in given["shares"])]
    for (name, seed), recipe in found.items():
        assert (recipe.title, recipe.seed, recipe.image) == (name, seed, given["image"])
        assert recipe.batch == given["contrastive"]["batch"]
        assert recipe.text_share == (0.25 if "25 %" in name else 0.5 if "50 %" in name else 0)


def test_pages_are_packed_or_whole_in_all_that_reads_them():
    packed, whole = (
        clippo.family(IMAGE, "context=4&vocabulary=600", COMMON, packed=way)
        for way in (True, False)
    )
    for name, recipe in packed.items():
        assert ("packed=true" in recipe.text) == ("pixels" in recipe.text)
        assert "packed" not in whole[name].text
        assert replace(recipe, text=whole[name].text) == whole[name]
    assert packed["CLIPPO"].text == "shared:pixels?packed=true"  # the key of runs that are kept


def test_mixed_runs_see_as_many_pictures():
    recipe = clippo.family(IMAGE, "context=4&vocabulary=600", COMMON)["CLIPPO"]
    mixed = clippo.mixed(recipe, PAIRS, [0.25, 0.5])
    assert list(mixed) == ["CLIPPO + 25 % text", "CLIPPO + 50 % text"]
    for each in mixed.values():
        assert each.steps * (each.batch - each.text_batch) == recipe.steps * recipe.batch
        assert each.title in mixed


def test_a_share_of_no_whole_pairs_is_refused():
    recipe = training.Recipe(image=IMAGE, text="shared:pixels", **COMMON)
    with pytest.raises(TrainingError, match="expected text_pairs with a text_share"):
        clippo.mixed(recipe, PAIRS, [0.01])


def test_another_image_tower_has_no_family():
    with pytest.raises(ValueError, match="expected an image tower like scratch:map"):
        clippo.family("package:efficientnet-lite0", "context=4", COMMON)


def values(rows):
    """By model and metric, and by the update of learning rates."""
    return {(row.model, row.metric, *row.at.values()): row.value for row in rows}


@pytest.mark.slow
def test_the_papers_runs_are_planned():
    rows = clippo.planned()
    found = values(rows)
    assert found["CLIPPO", "batch"] == 10_240
    assert found["CLIPPO", "updates"] == 250_000
    assert found["CLIPPO", "parameters"] == clippo.listed()["CLIPPO"].parameters
    rates = [found["all", "learning rate", each] for each in clippo.UPDATES]
    wanted = [1e-3 / 10_001, 1e-3, 1e-3 / 2**0.5, 1e-3 / 10**0.5, 1e-3 / 24**0.5]
    assert rates[:5] == pytest.approx(wanted)
    assert 0 < rates[5] < 1e-7
    for name in clippo.PLANNED:
        assert 5 < found[name, "memory per device (GB)"] < 80
        assert 0.5 < found[name, "days"] < 60
    assert found["CLIPPO L/16", "days"] > 2 * found["CLIPPO", "days"]
    assert len(rows) == 5 * len(clippo.PLANNED) + len(clippo.UPDATES)


def test_runs_with_texts_see_as_many_pictures_as_the_paper_says():
    listed = {model.name: (model, share) for model, share in clippo.on_texts()}
    pictures = {name: model.steps * (1 - share) for name, (model, share) in listed.items()}
    for name in ("CLIPPO on WebLI", "CLIPPO on WebLI + 25 % C4", "CLIPPO on WebLI + 50 % C4"):
        assert pictures[name] == pytest.approx(250_000, abs=1)
    steps = published.table("clippo", 6).frame.query("model == 'CLIPPO' and `lan.` == 'EN'")
    printed = dict(zip(steps["training dataset"], steps["steps"], strict=True))  # the last ones
    for share in (25, 50):
        ours = listed[f"CLIPPO on WebLI + {share} % C4"][0].steps
        assert printed[f"WebLI + {share}%C4"] == f"{ours // 1000}k"
    assert all(model.steps == 500_000 for model, _ in listed.values() if "L/16" in model.name)
    alone = [model.steps for name, (model, share) in listed.items() if share == 1]
    assert alone == [250_000, 100_000, 100_000, 100_000]


def test_time_goes_by_updates_and_what_is_alike_is_traced_once(monkeypatch):
    traced = []
    monkeypatch.setattr(clippo, "plan", lambda *given, **options: traced.append(given) or PLAN)
    model = clippo.listed()["CLIPPO"]
    twice = replace(model, name="twice", steps=2 * model.steps)
    found = {(r.model, r.metric): r.value for r in clippo.costs([model, twice])}
    assert len(traced) == 1
    assert found["twice", "updates"] == 2 * found["CLIPPO", "updates"] == 500_000
    assert found["twice", "days"] == pytest.approx(2 * found["CLIPPO", "days"])
    assert found["twice", "parameters"] == PLAN.parameters


def test_a_longer_run_has_the_same_rates_until_the_shorter_one_descends():
    model = clippo.listed()["CLIPPO"]
    twice = replace(model, name="twice", steps=500_000)
    short, long = (
        [row.value for row in clippo.rates(each, (0, 100_000, 240_000, 245_000))]
        for each in (model, twice)
    )
    assert short[:3] == long[:3]
    assert short[3] == pytest.approx(long[3] / 2)  # half of the descent is done


def test_runs_on_texts_are_planned_with_their_texts(monkeypatch):
    monkeypatch.setattr(clippo, "plan", lambda *given, **options: PLAN)
    rows = clippo.planned_on_texts()
    found = values(rows)
    assert len(found) == len(rows) == 9 * 6 + 6
    for share, name in ((0.25, "WebLI + 25 % C4"), (0.5, "WebLI + 50 % C4"), (1, "C4")):
        assert found[f"CLIPPO on {name}", "text pairs per batch"] == share * 10_240
    rate = found["CLIPPO on WebLI + 50 % C4", "learning rate", 490_000]
    assert rate == pytest.approx(1e-3 / 49**0.5)  # 48 time scales after the peak


def test_words_add_an_embedding_of_their_ids():
    listed = clippo.word_embeddings()
    assert {(row.metric, row.at["over"]) for row in listed} == {("additional parameters", "CLIPPO")}
    of = {row.n: row.value for row in listed}
    bare = clippo.listed()["CLIPPO"].parameters
    assert (of[250_100] - of[32_000]) * bare == pytest.approx(218_100 * 768)
    cut = [clippo.listed()[name].millions for name in ("1T-CLIP", "CLIPPO")]
    assert round(100 * (cut[0] / cut[1] - 1)) == 27  # the paper's figure: of whole millions
    assert of[32_000] == pytest.approx(0.263, abs=5e-4)


def test_the_multilingual_models_are_the_papers():
    assert [model.steps for model in clippo.multilingual()] == [250_000] * 3


def test_the_papers_fine_tuning_on_questions_is_planned():
    rows = clippo.planned_answering()
    found = values(rows)
    for name in clippo.ANSWERING:
        pair = clippo.listed()[name].parameters
        projection_and_scale = 768 * 768 + 768 + 1
        classifier = 769 * 3129
        assert found[name, "parameters"] == pair - projection_and_scale + classifier
        assert (found[name, "updates"], found[name, "batch"]) == (8_000, 256)
    small, large = (found[each, "memory per device (GB)"] for each in clippo.ANSWERING)
    assert 10 < small < large / 2 < large < 80
    patches = 24**2 / 14**2
    small, large = (found[each, "hours"] for each in clippo.ANSWERING)
    assert patches < large / small < 1.2 * patches  # attention grows faster than all else
    assert small == pytest.approx(_hours_by_hand(), rel=0.01)
    rates = [found["all", "learning rate", each] for each in clippo.ANSWERING_UPDATES]
    assert rates[:3] == pytest.approx([0.1 / 801, 0.1, 0.05])
    assert 0 < rates[3] < 1e-8
    for update, rate in zip(clippo.ANSWERING_UPDATES, rates, strict=True):
        assert found["all", "classifier's learning rate", update] == 10 * rate


def _hours_by_hand():
    """Of B/16 at 224 pixels: 12 n d^2 + 2 n^2 d products a layer, three times, by 0.3 of a peak."""
    places, width = 196, 768
    layer = 12 * places * width**2 + 2 * places**2 * width
    pool = 2 * places * width**2 + 10 * width**2 + 2 * places * width
    products = 12 * layer + pool + places * width * 768 + 2 * width * 3129
    return 3 * 2 * products * 8_000 * 256 / (0.3 * 312e12) / 3_600


def test_the_chapter_s_paper_scale_is_the_paper_s():
    chapter = resolve(experiments.get("clippo/one_tower"), "paper")
    family = clippo.family(chapter["image"], chapter["words"], COMMON, chapter["packed"])
    for name, paper in clippo.listed(tokens="").items():
        if name in family:
            assert family[name].image == paper.image
            assert re.sub("tokens=[^&]*", "tokens=", family[name].text) == paper.text
    length = chapter["contrastive"]
    for field in ("steps", "batch", "lr", "weight_decay", "warmup"):
        assert length[field] == getattr(clippo.Model, field)
    assert length["embed"] == clippo.EMBED
    assert (length["optimiser"], length["schedule"]) == ("adafactor", "reciprocal-sqrt")
    assert chapter["real"]["schedule"] == "reciprocal-sqrt"
    assert not any(name.startswith("scenes") for name in chapter["train_on"])
