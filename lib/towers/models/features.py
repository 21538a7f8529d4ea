"""Features of whole collections: computed once, then read from the cache.

A cached file is named by a hash of all that its content depends on: the tower (name, weights,
preprocessing), the data, the number type, and the versions of this module and of the libraries
that compute. It carries its own checksum; a damaged file is computed again.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
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
            16 images, whose activations still fit a processor's caches (twice as fast as 64).
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
    return 16 if isinstance(tower, ImageTower) else 64


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
    """Pictures are read and made square by threads while the tower works on earlier ones."""
    count = len(pictures)
    out = np.empty((count, tower.width), np.float32)
    threads = max(2, torch.get_num_threads())
    with (
        ThreadPoolExecutor(threads) as pool,
        _bar(tower, count, "images", progress) as bar,
    ):
        ready = _ahead(
            pool, lambda index: tower.transform.pixels(pictures.image(index)), count, 2 * batch
        )
        for start in range(0, count, batch):
            size = min(batch, count - start)
            pixels = torch.from_numpy(np.stack([next(ready) for _ in range(size)]))
            images = tower.transform.normalised(pixels.to(tower.device))
            out[start : start + size] = _forward(tower, images, dtype)
            bar.update(size)
    return out


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], np.ndarray], count: int, ahead: int
) -> Iterator[np.ndarray]:
    """Results of `work(0)`, `work(1)`, ..., in order, with at most `ahead` begun and not taken."""
    running = [pool.submit(work, index) for index in range(min(ahead, count))]
    try:
        for index in range(count):
            result = running.pop(0).result()
            if index + ahead < count:
                running.append(pool.submit(work, index + ahead))
            yield result
    finally:
        for future in running:
            future.cancel()


def _of_texts(
    tower: TextTower, texts: list[str], batch: int, dtype: Precision, progress: bool
) -> np.ndarray:
    """Each distinct text once, the longest first, so that a batch holds texts of one length."""
    distinct = sorted(set(texts), key=lambda text: (-len(text.encode()), text))
    out = np.empty((len(distinct), tower.width), np.float32)
    with _bar(tower, len(distinct), "texts", progress) as bar:
        for start in range(0, len(distinct), batch):
            part = distinct[start : start + batch]
            tokens = {k: v.to(tower.device) for k, v in tower.tokenize(part).items()}
            out[start : start + len(part)] = _forward(tower, tokens, dtype)
            bar.update(len(part))
    row = {text: index for index, text in enumerate(distinct)}
    return out[[row[text] for text in texts]]


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
