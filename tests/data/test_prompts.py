"""Prompts and class names: well-formed, and open_clip's own where we claim so."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from towers.data import prompts
from towers.data.cards import CARDS
from towers.data.errors import DataError
from towers.data.prompts import OF_NO_SET, class_names, templates
from towers.data.torchvision_sets import LAYOUTS

TEMPLATES = [name for name, card in CARDS.items() if card.templates]
ZERO_SHOT = Path(__file__).parents[2] / "notebooks/clip/zero_shot.yaml"

LENGTHS = {
    "imagenet": 1000,
    "cifar10": 10,
    "cifar100": 100,
    "mnist": 10,
    "svhn": 10,
    "digits": 10,
    "clevrclassification": 8,
    "fashionmnist": 10,
    "eurosat": 10,
    "gtsrb": 43,
    "fer2013": 7,
    "pcam": 2,
}


@pytest.mark.parametrize("name", [*TEMPLATES, *OF_NO_SET, "generic"])
def test_every_template_has_one_place_for_the_class(name):
    for template in templates(name):
        assert template.format("blackbird").count("blackbird") == 1
        assert template.format("{}") == template
    assert len(set(templates(name))) == len(templates(name))


def test_imagenet_templates_are_those_of_open_clip():
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    assert len(templates("imagenet")) == 80  # Radford et al. 2021, section 3.1.4
    for ours, theirs in zip(templates("imagenet"), OPENAI_IMAGENET_TEMPLATES, strict=True):
        assert ours.format("tench") == theirs("tench")


def test_imagenet_names_are_those_of_open_clip_but_unique():
    from open_clip import IMAGENET_CLASSNAMES

    differ = {
        index: (theirs, ours)
        for index, (theirs, ours) in enumerate(
            zip(IMAGENET_CLASSNAMES, class_names("imagenet"), strict=True)
        )
        if theirs != ours
    }
    assert differ == {744: ("missile", "projectile"), 836: ("sunglasses", "sunglass")}


@pytest.mark.parametrize("name", LENGTHS)
def test_class_names_are_unique_words(name):
    names = class_names(name)
    assert len(names) == len(set(names)) == LENGTHS[name]
    assert all(text and text == text.strip() and "_" not in text for text in names)


def test_order_is_that_of_torchvision():
    from torchvision.datasets import MNIST, FashionMNIST

    assert [name.split(" - ")[0] for name in MNIST.classes] == list(class_names("mnist"))
    for ours, theirs in zip(class_names("fashionmnist"), FashionMNIST.classes, strict=True):
        assert theirs.split("/")[0].lower() in ours.lower()


def test_cifar100_is_in_the_order_of_its_archive():
    names = [name.replace(" ", "_") for name in class_names("cifar100")]
    assert names == sorted(names)  # its fine labels are numbered alphabetically


@pytest.mark.parametrize("call", [templates, class_names])
def test_unknown_names_list_the_known_ones(call):
    with pytest.raises(DataError, match=r"cifar10.*got 'cifar'") as caught:
        call("cifar")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_reading_prompts_does_not_import_torch():
    code = (
        "import sys; from towers.data.prompts import class_names, templates;"
        "templates('imagenet'); class_names('imagenet'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompt_sets_name_the_four_ways_of_figure_4():
    sets = prompts.prompt_sets("samples:mnist")
    assert list(sets) == ["class name", "simple", "task prompt", "ensemble"]
    assert sets["class name"] == ("{}",)
    assert sets["ensemble"] == prompts.templates("mnist")
    assert sets["task prompt"] == prompts.templates("mnist")[:1]
    assert prompts.prompt_sets("emoji:noto[test]")["ensemble"] == prompts.templates("emoji")


def test_a_smaller_ensemble_is_drawn_evenly():
    whole = prompts.templates("imagenet")
    few = prompts.prompt_sets("samples:imagenet", most=8)["ensemble"]
    assert few == whole[::10]
    assert prompts.prompt_sets("stamps", most=99)["ensemble"] == prompts.templates("stamps")


def test_every_task_of_the_zero_shot_experiment_has_a_prompt_of_its_own():
    scales = yaml.safe_load(ZERO_SHOT.read_text(encoding="utf-8"))["scales"]
    tasks = [task for scale in scales.values() for task in scale.get("tasks", ())]
    assert any(task.startswith("torchvision:") for task in tasks)
    for task in tasks:
        sets = prompts.prompt_sets(task)
        assert list(sets) == ["class name", "simple", "task prompt", "ensemble"], task


@pytest.mark.parametrize("place", ["", "[test]", ":~/data", ":~/data[test]", ":/d/[raw]/x[test]"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_torchvision_names_find_their_templates(name, place):
    own = name.lower()
    known = own in TEMPLATES
    sets = prompts.prompt_sets(f"torchvision:{name}{place}")
    assert sets["ensemble"] == templates(own if known else "generic")
    assert ("task prompt" in sets) == known


@pytest.mark.parametrize(
    "name",
    ["imagefolder:~/pictures", "imagefolder:mnist", "folder:a/b[train]", "shards:d/{0..9}.tar",
     "torchvision:Unheard", "samples:simple", "samples:"],
)  # fmt: skip
def test_a_set_without_templates_gets_the_generic_ones(name):
    from open_clip import SIMPLE_IMAGENET_TEMPLATES

    assert prompts.prompt_sets(name) == {
        "class name": ("{}",),
        "simple": ("A photo of a {}.",),
        "ensemble": tuple(template("{}") for template in SIMPLE_IMAGENET_TEMPLATES),
    }


def test_a_misspelt_name_is_refused():
    with pytest.raises(DataError, match=r"stamps.*got 'stampz'"):
        prompts.prompt_sets("stampz")
