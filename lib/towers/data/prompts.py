"""Prompts and class names: what a zero-shot classifier is told.

A template is a string with one `{}` for the class name. The first template of a data set is its
single task prompt; all of them together are its ensemble.

Data sets without templates of their own, a user's folder among them, get `generic` ones, which
fit things that can be photographed.

Source: Radford et al. 2021, section 3.1.4: name the kind of thing or the kind of picture, put
quotes around a number that is to be read, and vary the context for an ensemble.
"""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from towers.data.errors import DataError

_PHOTO = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a low-resolution photo of a {}.",
    "a small photo of a {}.",
    "a photo of a big {}.",
    "a photo of a small {}.",
    "a photo of the {}.",
    "a close-up of a {}.",
)
_DIGIT = (
    'a photo of the number: "{}".',
    'the handwritten digit "{}".',
    'a scan of the digit "{}".',
    'a blurry picture of the number "{}".',
    'someone wrote the number "{}" by hand.',
)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "contextless": ("{}",),
    "simple": ("A photo of a {}.",),
    "cifar10": _PHOTO,
    "cifar100": _PHOTO,
    "clipart": (
        "clip art of a {}.",
        "a drawing of a {}.",
        "an illustration of a {}.",
        "a cartoon of a {}.",
        "a simple picture of a {}.",
        "an icon of a {}.",
        "a line drawing of a {}.",
        "{}, clip art",
    ),
    "digits": _DIGIT,
    "emoji": (
        "an emoji of a {}.",
        "the {} emoji.",
        "an icon of a {}.",
        "a small picture of a {}.",
        "a cartoon of a {}.",
        "a symbol for {}.",
        "a drawing of the {}.",
        "{}",
    ),
    "eurosat": (
        "a satellite photo of {}.",
        "a centred satellite photo of {}.",
        "{} seen from above.",
    ),
    "fashionmnist": (
        "a photo of a {}, a type of clothing.",
        "a black and white photo of a {}.",
        "a small picture of a {} in a catalogue.",
        "a {} to wear.",
        "a product photo of the {}.",
    ),
    "fer2013": ("a photo of a {} face.", "a face that looks {}.", "someone who is {}."),
    "fgvcaircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {} aircraft."),
    "flowers102": ("a photo of a {}, a type of flower.",),
    "food101": ("a photo of {}, a type of food.",),
    "gtsrb": (
        'a photo of a "{}" traffic sign.',
        'a close-up of the traffic sign "{}".',
        'a blurry photo of a "{}" sign by the road.',
    ),
    "mnist": _DIGIT,
    "oxfordiiitpet": ("a photo of a {}, a type of pet.",),
    "pcam": ("this is a photo of {}.", "a slide of {} under a microscope."),
    "scenes": (
        "a picture of one {}",
        "an image with one {}",
        "a drawing of one {}",
        "we can see one {}",
        "one {}",
    ),
    "stamps": (
        "a picture of a {}.",
        "a photo of a {}.",
        "a photo of the {}.",
        "a drawing of a {}.",
        "a cartoon of a {}.",
        "a picture of {} on a white background.",
        "a sticker of a {}.",
        "a picture of several {}.",
    ),
    "stanfordcars": ("a photo of a {}, a type of car.", "a photo of my {}."),
    "svhn": ('a photo of the number: "{}".', 'a photo of the house number "{}".'),
}
"""Our own templates by data set; `templates` reads two more sets from open_clip's package."""

_READ = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "generic": "SIMPLE_IMAGENET_TEMPLATES"}

_SAME_CLASSES = {"mnist": "digits", "svhn": "digits"}
_BRACKETS = re.compile(r"(\[[^\[\]]*\])+$")
_SECOND_NAMES = {744: "projectile", 836: "sunglass"}


def templates(name: str) -> tuple[str, ...]:
    """The prompt templates of a data set, each with one `{}`.

    Args:
        name: "contextless" (the bare class name), "simple" (the paper's default prompt),
            "imagenet" (the paper's 80 contexts, from open_clip's package), "generic" (the seven
            of them that open_clip calls simple), or a data set.

    Raises:
        DataError: there are none of that name; the message lists the names.
    """
    if name in _READ:
        return tuple(template("{}") for template in getattr(_metadata(), _READ[name]))
    if name not in TEMPLATES:
        known = ", ".join(sorted([*TEMPLATES, *_READ]))
        raise DataError(f"expected templates of one of {known}; got {name!r}; name one of them")
    return TEMPLATES[name]


