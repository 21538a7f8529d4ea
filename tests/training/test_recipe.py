"""A recipe is strict: every mistake is one line before anything is read."""

import contextlib
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers import training
from towers.training.recipe import FREE, Recipe, differences

GOOD = {"image": "toy:image", "text": "toy:text", "data": ["toys"], "steps": 200}


def test_a_recipe_goes_through_yaml_and_back(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "image: a\ntext: b\ndata: [c, d]\nsteps: 300\nlr: 1e-3\nbetas: [0.9, 0.999]\n"
        "weight_decay: 1  # an int is a float\nname: no\n"
    )
    read = Recipe.from_yaml(path)
    assert (read.data, read.lr, read.betas, read.name) == (("c", "d"), 1e-3, (0.9, 0.999), "no")
    assert type(read.weight_decay) is float
    assert Recipe.from_mapping(read.mapping()) == read
    assert Recipe.from_yaml(path, {"lr": 2e-3}).lr == 2e-3


OTHERS = {
    "steps": 201, "schedule": "constant", "precision": "bf16", "augment": "crop",
    "betas": (0.5, 0.6), "data": ("x", "y"), "languages": ("fr",), "accumulate": 2,
    "max_bad": 0.5, "objective": "captions", "shard": True,
    "validation": ("z",), "cache_features": True, "optimiser": "adafactor",
    "text_pairs": ("captions:x",), "text_share": 0.5, "policy": "bitfit",
    "dropout": 0.5, "apart": ("toys",), "most": 9, "teacher": "another",
    "penalties": (1.0, 0.1),
}  # fmt: skip
FIRST = {
    "teacher": {"objective": "distillation", "teacher": "one", "text_pairs": (), "text_share": 0},
    "head_rate": {"objective": "captions", "text_pairs": (), "text_share": 0},
    **{name: {"cache_features": True} for name in ("dropout", "apart", "most", "penalties")},
}  # fmt: skip
"""What else must be said where some fields are set."""
TEXTS = {"text_pairs": ["captions:toys"], "text_share": 0.25}
MIXED = {**GOOD, **TEXTS, "weight_decay": 1e-3}


