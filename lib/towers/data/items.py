"""The form that every data set takes: items with captions, in an immutable collection."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from towers import checked
from towers.data.errors import DataError
from towers.data.images import on_white, open_image
from towers.data.languages import language_code
from towers.data.reports import Report
from towers.data.svg import Raster, Scaled

PARTS = ("train", "val", "test")
Source = Path | bytes | Callable[[], Image.Image]


_PLACE = tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]]
TASKS = {
    task: TypeAdapter(kind, config=checked.STRICT)
    for task, kind in {
        "class": str,
        "classes": Annotated[tuple[str, ...], checked.LISTED],
        "number": float,
        "place": Annotated[_PLACE, checked.LISTED],
    }.items()
}
"""What an item may have a target for: its class, several classes, a number, or a place (degrees of
latitude and longitude). Lists become tuples."""


def content_key(content: bytes) -> str:
    """The identity of an original: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _target(task: str, value: Any, name: str) -> Any:
    if task not in TASKS:
        raise DataError(
            f"expected targets of {', '.join(TASKS)} for {name!r}, got {checked.short(task)}"
        )
    try:
        return TASKS[task].validate_python(value)
    except ValidationError:
        raise DataError(
            f"expected a {task} as target of {name!r}, got {checked.short(value)}"
        ) from None


