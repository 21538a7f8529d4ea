"""Features of pictures and texts: computed once each, then read from the cache.

The cache has a folder for each way to compute: a hash of the tower (name, weights, preprocessing,
code), the number type, this module's code and the versions of the libraries that compute. In it a
row lies under the identity of its text, or of its picture with the code that gives the picture, so
that collections that share pictures, parts of them and lists that share texts share rows as well.
Files carry their own checksums; the rows of a damaged file are computed again.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor

from towers import files
from towers.data.errors import BadImage
from towers.data.reports import MAX_BAD, told, too_many
from towers.experiments import fingerprints
from towers.models.encoders import ImageTower, TextTower, Tower, made_of
from towers.models.preprocessing import WHITE
from towers.progress import tqdm

CODE = "towers.models.features"
"""What computes, beside the tower's own modules."""

ROWS_PER_FILE = 4096
"""So many new rows are kept at a time; files of fewer are joined by the next one written."""
ROWS_PER_PART = 1024
"""With twice as many new rows or more, processes that want the same ones share the work."""
DIGITS = "0123456789abcdef"
"""Of keys: a sixteenth of the rows begins with each."""

Precision = Literal["fp32", "bf16"]
_LIBRARIES = ("timm", "transformers", "open_clip_torch", "torch", "torchvision", "pillow")


class Pictures(Protocol):
    """What an image tower needs of a collection.

    Attributes:
        picture_keys: identity of each original; what a tower makes of it has the tower's key too.
        picture_modules: module that gives each picture.
    """

    picture_keys: Sequence[str]
    picture_modules: Sequence[str]

    def __len__(self) -> int: ...

    def image(
        self, index: int, scaled: Callable[[int, int], tuple[int, int]] | None = None
    ) -> Image.Image: ...


def features(
    tower: ImageTower | TextTower,
    inputs: Pictures | Sequence[str],
    *,
    batch: int | None = None,
    dtype: Precision | None = None,
    progress: bool = True,
    bad: dict[int, str] | None = None,
) -> Float[np.ndarray, "inputs width"]:
    """Features of all inputs by a frozen tower, in their order, from the cache if they are there.

    Only what the cache lacks is computed, and kept every few thousand rows, so that an interrupted
    call goes on where it was. Processes that ask for the same features at the same time share the
    work: each computes the parts that no other is at. A row may differ by rounding with the batch
    it was computed in.
    A picture that cannot be read, though its collection was loaded, gets the features of a white
    page, which are not kept; a line on standard error counts such pictures.

    Args:
        tower: frozen; it computes where its weights are.
        inputs: a collection for an image tower, a list of texts for a text tower. Equal inputs
            are computed once.
        batch: inputs per forward pass, at least 1; None: 256 on an accelerator, else 64 texts or
            8 images, whose activations still fit a processor's caches (twice as fast as 64).
        dtype: "bf16" computes under autocast, "fp32" in full; None: `quick_dtype` of the tower's
            device. The features are float32 either way.
        progress: whether to show a bar.
        bad: filled with the indices of the pictures that cannot be read -> the reason; equal
            pictures count once.

    Returns:
        One row per input, float32, all finite.

    Raises:
        ValueError: inputs that do not suit the tower, a trainable tower, an unknown dtype,
            features that are not finite, or too many pictures that cannot be read.
        OSError: the disk fails.
    """
    dtype = quick_dtype(tower.device) if dtype is None else dtype
    batch = _batch(tower) if batch is None else batch
    _check(tower, inputs, batch, dtype)
    of_texts = isinstance(tower, TextTower)
    names = [f"text {text}" for text in inputs] if of_texts else _pictures(inputs)
    keys = [files.sha256(name.encode()) for name in names]
    folder = files.cache_home() / "features" / _key(tower, dtype)
    rows, bad = _stored(folder, tower.width), {} if bad is None else bad
    distinct = {key: index for index, key in enumerate(keys)}
    if missing := distinct.keys() - rows.keys():
        prepared = (_tokens if of_texts else _images)(tower, inputs, bad)
        with _bar(tower, len(missing), "texts" if of_texts else "images", progress) as bar:
            for part in _shared(folder, _parts(missing)):
                with files.cache_lock(folder):
                    rows |= _stored(folder, tower.width, drop=True)
                left = [distinct[key] for key in part - rows.keys()]
                left.sort(key=lambda index: _first(inputs[index]) if of_texts else index)
                bar.update(len(part) - len(left))
                for start in range(0, len(left), ROWS_PER_FILE):
                    chosen = left[start : start + ROWS_PER_FILE]
                    computed = _rows(tower, chosen, prepared, batch, dtype, bar)
                    rows |= zip([keys[index] for index in chosen], computed, strict=True)
                    good = [index not in bad for index in chosen]
                    fresh = [keys[index] for index in chosen if index not in bad]
                    _keep(folder, fresh, computed[good])
        _report(bad, len(distinct), tower)
    return np.stack([rows[key] for key in keys]) if keys else np.empty((0, tower.width), np.float32)


