"""The book's API pages show every module of the library but those that no reader calls."""

import re
from collections import Counter
from pathlib import Path

import towers
from towers.data import EMBEDDED

PACKAGE = Path(towers.__file__).parent
PAGES = Path(__file__).parents[1] / "book/api"

INTERNAL = {
    "towers.checked", "towers.strict_yaml",
    "towers.data.annotations", "towers.data.archives", "towers.data.catalogue",
    "towers.data.chance", "towers.data.containers",
    "towers.data.debs", "towers.data.folders", "towers.data.intake",
    "towers.data.renderer", "towers.data.reports", "towers.data.svg_child",
    "towers.data.svg_clean", "towers.data.tars",
    "towers.data.torchvision_sets", "towers.data.verdicts",
    "towers.experiments.kernel", "towers.experiments.limits", "towers.experiments.modules",
    "towers.experiments.provenance",
    "towers.data.scenes.drafts", "towers.data.scenes.drawing",
    "towers.data.scenes.english", "towers.data.scenes.german", "towers.data.scenes.japanese",
    "towers.data.scenes.languages", "towers.data.scenes.layouts", "towers.data.scenes.outlines",
    "towers.data.scenes.probes", "towers.data.scenes.romance", "towers.data.scenes.russian",
    "towers.data.scenes.speech",
    "towers.models.seeds",
    "towers.report.graph", "towers.report.html",
    "towers.training.batches", "towers.training.command", "towers.training.folder",
    "towers.training.distributed", "towers.training.processes",
    "towers.widgets.packing",
}  # fmt: skip
"""Readers of single layouts, and steps of checking, loading, drawing and running that nobody asks
for by name."""


def modules() -> set[str]:
    """Dotted names of the library's modules; what a package's face offers is shown where it is."""
    return {
        ".".join(("towers", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }


def shown() -> Counter:
    """How often the pages show each module."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES.glob("*.md")]
    return Counter(re.findall(r"^\.\. automodule:: (\S+)$", "\n".join(texts), re.MULTILINE))


def test_every_module_is_on_one_page_or_internal():
    readers = {f"towers.data.{reader.partition(':')[0]}" for reader in EMBEDDED.values()}
    assert modules() - shown().keys() - readers == INTERNAL
    assert shown().keys() - modules() == {"towers.data", "towers.data.scenes"}
    assert set(shown().values()) == {1}