def position(text: str) -> float:
    """Where a text falls in [0, 1]: its SHA-256 over 2^256, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) / 2**256


@dataclass(frozen=True)
class Item:
    """One picture with what is said about it.

    Attributes:
        key: identity, `content_key` of the original's bytes; splits rest on it.
        name: for people, unique within a collection where it can be: "animals/birds/blackbird".
        image: a file, its bytes, or a picklable function without arguments that returns a picture
            (`functools.partial` of a module's function, or a frozen dataclass with `__call__`);
            not compared, the key is.
        captions: language code (`language_code`) -> captions, at least one; "en" first, the others
            sorted.
        targets: what is right for it, by task of `TASKS`: {"class": "owl"}; None is left out.
        category: a coarser group, such as the folder.
        style: "photo", "drawing", "openmoji", ...
        group: name of a group of near duplicates; a split never cuts one. None: the key's own.
        split: "train", "val" or "test" where the data set's authors say so; None: by hash.
    """

    key: str
    name: str
    image: Source = field(compare=False, repr=False)
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    targets: Mapping[str, Any] = field(default_factory=dict, hash=False)
    category: str | None = None
    style: str | None = None
    group: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if any(isinstance(texts, str) for texts in self.captions.values()):
            raise DataError(
                f"expected a tuple of captions per language for {self.name!r}, got a bare string; "
                "wrap it: {'en': (caption,)}"
            )
        if self.split not in (None, *PARTS):
            raise DataError(
                f"expected split train, val or test for {self.name!r}, got {self.split!r}; "
                "leave it None to split by hash"
            )
        captions = {
            language: tuple(self.captions[language])
            for language in sorted(self.captions, key=lambda code: (code != "en", code))
            if self.captions[language]
        }
        given = {task: value for task, value in self.targets.items() if value is not None}
        targets = {task: _target(task, given[task], self.name) for task in given}
        object.__setattr__(self, "captions", MappingProxyType(captions))
        object.__setattr__(self, "targets", MappingProxyType(targets))

    def __reduce__(self) -> tuple:
        """Pickles: the read-only mappings travel as plain ones."""
        return Item, (
            self.key, self.name, self.image, dict(self.captions), dict(self.targets),
            self.category, self.style, self.group, self.split,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Collection(Sequence[Item]):
    """Items in a fixed order; parts of it are collections as well and share its items.

    Attributes:
        name: as given to `data.load`, with what was cut from it: "stamps[test]".
        items: the items.
        report: of the loading; a part keeps the report of the whole.
        licence: of the data, in a word or two.
        version: of the data (and of what draws it, where it is drawn).
        class_names: the classes in the order of their numbers; None: those of the items,
            sorted. A part keeps the classes of the whole, so that numbers mean the same in all.
    """

    name: str
    items: tuple[Item, ...]
    report: Report
    licence: str = ""
    version: str = ""
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        """The item at an index; for a slice, the collection of those items."""
        if isinstance(index, slice):
            return self.of(self.items[index], "slice")
        return self.items[index]

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {len(self)} items, digest {self.digest[:12]})"

    def image(self, index: int, scaled: Scaled | None = None) -> Image.Image:
        """The picture of one item: RGB, opaque on white, every pixel of its file.

        Args:
            index: of the item.
            scaled: width and height of a picture -> those that the caller will scale it to; a
                drawing is then drawn so large that this enlarges nothing. None: at 256 pixels.

        Raises:
            BadImage: it is refused, or was damaged after loading.
        """
        source = self.items[index].image
        if isinstance(source, Raster):
            return source(scaled)
        if callable(source):
            return on_white(source())
        return open_image(source)

    def captions(self, language: str = "en") -> list[tuple[str, ...]]:
        """Each item's captions in one language, in either spelling of its code (`language_code`);
        an empty tuple where it has none."""
        code = language_code(language)
        return [item.captions.get(language) or item.captions.get(code, ()) for item in self.items]

    def languages(self) -> dict[str, int]:
        """Language -> number of items with a caption in it, the commonest first."""
        counts = Counter(language for item in self.items for language in item.captions)
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def targets(self, task: str) -> list:
        """What is right for each item in one task.

        Args:
            task: of `TASKS`.

        Raises:
            DataError: an item has no such target.
        """
        lacking = [item.name for item in self.items if task not in item.targets]
        if lacking:
            raise DataError(
                f"expected a {task} of every item of {self.name}, got none of {len(lacking)} in "
                f"{len(self)}, such as {lacking[0]!r}; leave them out with .where"
            )
        return [item.targets[task] for item in self.items]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names; `labels` are indices into them."""
        if self.class_names is not None:
            return tuple(self.class_names)
        return tuple(
            sorted({item.targets["class"] for item in self.items if "class" in item.targets})
        )

    @cached_property
    def labels(self) -> Int[np.ndarray, " items"]:
        """Class number of each item; -1 for an item without a class."""
        number = {label: index for index, label in enumerate(self.classes)}
        return np.array(
            [number.get(item.targets.get("class"), -1) for item in self.items], dtype=np.int64
        )

    @cached_property
    def groups(self) -> Shaped[np.ndarray, " items"]:
        """Group of near duplicates that each item belongs to; its key where it is in none."""
        return np.array([item.group or item.key for item in self.items], dtype=str)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over version, classes, and each item's key, words and targets, in order."""
        content = hashlib.sha256()
        for part in (
            [self.version, self.classes],
            *(
                [item.key, [*item.captions.items()], {**item.targets}, item.category, item.style]
                for item in self.items
            ),
        ):
            content.update(json.dumps(part).encode() + b"\n")
        return content.hexdigest()

    @cached_property
    def picture_keys(self) -> tuple[str, ...]:
        """Identity of each picture as `image` returns it, whatever is said about it."""
        return tuple(f"{self.version} {item.key}" for item in self.items)

    @property
    def picture_modules(self) -> list[str]:
        """Module that gives each picture: that of its function, or of `open_image` for a file."""
        sources = (getattr(item.image, "func", item.image) for item in self.items)
        return [s.__module__ if callable(s) else open_image.__module__ for s in sources]

    def split(self, part: str, test: float = 0.2, val: float = 0.0) -> "Collection":
        """One of three parts that never overlap, whatever the order or the other items.

        An item goes where the data set's authors put it (`Item.split`), else where the hash of
        its group (of its key, if it has none) falls: below `test` to "test", in the next `val`
        to "val", the rest to "train". So a larger `test` keeps every item of a smaller one.

        Raises:
            DataError: an unknown part, or fractions outside [0, 1] or above 1 together.
        """
        if part not in PARTS:
            raise DataError(f"expected a part train, val or test, got {part!r}; name one of them")
        if not (0 <= test <= 1 and 0 <= val <= 1 and test + val <= 1):
            raise DataError(
                f"expected fractions of at most 1 together, got test={test}, val={val}; lower them"
            )

        def home(item: Item) -> str:
            place = position(item.group or item.key)
            return "test" if place < test else "val" if place < test + val else "train"

        chosen = [item for item in self.items if (item.split or home(item)) == part]
        given = Counter(item.split for item in self.items)
        if not chosen and given and None not in given:
            raise DataError(
                f"expected items in part {part!r} of {self.name}, whose authors made only "
                f"{dict(given)}; ask for one of these"
            )
        return self.of(chosen, part)

    def where(self, predicate: Callable[[Item], bool]) -> "Collection":
        """The items of which something is true."""
        return self.of(filter(predicate, self.items), "predicate")

    def take(self, n: int, seed: int) -> "Collection":
        """At most n items, drawn by a seeded hash of their keys: the same from any order."""
        if n < 0:
            raise DataError(f"expected n >= 0 items to take, got {n}; ask for none or more")
        order = sorted(
            self.items, key=lambda item: (position(f"{seed}:{item.key}"), item.key, item.name)
        )
        return self.of(order[:n], f"{n} of seed {seed}")

    def concat(self, *others: "Collection") -> "Collection":
        """This collection followed by others; classes are united, reports added."""
        parts = (self, *others)
        same = all(part.classes == self.classes for part in others)
        return Collection(
            name="+".join(part.name for part in parts),
            items=tuple(item for part in parts for item in part.items),
            report=sum((part.report for part in others), self.report),
            licence=_joined(part.licence for part in parts),
            version=_joined(part.version for part in parts),
            class_names=self.classes
            if same
            else tuple(sorted({name for part in parts for name in part.classes})),
        )

    def of(self, items: Iterable[Item], name: str) -> "Collection":
        """Some of the items, with the classes of all; `name` is put in brackets behind ours."""
        return replace(
            self, name=f"{self.name}[{name}]", items=tuple(items), class_names=self.classes
        )


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