def class_names(name: str) -> tuple[str, ...]:
    """The class names of a data set, in the order of its label numbers.

    "imagenet" is open_clip's list, with its two repeated names told apart by their other WordNet
    names (744 "projectile", 836 "sunglass"), so that a name stands for one class.

    Raises:
        DataError: there are none of that name; the message lists the names.
    """
    if name == "imagenet":
        names = list(imagenet_as_listed())
        for index, second in _SECOND_NAMES.items():
            names[index] = second
        return tuple(names)
    table = _class_table()
    name_of_list = _SAME_CLASSES.get(name, name)
    if name_of_list not in table:
        known = ", ".join(sorted([*table, *_SAME_CLASSES, "imagenet"]))
        raise DataError(f"expected class names of one of {known}; got {name!r}; name one of them")
    return table[name_of_list]


def imagenet_as_listed() -> tuple[str, ...]:
    """ImageNet's 1,000 names as open_clip and CLIP_benchmark list them, two of them repeated."""
    return tuple(_metadata().IMAGENET_CLASSNAMES)


def wordnet_names(ids: Sequence[str]) -> tuple[str, ...]:
    """English names of WordNet ids such as "n01440764": ImageNet's own where it has the class.

    Others, as in ImageNet-21k, are the first of the words of their WordNet entry, or all of them
    where two classes share the first.

    Raises:
        DataError: something that is no id, an id that WordNet 3.0 lacks, or two of one name.
    """
    folder = _package("timm").parent / "data/_info"
    own = (folder / "imagenet_synsets.txt").read_text().split()
    known = dict(zip(own, class_names("imagenet"), strict=True))
    if others := set(ids) - set(known):
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text().split("\n")
        entries = {key: words for key, _, words in (line.partition("\t") for line in lines)}
        firsts = {key: entries[key].split(",")[0] for key in others & set(entries)}
        shared = Counter([*firsts.values(), *(known[each] for each in ids if each in known)])
        known |= {key: name if shared[name] == 1 else entries[key] for key, name in firsts.items()}
    if unknown := [each for each in ids if each not in known]:
        raise DataError(
            f"expected WordNet ids as class names throughout, got {unknown[0]!r}; use English "
            "names for all classes"
        )
    names = tuple(known[each] for each in ids)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        both = ", ".join(each for each in ids if known[each] == twice[0])
        raise DataError(
            f"expected WordNet ids of different names, got {both}, which are all {twice[0]!r}; "
            "give their folders English names that differ"
        )
    return names


def prompt_sets(name: str, most: int = 0) -> dict[str, tuple[str, ...]]:
    """The ways to tell a model the classes of a data set, as in Fig. 4 of the paper.

    Args:
        name: as for `data.load`: "emoji:noto[test]", "samples:mnist", "torchvision:Food101:~/data",
            "imagefolder:~/pictures".
        most: templates of an ensemble, evenly drawn from all of them; 0 takes all.

    Returns:
        "class name" (contextless), "simple" (the paper's default prompt), "task prompt" (the
        first of the data set's templates) and "ensemble" (several of them). A data set that we
        have no templates for, such as your own, has no "task prompt", and its ensemble is the
        generic one: for kinds of pictures that are not photographs, give `zero_shot.evaluate`
        your own templates instead.

    Raises:
        DataError: a name without a colon that is no data set with templates.
    """
    own = data_set(name)
    chosen = templates(own)
    count = min(most, len(chosen)) or len(chosen)
    task = {} if own == "generic" else {"task prompt": chosen[:1]}
    return {
        "class name": templates("contextless"),
        "simple": templates("simple"),
        **task,
        "ensemble": tuple(chosen[index * len(chosen) // count] for index in range(count)),
    }


def data_set(name: str) -> str:
    """Whose templates a collection takes."""
    kind, colon, rest = _BRACKETS.sub("", name).partition(":")
    sub = rest.partition(":")[0].lower() if kind == "torchvision" else rest
    sets = {*TEMPLATES, "imagenet"} - {"contextless", "simple"}  # the latter are no data set's
    if kind in ("samples", "torchvision") and sub in sets:
        return sub
    return kind if kind in sets or not colon else "generic"


@cache
def _class_table() -> dict[str, tuple[str, ...]]:
    lists = json.loads(Path(__file__).with_name("classes.json").read_text(encoding="utf-8"))
    return {name: tuple(names) for name, names in lists.items()}


@cache
def _metadata() -> ModuleType:
    """open_clip's module of names and templates alone; the package itself would import torch."""
    spec = importlib.util.spec_from_file_location(
        "towers_open_clip_metadata", _package("open_clip").with_name("zero_shot_metadata.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _package(name: str) -> Path:
    """The file of a package that has names of ours, found without importing it (and torch)."""
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise DataError(f"expected the package {name} for ImageNet's class names; install it")
    return Path(package.origin)
