"""The samples of data sets by their names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int, UInt64
from PIL import Image

from towers import data, files, models
from towers.data import Report, duplicates, scenes
from towers.data.scenes import Scenes
from towers.models import Preprocessing
from towers.training.errors import TrainingError
from towers.training.samples import (
    CollectionSamples,
    Items,
    Joined,
    Lookup,
    Pictures,
    Read,
    Samples,
    Squares,
    caption,
)
from towers.training.shards import ShardSamples, tars


@dataclass(frozen=True, eq=False)
class SceneSamples(Samples):
    """Scenes, drawn when they are asked for; none of them is ever bad.

    Attributes:
        scenes: speak only languages that are wanted.
        squares: what their pictures become.
    """

    scenes: Scenes
    squares: Squares

    @property
    def blocks(self) -> tuple[int, ...]:
        """Any scene is as near as any other."""
        return (len(self.scenes),)

    @property
    def digest(self) -> str:
        """SHA-256 over the scenes' digest and the squares."""
        return files.sha256(f"{self.scenes.digest} {self.squares.recipe}".encode())

    @property
    def left_out(self) -> Counter:
        """None."""
        return Counter()

    def __len__(self) -> int:
        return len(self.scenes)

    def captions(self) -> Iterator[str]:
        """All captions in the languages."""
        rows = range(len(self))
        return (text for row in rows for texts in self.scenes.texts(row).values() for text in texts)

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """One square and one caption for each row."""
        images, texts = self.scenes.read(rows, picks)
        if not self.squares.keeps(self.scenes.size):
            pairs = zip(images, picks.tolist(), strict=True)
            images = np.stack([self.squares(Image.fromarray(image), pick) for image, pick in pairs])
        if self.squares.mirror:
            pairs = zip(images, picks.tolist(), strict=True)
            images = np.stack([self.squares.turned(image, pick) for image, pick in pairs])
        return Read(images, texts, Counter())


@dataclass(frozen=True, eq=False)
class FeatureSamples(Items):
    """Items whose pictures a frozen tower has looked at once and for all.

    Attributes:
        collection: see `Items`; none whose picture the tower could not read.
        features: of its pictures, one row each.
        tower: checksum and recipe of the tower that gave them.
        languages: see `Items`.
        unreadable: reason -> pictures that were left out.
    """

    collection: data.Collection
    features: Float[np.ndarray, "items width"]
    tower: str
    languages: tuple[str, ...]
    unreadable: Counter = field(default_factory=Counter)

    @property
    def left_out(self) -> Counter:
        """Pictures that the tower could not read."""
        return self.unreadable

    @property
    def digest(self) -> str:
        """SHA-256 over the collection's digest, the tower and the languages."""
        return files.sha256(
            "\0".join((self.collection.digest, self.tower, *self.languages)).encode()
        )

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """Features and one caption for each row."""
        pairs = zip(rows.tolist(), picks.tolist(), strict=True)
        return Read(
            self.features[rows], [caption(self.texts(row), pick) for row, pick in pairs], Counter()
        )


def featured(
    names: Sequence[str],
    tower: models.ImageTower,
    languages: tuple[str, ...],
    dtype: str,
    apart: Sequence[str] = (),
    drawn: tuple[int, int] = (0, 0),
) -> Samples:
    """The samples of some data sets with the features of a frozen tower in the pictures' place.

    Args:
        names: collections or scenes, as for `load`; no shards.
        tower: computes features that are not in the cache, each picture's once.
        languages: of the captions.
        dtype: "fp32" or "bf16", of the tower's arithmetic.
        apart: collections that will be tested on: near duplicates of their pictures are left out.
        drawn: so many items of each, 0 for all, and the seed that draws them.

    Raises:
        ValueError: an unknown name, shards, or a tower that is not frozen.
        TrainingError: one of them has no caption in one of the languages, or too few items.
    """
    if far := in_shards(names):
        raise TrainingError(
            f"expected collections or scenes with cache_features, got {far[0]!r}; shards are read "
            "as they come"
        )
    parts, tested = [], [data.load(name) for name in apart]
    for name in names:
        chosen, bad = captioned(name, languages), {}
        if apart:
            chosen = duplicates.without(chosen, tested)
        chosen = _drawn(chosen, *drawn)
        computed = models.features(tower, chosen, dtype=dtype, bad=bad)
        lost = {chosen.picture_keys[index] for index in bad}
        good = [index for index, key in enumerate(chosen.picture_keys) if key not in lost]
        if lost:
            chosen = chosen.of([chosen[index] for index in good], "readable")
        about = f"{tower.checksum} {tower.recipe} {dtype}"
        unreadable = Counter(bad.values())
        parts.append(FeatureSamples(chosen, computed[good], about, languages, unreadable))
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _drawn(part: data.Collection, most: int, seed: int) -> data.Collection:
    """So many items, which must be there: sizes that are compared have to be equal."""
    if len(part) < most:
        raise TrainingError(
            f"expected at least most = {most} items to train on in {part.name}, got {len(part)}; "
            "lower most"
        )
    return part.take(most, seed) if most else part