# steps excludes epochs, and there is one objective
FIELDS = [
    field for field in dataclasses.fields(Recipe) if field.name not in ("epochs", "objective")
]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_digest_changes_with_every_field_that_changes_weights(field):
    old = Recipe(**MIXED | FIRST.get(field.name, {}))
    value = getattr(old, field.name)
    other = OTHERS.get(field.name, value + "x" if isinstance(value, str) else None)
    new = dataclasses.replace(old, **{field.name: value + 1 if other is None else other})
    assert (new.digest == old.digest) == (field.name in FREE)
    assert [line.split()[0] for line in differences(old.mapping(), new.mapping())] == (
        [] if field.name in FREE else [field.name]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sharpness": 1}, "got 'sharpness'; there are: image, text"),
        ({"warmpu": 1}, "got 'warmpu'; did you mean warmup?"),
        ({"lr": "1e-4"}, "expected lr as float, got '1e-4'"),
        ({"lr": math.nan}, "expected lr as float, got nan"),
        ({"steps": 10.5}, "expected steps as int, got 10.5"),
        ({"steps": True}, "expected steps as int, got True"),
        ({"data": "toys"}, "expected data as tuple\\[str, ...\\], got 'toys'"),
        ({"data": []}, "expected a name in data"),
        ({"data": [""]}, "expected a name in data"),
        ({"optimiser": "adam"}, "expected optimiser as one of adamw, adafactor, sgd"),
        ({"optimiser": "adafactor"}, "expected weight_decay of at most 0.01 and no shard"),
        (
            {"optimiser": "adafactor", "weight_decay": 1e-4, "shard": True},
            "no shard for adafactor.* got 0.0001 and shard True",
        ),
        (
            {"text_pairs": ["captions:toys"]},
            "makes whole pairs, or neither, got .* 0.0, which is 0",
        ),
        ({"text_share": 0.5}, "expected text_pairs with a text_share .* got \\[\\] and 0.5"),
        ({**TEXTS, "text_share": 1e-4}, "which is 0 of 256"),
        ({**TEXTS, "text_share": 0.9999}, "which is 256 of 256"),
        ({**TEXTS, "text_share": -0.5}, "text_share from 0 to 1"),
        ({**TEXTS, "text_share": 1.5}, "text_share from 0 to 1"),
        ({**TEXTS, "text_share": 1}, "expected no data and no cache_features with text_share 1"),
        ({**TEXTS, "text_share": 0.5, "data": []}, "expected a name in data"),
        (
            {**TEXTS, "accumulate": 16, "text_share": 0.1},
            "text pairs in 16 equal parts, got clip and 26",
        ),
        ({**TEXTS, "objective": "captions"}, "expected objective clip and text pairs"),
        ({"betas": [0.9]}, "betas as tuple\\[float, float\\], got \\[0.9\\]"),
        ({"betas": [0.9, 1.0]}, "two betas in \\[0, 1\\)"),
        ({"steps": 0}, "either steps or epochs, got steps 0 and epochs 0"),
        ({"epochs": 3}, "either steps or epochs, got steps 200 and epochs 3"),
        ({"warmup": 200}, "warmup below steps, got 200 and 200"),
        ({"warmup": 0, "schedule": "reciprocal-sqrt"}, "warmup above 0"),
        ({"batch": 0}, "expected batch above 0, got 0"),
        ({"batch": 1}, "a batch of at least 2 pairs"),
        ({"batch": 10, "accumulate": 3}, "in each of 3 equal parts, got batch 10"),
        ({"batch": 4, "accumulate": 4}, "in each of 4 equal parts"),
        ({"chunk": 2, "accumulate": 2}, "chunk or accumulate"),
        ({"chunk": 2, "objective": "captions"}, "accumulate instead of chunk for captions"),
        ({"cache_features": True, "augment": "crop"}, "got crop and fp32; features are"),
        ({"cache_features": True, "augment": "mirror"}, "got mirror and fp32; features are"),
        ({"teacher": "another"}, "got 'another' with clip"),
        ({"objective": "distillation"}, "got '' with distillation"),
        (
            {"objective": "distillation", "teacher": "another", "cache_features": True},
            "expected a teacher with objective distillation alone, .* on collections and without",
        ),
        (
            {"objective": "distillation", "teacher": "another", "data": ["shards:a.tar"]},
            "expected a teacher with objective distillation alone, .* on collections and without",
        ),
        (
            {"objective": "distillation", "teacher": "another", "validation": ["toys"]},
            "without cache_features or validation, got 'another' with distillation",
        ),
        ({"dropout": 1.0, "cache_features": True}, "expected dropout in"),
        (
            {"dropout": 0.5},
            "expected cache_features with dropout, apart, penalties and most, got dropout 0.5",
        ),
        ({"apart": ["toys"]}, "got dropout 0.0, apart ..toys.., penalties .. and most 0"),
        ({"most": 3}, "apart .., penalties .. and most 3"),
        ({"optimiser": "sgd", "weight_decay": 0.1}, "weight_decay 0 with sgd, got 0.1"),
        ({"head_rate": 10.0}, "head_rate 1 with objective clip, .* got 10.0"),
        (
            {"objective": "task", "data": ["movies", "next"]},
            "expected one name in data .* got ..movies., .next..",
        ),
        ({"objective": "answers", "validation": ["toys"]}, "or validation, got '' with answers"),
        ({"objective": "answers", "dropout": 0.5}, "cache_features with dropout"),
        ({"shard": True, "precision": "fp16"}, "bf16 or fp32 with shard"),
        (
            {"schedule": "step"},
            "schedule as one of cosine, constant, linear, reciprocal-sqrt; got 'step'",
        ),
        ({"precision": "fp8"}, "precision as one of fp32, bf16, fp16"),
        ({"max_bad": 1.5}, "max_bad in \\[0, 1\\], got 1.5"),
        ({"lr": 0.0}, "expected lr above 0"),
        ({"workers": -1}, "expected workers of 0 or more, got -1"),
        ({"seed": 2**63}, "a seed below"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(change, message):
    with pytest.raises(training.TrainingError, match=message) as caught:
        Recipe.from_mapping({**GOOD, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["image", "text", "data"])
def test_what_is_missing_is_named(missing):
    given = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(training.TrainingError, match=f"got none of {missing}"):
        Recipe.from_mapping(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("image: [", "expected YAML in"),
        ("image: a\nimage: b", "image is there twice"),
        ("- a", "expected fields and values in a recipe, got list"),
        ("", "got NoneType"),
        ("stepps: 3", "did you mean steps"),
    ],
)
def test_files_that_are_no_recipe_are_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(training.TrainingError, match=message) as caught:
        Recipe.from_yaml(path)
    assert "\n" not in str(caught.value)
    assert "r.yaml" in str(caught.value)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
NAMES = st.sampled_from([field.name for field in dataclasses.fields(Recipe)])


@given(st.dictionaries(NAMES | st.text(max_size=6), LITERALS, max_size=5))
def test_any_mapping_is_a_recipe_or_one_line(changes):
    with contextlib.suppress(training.TrainingError):  # one line: see the class
        read = Recipe.from_mapping({**GOOD, **changes})
        assert Recipe.from_mapping(read.mapping()) == read


def test_a_recipe_of_texts_only_has_no_data():
    recipe = Recipe(**{**GOOD, **TEXTS, "text_share": 1, "data": []})
    assert (recipe.text_batch, recipe.batch) == (256, 256)
    assert Recipe(**GOOD, **TEXTS).text_batch == 64
