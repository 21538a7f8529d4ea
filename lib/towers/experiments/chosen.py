"""Decides which modules a result depends on: all that its code imports, with two exceptions.

`CHOSEN`: some modules choose by name, as `models.load("timm:...")` never looks at a packaged tower.
Such an import counts only where a word names it, in a recipe, in a notebook's parameters and code,
or in a module that counts. Defaults always count. Cards, and the readers that they name, are
treated alike: `data.load("emoji")` never looks at clip art.

`ASIDE`: modules that cannot change a result.

Whatever is in neither list counts, so that a module that nobody thought of makes too much stale,
never too little. Readers of data count although a collection's digest covers captions and the
originals of pictures, for they also decode pictures. The digest of `scenes` covers their settings
alone, so their world counts, and the grammar of each language that is asked for.
"""

import re
from collections.abc import Iterable

from towers.data import cards
from towers.experiments.modules import Package

_ADAPTERS = r"layerwise\b|deep\b|file:"
_FAMILY = r"shared:|scratch:(map|pixels|words)\b|big_vision:|file:"
_POLICIES = "everything|projections|nothing|locked|layer-norms|bitfit|random"
_WORDS = "bag-of-words|captions$"
_HEADS = "(answers|task)$"
_TRAINED = "(?!)"  # bounds of a scale: they matter where an objective trains it, which counts then
CHOSEN = {
    "data": {"data.custom": r"(folder|imagefolder|shards|coco|flickr30k|torchvision):"},
    "data.scenes.languages": {
        "data.scenes.german": r"de\b",
        "data.scenes.japanese": r"ja\b",
        "data.scenes.romance": r"(es|fr|it)\b",
        "data.scenes.russian": r"ru\b",
    },
    "models.checkpoints": {"models.adapters": _ADAPTERS},
    "models.duals": {"losses": _TRAINED},
    "models.encoders": {"losses": _TRAINED, "models.adapters": _ADAPTERS},
    "models.family": {
        "models.readers": r"(scratch|shared):(pixels|words)\b|big_vision:|file:",
        "models.vocabularies": r"(scratch|shared):words\b|file:",
    },
    "models.pretrained": {
        "models.adapters": _ADAPTERS,
        "models.big_vision": "big_vision:",
        "models.e5": r"package:multilingual-e5-small\b|file:",
        "models.family": _FAMILY,
        "models.libraries": "open_clip:|timm:|file:",
        "models.packaged": "package:|file:",
        "models.resolution": "open_clip:|file:",
        "models.scratch": "scratch:|shared:|file:",
        "models.sentences": "hf:|file:",
    },
    "models.readers": {"rendering": r"(scratch|shared):pixels\b|big_vision:|file:"},
    "models.scratch": {"models.family": _FAMILY},
    "models.trainable": {"models.terms": rf"{_POLICIES}|{_ADAPTERS}"},
    "models.vocabularies": {"data": r"of_collections\b"},
    "training.loading": {
        "data.scenes": r"scenes\b",
        "data.duplicates": r"apart\b",
        "models.features": r"cache_features\b|teacher\b",
        "training.shards": "shards:",
    },
    "training.loop": {"training.caching": r"chunk\b"},
    "training.labelled": {"data.glue": "glue:", "data.vqav2": "vqav2:"},
    "training.making": {
        "models.answering": _HEADS,
        "models.objectives": _WORDS,
        "training.correlations": r"penalties\b",
        "training.labelled": _HEADS,
    },
    "training.objectives": {
        "losses.predictive": _WORDS,
        "models.answering": _HEADS,
        "models.objectives": _WORDS,
    },
    "training.optimisers": {"training.adafactor": "adafactor"},
    "training.runs": {
        "models.resolution": "(run|file):",
        "training.logs": "(?!)",
        "training.validation": r"validation\b",
    },
    "training.texts": {
        "data.sources": r"news\b",
        "training.lines": r"(sentences|parallel|backtranslation):|news\b",
    },
}
"""Module that chooses -> module -> expression for the beginning of a word, or of a part of one."""

ASIDE = {
    "files": "where files lie, and that they are written whole",
    "data.archives": "bring bytes that are used only if their hash is the pinned one",
    "data.debs": "the same",
    "training.folder": "whose folder a run is",
    "training.launch": "starts ranks, which train as one process does",
    "training.processes": "starts ranks, and lets all of them stop, also by a signal",
    "training.room": "refuses what would not fit, before anything starts",
    **dict.fromkeys([
        "experiments.chosen", "experiments.execution", "experiments.experiment",
        "experiments.fingerprints", "experiments.freshness", "experiments.kernel",
        "experiments.modules", "experiments.parameters", "experiments.provenance",
    ], "when, where and with which parameters a notebook runs; these are in the digest themselves"),
}  # fmt: skip
"""Module -> why it cannot change a result."""

LISTS = {
    *CHOSEN, "data.cards", "data.prompts", "training.plans", "training.recipe",
}  # fmt: skip
"""Modules that list names without asking for what they name."""


def reached(
    package: Package, roots: Iterable[str], words: Iterable[str], alone: bool = False
) -> list[str]:
    """The modules that a result depends on, sorted.

    Args:
        package: the `towers` package.
        roots: what its code imports, as `modules.imports` gives it.
        words: of its parameters and code.
        alone: whether only these words choose; else those of the modules that count do too.

    Raises:
        ExperimentError: a module is no Python.
    """
    roots, words = list(roots), set(words)
    while True:
        names = _closure(package, roots, "\n".join(words))
        more = words.union(*(package[name].words for name in names if name[7:] not in LISTS))
        if alone or more == words:
            return sorted(names)
        words = more


def _closure(package: Package, roots: list[str], words: str) -> set[str]:
    names: set[str] = set()
    waiting = [("", name) for name in roots]
    while waiting:
        importer, imported = waiting.pop()
        name = package.target(imported)
        if name in names or name[7:] in ASIDE or not package[name]:
            continue
        choices = CHOSEN.get(importer, {}).items()
        if all(_occurs(pattern, words) for top, pattern in choices if _within(name[7:], top)):
            names.add(name)
            waiting += [(name[7:], target) for target in package[name].imports]
            if name == "towers.data":  # which imports the readers that cards name
                waiting += [
                    (name[7:], f"towers.data.{card.reader}")
                    for card in cards.of(package.folder).values()
                    if card.reader and _occurs(rf"{card.name}\b", words)
                ]
    return names


def named(package: Package, modules: Iterable[str], words: Iterable[str]) -> set[str]:
    """The cards that some words or modules name, and the cards that these name in turn."""
    every = set(words).union(*(package[name].words for name in modules if name[7:] not in LISTS))
    held, text = cards.of(package.folder), "\n".join(every).lower()
    names = {name for name in held if _occurs(rf"{re.escape(name)}\b", text)}
    others = {other for name in names for other in (held[name].classes, held[name].templates)}
    return names | {other for other in others if isinstance(other, str)}


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _occurs(pattern: str, words: str) -> bool:
    return re.search(rf"(?m)(?<![\w-])(?:{pattern})", words) is not None