def read_once(tower: models.TextTower, texts: Iterable[str], dtype: str) -> Lookup:
    """The features of all different texts, by a frozen tower.

    Raises:
        ValueError: the tower is not frozen.
    """
    known = sorted(set(texts))
    rows = {text: row for row, text in enumerate(known)}
    return Lookup(rows, models.features(tower, known, dtype=dtype))


def pictures(
    names: Sequence[str], transform: Preprocessing, mirror: bool, teacher: models.ImageTower
) -> Pictures:
    """The pictures of some collections, with their keys in the place of captions.

    Args:
        names: of the collections.
        transform: of the tower that learns.
        mirror: whether half of the squares are turned.
        teacher: whose weights are a part of what is learnt.

    Raises:
        ValueError: an unknown collection.
    """
    first, *others = (data.load(name) for name in names)
    squares, about = Squares(transform, mirror=mirror), f"{teacher.checksum} {teacher.recipe}"
    return Pictures(first.concat(*others), squares, teacher=about)


def taught(shown: data.Collection, teacher: models.ImageTower, dtype: str) -> Lookup:
    """Where a teacher's features of pictures point once their mean is taken off, by pictures' keys.

    Features behind a ReLU all point in about one direction; without their mean they do not.

    Raises:
        ValueError: the teacher is not frozen.
    """
    seen = models.features(teacher, shown, dtype=dtype)
    seen = seen - seen.mean(0)
    seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-12)
    return Lookup({key: row for row, key in enumerate(shown.picture_keys)}, seen)


def load(
    names: Sequence[str],
    transform: Preprocessing,
    languages: tuple[str, ...] = ("en",),
    augment: str = "none",
) -> Samples:
    """The samples of some data sets, ready to be read.

    Args:
        names: scenes ("scenes:train?count=20000"), shards, local or remote
            ("shards:https://host/{000..127}.tar"), or collections, as `data.load` takes them.
        transform: of the image tower that will see them.
        languages: of the captions.
        augment: "crop" takes a random square of each picture, "mirror" turns half of them.

    Raises:
        ValueError: an unknown name, or data that cannot be had.
        TrainingError: one of them has no caption in one of the languages.
    """
    squares = Squares(transform, crop=augment == "crop", mirror=augment == "mirror")
    parts = [_named(name, squares, languages) for name in names]
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _named(name: str, squares: Squares, languages: tuple[str, ...]) -> Samples:
    kind, _, rest = name.partition(":")
    if kind == "scenes":
        return SceneSamples(spoken(name, languages), squares)
    if kind == "shards":
        return ShardSamples(tars(rest), squares, languages)
    return CollectionSamples(captioned(name, languages), squares, languages)


def in_shards(names: Sequence[str]) -> list[str]:
    """Those of some names that are shards, which are read as they come."""
    return [name for name in names if name.startswith("shards:")]


def captioned(name: str, languages: tuple[str, ...]) -> data.Collection:
    """The items of a collection with captions in the languages.

    Raises:
        ValueError: an unknown collection.
        TrainingError: no item has a caption in one of the languages.
    """
    loaded = data.load(name)
    kept = loaded.where(predicate=lambda item: any(code in item.captions for code in languages))
    if not len(kept):
        raise TrainingError(
            f"expected captions in {', '.join(languages)} in {name}, "
            f"got {', '.join(loaded.languages()) or 'no captions'}"
        )
    if ":" in name and name.partition(":")[0] not in data.EMBEDDED:  # somebody's own
        reason = f"no caption in {' or '.join(languages)}"
        Report(len(kept), {reason: len(loaded) - len(kept)}).say(name)
    return kept


def spoken(name: str, languages: tuple[str, ...]) -> Scenes:
    """The scenes of a name, with captions in those of their languages that are wanted.

    Raises:
        ValueError: no such scenes.
        TrainingError: they speak none of the languages.
    """
    found = scenes.from_name(name)
    common = tuple(code for code in found.languages if code in languages)
    if not common:
        raise TrainingError(
            f"expected captions in {', '.join(languages)} in {name}, got "
            f"{', '.join(found.languages)}; name them there: {name}&languages={languages[0]}"
        )
    return replace(found, languages=common)