def square_of(
    tower: ImageTower, pictures: Pictures, index: int, bad: dict[int, str]
) -> UInt8[np.ndarray, "size size 3"]:
    """One picture as the tower takes it, before it is normalised.

    Args:
        tower: whose preparation is used.
        pictures: a collection.
        index: of the picture.
        bad: gets the reason where the picture cannot be read; the square is white then.

    Raises:
        OSError: the disk fails.
    """
    transform = tower.transform
    try:
        return transform.pixels(pictures.image(index, transform.scaled))
    except (BadImage, MemoryError) as error:
        bad[index] = getattr(error, "reason", "out of memory")
    return np.full((transform.size, transform.size, 3), WHITE, np.uint8)


def quick_dtype(device: torch.device | str = "cpu") -> Precision:
    """The quicker number type: "bf16" where a device has instructions for it, else "fp32".

    Features of both types have a cosine of at least 0.99 (mean 0.999) for EfficientNet-Lite0 on
    photographs, stamps and emoji, and of at least 0.9999 for MiniLM.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        able = torch.cpu.get_capabilities()
        return "bf16" if any(map(able.get, ("avx512_bf16", "amx_bf16", "bf16"))) else "fp32"
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp32"


def _batch(tower: Tower) -> int:
    if tower.device.type != "cpu":
        return 256
    return 8 if isinstance(tower, ImageTower) else 64


def _check(tower: Tower, inputs: object, batch: int, dtype: str) -> None:
    if dtype not in ("fp32", "bf16") or batch < 1:
        raise ValueError(f"expected dtype fp32 or bf16 and batch >= 1, got {dtype!r} and {batch}")
    if not tower.frozen:
        raise ValueError(
            f"expected a frozen tower, got trainable weights in {tower.name}; call its freeze()"
        )
    if isinstance(tower, TextTower):
        fits = not isinstance(inputs, str) and isinstance(inputs, Sequence)
        fits = fits and all(isinstance(text, str) for text in inputs)
    else:
        fits = hasattr(inputs, "image") and hasattr(inputs, "picture_keys")
    if not fits:
        wanted = "a list of texts" if isinstance(tower, TextTower) else "a collection of images"
        raise ValueError(
            f"expected {wanted} for {tower.name}, got {type(inputs).__name__}; "
            "give the tower what it reads"
        )


def _key(tower: Tower, dtype: str) -> str:
    """SHA-256 of everything that features depend on beside the inputs."""
    versions = {library: metadata.version(library) for library in _LIBRARIES}
    code = fingerprints.of_code([CODE, *made_of(tower)], {"tower": tower.name})
    parts = [code, tower.name, tower.checksum, tower.recipe, dtype, versions]
    return files.sha256(json.dumps(parts, sort_keys=True).encode())


def _pictures(pictures: Pictures) -> list[str]:
    """Identities of pictures, with the code that gives them."""
    code = {
        name: fingerprints.of_code(["towers.data.items", name], {})
        for name in {*pictures.picture_modules}
    }
    both = zip(pictures.picture_keys, pictures.picture_modules, strict=True)
    return [f"{key} {code[module]}" for key, module in both]


def _parts(missing: set[str]) -> dict[str, set[str]]:
    """Keys by the digits that they begin with: many in parts, one digit each; few in one."""
    few = len(missing) < 2 * ROWS_PER_PART
    parts: dict[str, set[str]] = {}
    for key in sorted(missing):
        parts.setdefault(DIGITS if few else key[0], set()).add(key)
    return parts


def _shared(folder: Path, parts: dict[str, set[str]]) -> Iterator[set[str]]:
    """Each part while its digits are locked: first what no other process is at, then the rest.

    One that asks for little locks all digits, in their order, and waits for each; the others hold
    one digit at a time. So nobody waits for somebody who waits.
    """
    later = dict(parts)
    for wait in (False, True):
        for digits, part in list(later.items()):
            with contextlib.ExitStack() as held:
                locks = (folder / digit for digit in digits)
                wait = wait or len(digits) > 1
                if all(held.enter_context(files.cache_lock(lock, wait)) for lock in locks):
                    del later[digits]
                    yield part


def _first(text: str) -> tuple[int, str]:
    """Sorts the longest texts first: a batch holds texts of about one length then."""
    return -len(text.encode()), text


def _rows(
    tower: Tower,
    chosen: list[int],
    prepared: Callable[[list[int]], Tensor | dict[str, Tensor]],
    batch: int,
    dtype: Precision,
    bar: tqdm,
) -> np.ndarray:
    """One feature row for each chosen input, a batch to a thread.

    A thread reads, prepares and computes its own batch on one core. Threads that shared one
    batch would wait for each other in every layer, and far longer where a core is taken.

    Raises:
        ValueError: features that are not finite.
    """
    out = np.empty((len(chosen), tower.width), np.float32)

    def work(start: int) -> int:
        part = chosen[start : start + batch]
        out[start : start + len(part)] = _forward(tower, prepared(part), dtype)
        return len(part)

    with _one_core_each() as pool:
        for done in pool.map(work, range(0, len(chosen), batch)):
            bar.update(done)
    if not np.isfinite(out).all():
        raise ValueError(
            f"expected finite features from {tower.name} with {dtype}, got NaN or infinity; "
            "check its weights, or compute with fp32"
        )
    return out


def _images(
    tower: ImageTower, pictures: Pictures, bad: dict[int, str]
) -> Callable[[list[int]], Tensor]:
    def prepared(part: list[int]) -> Tensor:
        squares = np.stack([square_of(tower, pictures, index, bad) for index in part])
        return tower.transform.normalised(torch.from_numpy(squares).to(tower.device))

    return prepared


def _report(bad: dict[int, str], count: int, tower: Tower) -> None:
    """Say how many pictures could not be read; too many are refused."""
    if not bad:
        return
    reasons = told(Counter(bad.values()), 5)
    if too_many(len(bad), count):
        raise ValueError(
            f"expected at most {MAX_BAD:.0%} unreadable pictures for {tower.name}, got {len(bad)} "
            f"of {count} ({reasons}); check the data"
        )
    print(f"towers: {len(bad)} of {count} pictures cannot be read ({reasons}); {tower.name} sees "
          "white pages in their place", file=sys.stderr)  # fmt: skip


def _tokens(
    tower: TextTower, texts: Sequence[str], _: dict[int, str]
) -> Callable[[list[int]], dict[str, Tensor]]:
    alone = Lock()  # tokenizers keep their settings in one place for all threads

    def prepared(part: list[int]) -> dict[str, Tensor]:
        with alone:
            tokens = tower.tokenize([texts[index] for index in part])
        return {name: tensor.to(tower.device) for name, tensor in tokens.items()}

    return prepared


@contextlib.contextmanager
def _one_core_each() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch uses, each of which computes alone; torch's setting comes back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _forward(tower: Tower, inputs: Tensor | dict[str, Tensor], dtype: Precision) -> np.ndarray:
    with (
        torch.inference_mode(),
        torch.autocast(tower.device.type, torch.bfloat16, enabled=dtype == "bf16"),
    ):
        return tower(inputs).float().cpu().numpy()


def _bar(tower: Tower, count: int, unit: str, progress: bool) -> tqdm:
    return tqdm(
        total=count, unit=f" {unit}", desc=tower.name, leave=False,
        disable=None if progress else True,
    )  # fmt: skip


def _keep(folder: Path, keys: list[str], computed: np.ndarray) -> None:
    """Write new rows, together with those of files that are not full yet."""
    if not keys:
        return
    with files.cache_lock(folder):
        read = {path: _read(path, computed.shape[1]) for path in _segments(folder)}
        small = {
            path: rows
            for path, rows in read.items()
            if not isinstance(rows, str) and len(rows) < ROWS_PER_FILE
        }
        merged = {key: row for rows in small.values() for key, row in rows.items()}
        content = _packed(merged | dict(zip(keys, computed, strict=True)))
        written = folder / f"{files.sha256(content)[:16]}.safetensors"
        if files.keep(written, content):
            for path in small.keys() - {written}:
                path.unlink()


def _packed(rows: dict[str, np.ndarray]) -> bytes:
    keys = np.frombuffer(bytes.fromhex("".join(rows)), np.uint8).reshape(len(rows), 32)
    features = np.stack(list(rows.values()))
    return to_bytes({"keys": keys, "features": features}, {"sha256": _checksum(keys, features)})


def _checksum(keys: UInt8[np.ndarray, "rows 32"], features: Float[np.ndarray, "rows width"]) -> str:
    return files.sha256(keys.tobytes() + features.tobytes())


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _stored(folder: Path, width: int, drop: bool = False) -> dict[str, np.ndarray]:
    """All good rows of a folder by their keys; damaged files are told of and removed, if asked."""
    rows = {}
    for path in _segments(folder):
        content = _read(path, width)
        if not isinstance(content, str):
            rows |= content
        elif drop:
            print(f"towers: {path.name} in the feature cache is damaged ({content}); computing it "
                  "again", file=sys.stderr)  # fmt: skip
            with contextlib.suppress(OSError):
                path.unlink()
    return rows


def _read(path: Path, width: int) -> dict[str, np.ndarray] | str:
    """The rows of one file, or what is wrong with it."""
    try:
        with safe_open(path, "np") as file:
            expected = file.metadata()["sha256"]
            keys, features = file.get_tensor("keys"), file.get_tensor("features")
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        return type(error).__name__
    shapes = (len(keys), 32), (len(keys), width)
    if (keys.shape, features.shape) != shapes or _checksum(keys, features) != expected:
        return "content"
    return {bytes(key).hex(): row for key, row in zip(keys, features, strict=True)}
