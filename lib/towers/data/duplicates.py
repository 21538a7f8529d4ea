"""Pictures that are nearly the same: within a collection, and between two.

Two pictures count as near duplicates if their perceptual hashes differ in few bits *and* their
coarse colours agree: line drawings on white share hashes more often than they share looks.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from towers import files
from towers.data.images import shrink
from towers.data.items import Collection
from towers.progress import tqdm

VERSION = 1  # of the signature; another one forgets the cached ones
DISTANCE = 4
COLOUR = 20.0
"""Largest mean difference of coarse colours, in grey levels of 255."""
GRID = 8
TILE = 512
SIDE = 256
"""Longest side in pixels at which pictures are compared."""


def signature(picture: Image.Image) -> UInt8[np.ndarray, " bytes"]:
    """What a picture is compared by: its perceptual hash and its coarse colours.

    Args:
        picture: RGB.

    Returns:
        8 bytes of perceptual hash (signs of the lowest 8 x 8 cosine coefficients of the grey
        32 x 32 picture against their median), then the mean colours of an 8 x 8 grid.
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BOX), float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])
    colours = np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX), np.uint8)
    return np.concatenate([np.packbits(bits), colours.ravel()])


def signatures(collection: Collection) -> UInt8[np.ndarray, "items bytes"]:
    """The signature of each picture, cached by the collection's digest."""
    width = 8 + 3 * GRID * GRID

    def make() -> UInt8[np.ndarray, "items bytes"]:
        with ThreadPoolExecutor() as pool:
            rows = pool.map(
                lambda index: signature(shrink(collection.image(index), SIDE)),
                range(len(collection)),
            )
            label = f"comparing {collection.name}"
            listed = list(tqdm(rows, total=len(collection), desc=label, disable=None, leave=False))
        return np.array(listed, np.uint8).reshape(-1, width)

    def read(content: bytes) -> UInt8[np.ndarray, "items bytes"]:
        return np.frombuffer(content, np.uint8).reshape(-1, width)

    place = f"signatures/{collection.digest}-{VERSION}"
    return files.cached(place, make, np.ndarray.tobytes, read, waiting=False)


def pairs(
    first: UInt8[np.ndarray, "items bytes"],
    second: UInt8[np.ndarray, "others bytes"],
    distance: int,
    colour: float = COLOUR,
) -> Int[np.ndarray, "pairs 2"]:
    """Which pictures of two sets are near duplicates.

    Args:
        first: signatures.
        second: signatures.
        distance: bits of the hash that may differ, 0 to 64.
        colour: largest mean difference of the coarse colours, in grey levels.

    Returns:
        Indices (first, second), sorted.

    Raises:
        ValueError: the distance is not in 0 to 64.
    """
    if not 0 <= distance <= 64:
        raise ValueError(f"expected a distance of 0 to 64 bits, got {distance}")
    ours, theirs = (
        np.ascontiguousarray(part[:, :8]).view(np.uint64)[:, 0] for part in (first, second)
    )
    close = []
    for start in range(0, len(ours), TILE):
        tile = ours[start : start + TILE]
        near = np.argwhere(np.bitwise_count(tile[:, None] ^ theirs[None, :]) <= distance)
        near[:, 0] += start
        close.append(near[_apart(first[near[:, 0]], second[near[:, 1]]) <= colour])
    return np.concatenate(close) if close else np.zeros((0, 2), int)


def _apart(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " pairs"]:
    """Mean absolute difference of coarse colours."""
    return np.abs(first[:, 8:].astype(np.int16) - second[:, 8:].astype(np.int16)).mean(axis=1)


def groups(collection: Collection, distance: int = DISTANCE) -> list[str | None]:
    """For each item the name of its group of near duplicates, None for one that stands alone.

    Groups are connected: if a is near b and b near c, all three share a group.
    """
    known = signatures(collection)
    near = pairs(known, known, distance)
    size = len(collection)
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(size, size))
    count, member = connected_components(graph, directed=False)
    first = {}
    for index, number in enumerate(member):
        first.setdefault(int(number), collection[index].key)
    sizes = np.bincount(member, minlength=count)
    return [first[int(number)] if sizes[number] > 1 else None for number in member]


def overlap(
    first: Collection, second: Collection, distance: int = DISTANCE
) -> list[tuple[int, int]]:
    """Near duplicates between two collections, as pairs of indices."""
    near = pairs(signatures(first), signatures(second), distance)
    return [(int(one), int(other)) for one, other in near]


def without(
    collection: Collection, others: Iterable[Collection], distance: int = DISTANCE
) -> Collection:
    """The items whose pictures have no near duplicate among the others: what may be trained on
    where the others are tested on."""
    near = {one for other in others for one, _ in overlap(collection, other, distance)}
    if not near:
        return collection
    kept = [item for index, item in enumerate(collection) if index not in near]
    return collection.of(kept, "without near duplicates")
