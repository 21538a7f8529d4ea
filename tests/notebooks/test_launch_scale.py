"""The launching chapter at paper scale: Table 18 in its YAML, for each of the eight models."""

import pytest

from towers import experiments, published
from towers.experiments import resolve
from towers.papers import clip

LAUNCH = experiments.get("scale/launch")
MODELS = [name for name, model in clip.MODELS.items() if model.epochs > 1]


def test_the_choices_are_the_eight_models_and_one_of_your_own():
    assert LAUNCH.choices["model"] == ["", *MODELS]
    assert len(MODELS) == 8


@pytest.mark.parametrize("name", MODELS)
def test_what_the_yaml_says_is_table_18(name):
    values = resolve(LAUNCH, "paper", {"model": name})
    model, settings = clip.MODELS[name], values["settings"]
    recipe = clip.recipe(model, values["data_names"], seed=values["seed"], **settings)
    frame = published.table("clip", 18).frame.set_index("hyperparameter")
    column = frame["ResNet" if name.startswith("RN") else "ViT"]
    assert settings["batch"] == recipe.batch == column["Batch size"]
    assert settings["epochs"] == recipe.epochs == column["Training epochs"]
    assert settings["weight_decay"] == recipe.weight_decay == column["Weight decay"]
    assert settings["warmup"] == recipe.warmup == column["Warm-up iterations"]
    assert recipe.betas == (column["Adam β_1"], column["Adam β_2"])
    assert recipe.eps == column["Adam ϵ"]
