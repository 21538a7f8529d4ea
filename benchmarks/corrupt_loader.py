"""One pass over shards of which 1 % of the pictures are cut off, to square pixels of one byte.

Both sides decode with Pillow in one process or, where that is quicker, the peer in two. Ours finds
a sample by its place, counts a bad one and puts another one in its stead; the peer skips it. What
brings the ratio is half a second for which `warn_and_continue` sleeps at every bad sample; the note
shows the ratio without it, with `ignore_and_continue`.
"""

import io
import tarfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader

from towers import files
from towers.data import scenes
from towers.models import Preprocessing
from towers.training.samples import Squares
from towers.training.shards import ShardSamples

METRIC = "a pass over {count:,} pictures of {side} px in two shards, 1 % of them cut off"
PEER = "webdataset, warn_and_continue"
GOAL = 5.0  # times less time
PEER_SETTINGS = {"workers": (0, 2)}
SIZES = {
    "full": {"count": 1_000, "side": 64},
    "laptop": {"count": 200, "side": 64},
    "smoke": {"count": 100, "side": 64},
}

SHARDS, BATCH, EVERY = 2, 50, 100
MARK = 42  # of each hundred pictures, the one that is cut off
Found = tuple[int, list[int]]


def prepare(count: int, side: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(workers), each the bad samples and sums over the good ones."""
    paths = _shards(count, side)
    squares = Squares(Preprocessing(side, (0.5,) * 3, (0.5,) * 3))
    samples = ShardSamples(paths, squares)
    picks = np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)

    def ours() -> Found:
        bad, sums = 0, []
        for first in range(0, count, BATCH):
            rows = np.arange(first, first + BATCH)
            read = samples.read(rows, picks[rows])
            bad += read.bad.total()
            sound = rows % EVERY != MARK
            sums += [zlib.crc32(image) for image in read.images[sound]]
        return bad, sorted(sums)

    def peer(workers: int, handler: Callable = wds.warn_and_continue) -> Found:
        data = wds.WebDataset([str(path) for path in paths], shardshuffle=False, handler=handler)
        data = data.decode("pil", handler=handler).to_tuple("png", "txt", handler=handler)
        data = data.map_tuple(lambda image: squares(image, 0), str)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader = DataLoader(data.batched(BATCH), batch_size=None, num_workers=workers)
            sums = [zlib.crc32(image) for images, _ in loader for image in np.asarray(images)]
        return count - len(sums), sorted(sums)

    return ours, peer


def agree(ours: Found, peer: Found) -> bool:
    """As many bad samples; the same pixels of every good one."""
    return ours == peer


def notes(ours: float, peer: float, count: int, side: int) -> dict[str, float]:
    """The ratio without the peer's pauses, in one process, measured once."""
    call = prepare(count, side)[1]
    start = time.perf_counter()
    call(0, wds.ignore_and_continue)
    return {"times less without its pauses": (time.perf_counter() - start) / ours}


def _shards(count: int, side: int) -> tuple[Path, ...]:
    """Scenes as PNGs with captions in tars of the cache; made once."""
    folder = files.cache_home() / "benchmarks"
    paths = tuple(folder / f"corrupt-{count}-{side}-{shard}.tar" for shard in range(SHARDS))
    if not all(path.is_file() for path in paths):
        world = scenes.from_name(f"scenes:train?count={count}&size={side}")
        pixels = world.pixels(np.arange(count))
        for path, rows in zip(paths, np.split(np.arange(count), SHARDS), strict=True):
            files.atomic_write(path, _tar({int(row): pixels[row] for row in rows}))
    return paths


def _tar(pixels: dict[int, np.ndarray]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for row, square in pixels.items():
            picture = io.BytesIO()
            Image.fromarray(square).save(picture, "PNG")
            whole = picture.getvalue()
            cut = whole[: len(whole) // 2] if row % EVERY == MARK else whole
            for ending, part in (("png", cut), ("txt", f"scene {row}".encode())):
                entry = tarfile.TarInfo(f"{row:06d}.{ending}")
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
    return content.getvalue()
