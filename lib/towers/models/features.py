"""Features of whole collections: computed once, then read from the cache.

A cached file is named by a hash of all that its content depends on: the tower (name, weights,
preprocessing), the data, the number type, and the versions of this module and of the libraries
that compute. It carries its own checksum; a damaged file is computed again.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor
from tqdm import tqdm

from towers import files
from towers.models.encoders import ImageTower, TextTower, Tower

FEATURES_VERSION = 1
"""Raise it when a change of this module or of the towers changes features."""

Precision = Literal["fp32", "bf16"]
_LIBRARIES = ("timm", "transformers", "open_clip_torch")


class Pictures(Protocol):
    """What an image tower needs of a collection."""

    digest: str

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image: ...


def features(
    tower: ImageTower | TextTower,
    inputs: Pictures | Sequence[str],
    *,
    batch: int | None = None,
    dtype: Precision | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "inputs width"]:
    """Features of all inputs by a frozen tower, in their order, from the cache if they are there.

    Processes that ask for the same features at the same time compute them once.

    Args:
        tower: frozen; it computes where its weights are.
        inputs: a collection for an image tower, a list of texts for a text tower. Equal texts are
            computed once.
        batch: inputs per forward pass, at least 1; None: 256 on an accelerator, else 64 texts or
            8 images, whose activations still fit a processor's caches (twice as fast as 64).
        dtype: "bf16" computes under autocast, "fp32" in full; None: `quick_dtype` of the tower's
            device. The features are float32 either way.
        progress: whether to show a bar.

    Returns:
        One row per input, float32, all finite.

    Raises:
        ValueError: inputs that do not suit the tower, a trainable tower, an unknown dtype, or
            features that are not finite.
    """
    dtype = quick_dtype(tower.device) if dtype is None else dtype
    batch = _batch(tower) if batch is None else batch
    _check(tower, inputs, batch, dtype)
    texts = list(inputs) if isinstance(tower, TextTower) else None
    data = inputs.digest if texts is None else files.sha256(json.dumps(texts).encode())
    key = _key(tower, data, dtype)
    path = files.cache_home() / "features" / f"{key}.safetensors"
    with files.locked(path):
        cached = _read(path, len(inputs), tower.width)
        if cached is not None:
            return cached
        computed = (
            _of_images(tower, inputs, batch, dtype, progress)
            if texts is None
            else _of_texts(tower, texts, batch, dtype, progress)
        )
        if not np.isfinite(computed).all():
            raise ValueError(
                f"expected finite features from {tower.name} with {dtype}, got NaN or infinity; "
                "check its weights, or compute with fp32"
            )
        files.atomic_write(path, _packed(computed))
    return computed


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
        fits = hasattr(inputs, "image") and hasattr(inputs, "digest")
    if not fits:
        wanted = "a list of texts" if isinstance(tower, TextTower) else "a collection of images"
        raise ValueError(
            f"expected {wanted} for {tower.name}, got {type(inputs).__name__}; "
            "give the tower what it reads"
        )


def _key(tower: Tower, data: str, dtype: str) -> str:
    """SHA-256 of everything that the features depend on."""
    versions = {library: metadata.version(library) for library in _LIBRARIES}
    parts = [FEATURES_VERSION, tower.name, tower.checksum, tower.recipe, data, dtype, versions]
    return files.sha256(json.dumps(parts, sort_keys=True).encode())


def _of_images(
    tower: ImageTower, pictures: Pictures, batch: int, dtype: Precision, progress: bool
) -> np.ndarray:
    def inputs(part: range) -> Tensor:
        pixels = np.stack([tower.transform.pixels(pictures.image(index)) for index in part])
        return tower.transform.normalised(torch.from_numpy(pixels).to(tower.device))

    return _rows(tower, len(pictures), batch, dtype, inputs, "images", progress)


def _of_texts(
    tower: TextTower, texts: list[str], batch: int, dtype: Precision, progress: bool
) -> np.ndarray:
    """Each distinct text once, the longest first, so that a batch holds texts of one length."""
    distinct = sorted(set(texts), key=lambda text: (-len(text.encode()), text))
    alone = Lock()  # tokenizers keep their settings in one place for all threads

    def inputs(part: range) -> dict[str, Tensor]:
        with alone:
            tokens = tower.tokenize(distinct[part.start : part.stop])
        return {name: tensor.to(tower.device) for name, tensor in tokens.items()}

    out = _rows(tower, len(distinct), batch, dtype, inputs, "texts", progress)
    row = {text: index for index, text in enumerate(distinct)}
    return out[[row[text] for text in texts]]


def _rows(
    tower: Tower,
    count: int,
    batch: int,
    dtype: Precision,
    inputs: Callable[[range], Tensor | dict[str, Tensor]],
    unit: str,
    progress: bool,
) -> np.ndarray:
    """One feature row for each of `count` inputs, a batch to a thread.

    A thread reads, prepares and computes its own batch on one core. Threads that shared one
    batch would wait for each other in every layer, and far longer where a core is taken.
    """
    out = np.empty((count, tower.width), np.float32)

    def work(start: int) -> int:
        part = range(start, min(start + batch, count))
        out[start : part.stop] = _forward(tower, inputs(part), dtype)
        return len(part)

    with _one_core_each() as pool, _bar(tower, count, unit, progress) as bar:
        for done in pool.map(work, range(0, count, batch)):
            bar.update(done)
    return out


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


def _packed(array: np.ndarray) -> bytes:
    return to_bytes({"features": array}, {"sha256": files.sha256(array.tobytes())})


def _read(path: Path, count: int, width: int) -> np.ndarray | None:
    """The cached features; None if there are none, or they are damaged, which is reported."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "np") as file:
            expected, array = file.metadata()["sha256"], file.get_tensor("features")
        if array.shape == (count, width) and files.sha256(array.tobytes()) == expected:
            return array
        cause = "content"
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        cause = type(error).__name__
    print(f"towers: {path.name} in the feature cache is damaged ({cause}); computing it again",
          file=sys.stderr)  # fmt: skip
    return None
