"""Cards: what is known about each data set, one YAML file each, read strictly.

A card says where its files come from, who reads them, what its classes are called, and how they
are told to a model. It lies in the folder `cards` of the room that uses the files: `data/cards` for
data sets, `models/cards` for the towers that come as packages, `rendering/cards` for glyphs.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from towers import checked, strict_yaml
from towers.checked import Line, Lines
from towers.data.errors import DataError

_BRACKETS = re.compile(r"(\[[^\[\]]*\])+$")
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Reader = Annotated[str, Field(pattern=r"^[a-z_.]+:[a-z_]+$")]


@checked.fields(DataError)
class Source:
    """Files inside a package, pinned by one hash over those that are used.

    Attributes:
        name: for people and for `towers data get`.
        kind: "deb", "wheel" (one that is installed), or what pip only downloads: "sdist",
            "foreign wheel".
        package: as `apt-get` or `pip` calls it.
        version: the version that the hash is of; of a deb the upstream part.
        licence: of the files.
        root: folder inside the package; wheel: import name of the module that holds them.
        endings: of the files that count.
        sha256: over the files, as `sources.tree_digest` computes it.
        archive: SHA-256 of the file that pip downloads; of the others empty.
    """

    name: Line
    kind: Literal["deb", "wheel", "sdist", "foreign wheel"]
    package: Line
    version: Line
    licence: Line
    root: Line
    endings: Lines
    sha256: Sha256
    archive: Sha256 | Literal[""] = ""


@checked.fields(DataError)
class Torchvision:
    """How torchvision reads a data set.

    Attributes:
        dataset: its class in `torchvision.datasets`.
        keyword: of that class, for the part; None: it has no parts.
        parts: our name of a part -> the keyword's value. Where only "val" is public (ImageNet,
            CLEVR) it plays the test.
        first: the smallest label.
    """

    dataset: Line
    keyword: Line | None = None
    parts: dict[Literal["train", "val", "test"], str | bool] = Field(default_factory=dict)
    first: int = 0


@checked.fields(DataError)
class Card:
    """What is known about one data set.

    Attributes:
        name: of its file.
        reader: module below `towers.data` and function that `data.load` calls, as
            "stamps:stamps"; None: the set is no collection that comes with the library.
        stands_for: what Table 11 of the CLIP paper calls it.
        metric: what the paper scores it by, one of `towers.metrics.scores.BY_NAME`.
        torchvision: how torchvision reads it, if it does.
        sources: the packages that its files come from, by name.
        classes: their names in the order of their numbers; the name of a card that has the same;
            or "open_clip" for those in that package.
        templates: its prompts, each with one `{}` for the class; or as for `classes`.
    """

    name: Line
    reader: Reader | None = None
    stands_for: Line | None = None
    metric: Line | None = None
    torchvision: Torchvision | None = None
    sources: dict[str, Source] = Field(default_factory=dict)
    classes: Lines | Line | None = None
    templates: Lines | Line | None = None


def parse(text: str, name: str) -> Card:
    """A card from the text of its file.

    Raises:
        DataError: no YAML, an unknown key, or a value of a wrong type; one line that names the
            card.
    """
    try:
        content = strict_yaml.load(text, DataError)
        if isinstance(content, dict) and isinstance(content.get("sources"), dict):
            content["sources"] = {
                source: checked.build(Source, fields, DataError, name=source)
                for source, fields in content["sources"].items()
            }
        if isinstance(content, dict) and "torchvision" in content:
            content["torchvision"] = checked.build(Torchvision, content["torchvision"], DataError)
        return checked.build(Card, content, DataError, name=name)
    except DataError as error:
        raise DataError(f"card {name}: {error}") from None


def of_collection(name: str) -> Card | None:
    """The card of what a collection shows; None for your own data.

    Args:
        name: as for `data.load`: "emoji:noto[test]", "samples:mnist" (MNIST's card),
            "torchvision:Food101:~/data".
    """
    kind, _, rest = _BRACKETS.sub("", name).partition(":")
    shown = rest.partition(":")[0].lower()
    return CARDS.get(shown if kind in ("samples", "torchvision") and shown in CARDS else kind)


@cache
def of(package: Path) -> Mapping[str, Card]:
    """The cards of all rooms of a `towers` package, by name."""
    paths = sorted(package.glob("*/cards/*.yaml"), key=lambda path: path.stem)
    return MappingProxyType(
        {path.stem: parse(path.read_text(encoding="utf-8"), path.stem) for path in paths}
    )


CARDS = of(Path(__file__).parents[1])
"""All cards by name."""
SOURCES = {name: source for card in CARDS.values() for name, source in card.sources.items()}
"""The packages that hold what we use, by name."""
