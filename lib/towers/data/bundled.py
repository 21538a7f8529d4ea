"""Small labelled sets that come inside Python packages: scanned digits, and foolbox's samples."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from towers.data import sources
from towers.data.cards import SOURCES
from towers.data.errors import DataError
from towers.data.items import Collection, Item, content_key
from towers.data.prompts import class_names
from towers.data.reports import Report

SETS = {
    "imagenet": "imagenet", "cifar10": "cifar10", "cifar100": "cifar100", "mnist": "mnist",
    "fashionmnist": "fashionMNIST",
}  # fmt: skip
SCALE = 16  # scikit-learn's digits are 8 x 8 pixels
INK = 16.0  # their darkest value


def digits() -> Collection:
    """scikit-learn's 1,797 handwritten digits, dark on white as on paper.

    Raises:
        DataError: the package holds other digits than the known ones.
    """
    from sklearn.datasets import load_digits

    sources.fetch("digits")
    loaded = load_digits()
    pixels = loaded.images.astype(np.uint8)
    items = tuple(
        Item(
            key=content_key(image.tobytes() + bytes([index % 256, index // 256])),
            name=f"digits/{index}",
            image=partial(_enlarged, image.tobytes()),
            targets={"class": str(label)},
            style="scan",
            group=content_key(image.tobytes()),
        )
        for index, (image, label) in enumerate(zip(pixels, loaded.target, strict=True))
    )
    return Collection(
        "digits", items, Report(len(items)), SOURCES["digits"].licence, "scikit-learn",
        class_names=class_names("digits"),
    )  # fmt: skip


def _enlarged(content: bytes) -> Image.Image:
    values = np.frombuffer(content, np.uint8).reshape(8, 8)
    grey = np.round(255 * (1 - values / INK)).astype(np.uint8)
    side = 8 * SCALE
    return Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC).convert("RGB")


def samples(name: str = "") -> Collection:
    """foolbox's twenty pictures of a data set, or of all five.

    Args:
        name: "imagenet", "cifar10", "cifar100", "mnist", "fashionmnist", or nothing for all.

    Raises:
        DataError: no such set.
    """
    if not name:
        first, *others = [samples(part) for part in SETS]
        return replace(first.concat(*others), name="samples")
    if name not in SETS:
        raise DataError(f"expected samples of one of {', '.join(SETS)}; got {name!r}")
    source = SOURCES["samples"]
    folder = sources.fetch("samples") / "data"
    labels = class_names(name)
    items = []
    for path in sorted(folder.glob(f"{SETS[name]}_*")):
        number = int(path.stem.rpartition("_")[2])
        items.append(
            Item(
                key=content_key(path.read_bytes()),
                name=f"{name}/{path.stem}",
                image=Path(path),
                targets={"class": labels[number]},
                style="photo" if name in ("imagenet", "cifar10", "cifar100") else "scan",
            )
        )
    report = Report(len(items))
    return Collection(
        f"samples:{name}", tuple(items), report, source.licence, source.version,
        class_names=labels,
    )  # fmt: skip
