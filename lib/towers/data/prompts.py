"""Prompts and class names: what a zero-shot classifier is told.

A template is a string with one `{}` for the class name. The first template of a data set is its
single task prompt; all of them together are its ensemble.

Data sets without templates of their own, a user's folder among them, get `generic` ones, which
fit things that can be photographed.

Source: Radford et al. 2021, section 3.1.4: name the kind of thing or the kind of picture, put
quotes around a number that is to be read, and vary the context for an ensemble.
"""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from towers.data import cards
from towers.data.cards import CARDS
from towers.data.errors import DataError

OF_NO_SET = {"contextless": ("{}",), "simple": ("A photo of a {}.",)}
"""Templates that belong to no data set: the bare class name, and the paper's default prompt."""
_READ = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "generic": "SIMPLE_IMAGENET_TEMPLATES"}
"""Templates that open_clip's package has."""
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
    if name in OF_NO_SET:
        return OF_NO_SET[name]
    known = [other for other, card in CARDS.items() if card.templates]
    if name not in known:
        named = ", ".join(sorted([*known, *OF_NO_SET, "generic"]))
        raise DataError(f"expected templates of one of {named}; got {name!r}; name one of them")
    listed = CARDS[name].templates
    return templates(listed) if isinstance(listed, str) else listed


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
    known = [other for other, card in CARDS.items() if card.classes]
    if name not in known:
        named = ", ".join(known)
        raise DataError(f"expected class names of one of {named}; got {name!r}; name one of them")
    listed = CARDS[name].classes
    return class_names(listed) if isinstance(listed, str) else listed


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
    listed = (folder / "imagenet_synsets.txt").read_text().split()
    known = dict(zip(listed, class_names("imagenet"), strict=True))
    if others := set(ids) - set(known):
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text().split("\n")
        entries = {key: words for key, _, words in (line.partition("\t") for line in lines)}
        firsts = {key: entries[key].split(",")[0] for key in others & set(entries)}
        shared = Counter([*firsts.values(), *(known[code] for code in ids if code in known)])
        known |= {key: name if shared[name] == 1 else entries[key] for key, name in firsts.items()}
    if unknown := [code for code in ids if code not in known]:
        raise DataError(
            f"expected WordNet ids as class names throughout, got {unknown[0]!r}; use English "
            "names for all classes"
        )
    names = tuple(known[code] for code in ids)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        both = ", ".join(code for code in ids if known[code] == twice[0])
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
    card = cards.of_collection(name)
    known = card is not None and card.templates is not None
    chosen = templates(card.name if known else "generic" if card or ":" in name else name)
    count = min(most, len(chosen)) or len(chosen)
    task = {"task prompt": chosen[:1]} if known else {}
    return {
        "class name": templates("contextless"),
        "simple": templates("simple"),
        **task,
        "ensemble": tuple(chosen[index * len(chosen) // count] for index in range(count)),
    }


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
