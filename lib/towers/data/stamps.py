"""Tux Paint's stamps: photographs and drawings that volunteers described in many languages."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from towers.data import catalogue
from towers.data.cards import SOURCES
from towers.data.catalogue import Found
from towers.data.images import read_bytes
from towers.data.intake import text_lines
from towers.data.items import Collection, Item

LANGUAGE_ENDING = ".utf8"
FLAT = 0.2
"""Flatness from which a PNG is a drawing: between the two heaps of a histogram of all 784."""
OPAQUE = 250
"""Opacity, of 255, from which a pixel shows its own colour."""


def stamps() -> Collection:
    """All stamps with an English caption; class and category are the top folder."""
    return catalogue.collection("stamps", SOURCES["stamps"], read)


def read(folder: Path) -> Found:
    """Each .txt with the picture of the same name.

    A stamp is a drawing if it is an SVG, lies in a folder named "cartoon" or has the flat colours
    of one (`flatness`), else a photo. Captions are kept as they were typed, white space apart.

    Returns:
        Drafts, and what was dropped: "no picture", "no english caption".
    """
    dropped, drafts = Counter(), []
    for text in sorted(folder.rglob("*.txt")):
        stem = text.with_suffix("")
        pictures = [stem.with_suffix(end) for end in (".png", ".svg")]
        picture = next((path for path in pictures if path.is_file()), None)
        captions = read_captions(text.read_text(encoding="utf-8", errors="replace"))
        if picture is None:
            dropped["no picture"] += 1
        elif "en" not in captions:
            dropped["no english caption"] += 1
        else:
            name = stem.relative_to(folder).as_posix()
            drawing = (
                picture.suffix == ".svg" or "cartoon" in stem.parts or flatness(picture) > FLAT
            )
            drafts.append(
                Item(
                    key="",
                    name=name,
                    image=picture.relative_to(folder),
                    captions={code: (caption,) for code, caption in captions.items()},
                    targets={"class": name.split("/")[0]},
                    category=name.split("/")[0],
                    style="drawing" if drawing else "photo",
                )
            )
    return Found(drafts, dropped)


def flatness(picture: Path) -> float:
    """Share of opaque neighbours with exactly one colour: near 0 in photos, near 1 in drawings.

    Raises:
        BadImage: the file is no picture.
    """
    pixels = np.asarray(
        Image.open(io.BytesIO(read_bytes(picture)), formats=["PNG"]).convert("RGBA")
    )
    opaque = pixels[..., 3] > OPAQUE
    both = opaque[:, 1:] & opaque[:, :-1]
    same = (pixels[:, 1:, :3] == pixels[:, :-1, :3]).all(axis=2) & both
    return float(same.sum() / max(1, both.sum()))


def read_captions(text: str) -> dict[str, str]:
    """Language -> caption: the first line is English, others read `fr.utf8=...`."""
    lines = [" ".join(line.split()) for line in text_lines(text.replace("\ufeff", ""))]
    captions = {"en": lines[0]} if lines and lines[0] else {}
    for line in lines[1:]:
        code, equals, caption = line.partition("=")
        if equals and code.endswith(LANGUAGE_ENDING) and caption.strip():
            captions.setdefault(code.removesuffix(LANGUAGE_ENDING), caption.strip())
    return captions
