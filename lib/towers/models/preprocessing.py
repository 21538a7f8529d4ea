"""From a picture to an image tower's input: resize, cut or pad to a square, normalise."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

Resize = Literal["crop", "pad", "squash"]
WHITE = 255
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that bring pixels to [-1, 1]."""
WHOLE = 16
"""A scaled picture is made whole, as other libraries make it, up to so many times its square."""


@dataclass(frozen=True)
class Preprocessing:
    """What a tower does to a picture before it looks at it.

    Attributes:
        size: side of the square input, in pixels.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        interpolation: of the resize, antialiased.
        resize: "crop" scales the shorter side and keeps the centre; "pad" scales the longer side
            and adds white borders, so that nothing is lost; "squash" scales both sides and keeps
            no aspect.
        crop_fraction: share of the scaled side that the central cut keeps; 1 for "pad".
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    resize: Resize = "crop"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.resize not in get_args(Resize):
            raise ValueError(
                f"expected resize as one of {', '.join(get_args(Resize))}, got {self.resize!r}"
            )
        if not 0 < self.crop_fraction <= 1 or (self.resize == "pad" and self.crop_fraction != 1):
            raise ValueError(
                "expected a crop_fraction in (0, 1], and 1 where resize is 'pad', got "
                f"{self.crop_fraction} with {self.resize!r}"
            )

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        """The normalised input for one picture of any size and mode."""
        return self.normalised(torch.from_numpy(self.pixels(image))[None])[0]

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "size size 3"]:
        """The picture resized and made square, not normalised yet."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        way = Image.Resampling[self.interpolation.upper()]
        width, height = scaled = self.scaled(*image.size)
        if self.resize == "pad":
            page = Image.new("RGB", (self.size, self.size), (WHITE,) * 3)
            page.paste(
                image.resize(scaled, way), ((self.size - width) // 2, (self.size - height) // 2)
            )
            return np.array(page)
        middle = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.array(square(image, scaled, middle, self.size, way))

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a picture is scaled to before it is cut or padded."""
        side = math.floor(self.size / self.crop_fraction)
        if self.resize == "squash":
            return side, side
        if self.resize == "pad":
            ratio = side / max(width, height)
            return max(1, round(width * ratio)), max(1, round(height * ratio))
        shorter = min(width, height)
        return int(side * width / shorter), int(side * height / shorter)

    def normalised(
        self, pixels: UInt8[Tensor, "batch size size 3"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Squares of pixels as the tower's input, in channels-last memory."""
        mean, std = (
            torch.tensor(each, device=pixels.device)[:, None, None]
            for each in (self.mean, self.std)
        )
        return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)

    def resized(self, resize: Resize | None) -> "Preprocessing":
        """The same with another way to make a picture square; None changes nothing.

        The whole picture is used by "pad" and "squash" (`crop_fraction` 1).
        """
        if resize is None or resize == self.resize:
            return self
        return replace(self, resize=resize, crop_fraction=1.0)

    @property
    def recipe(self) -> str:
        """All of the above in one canonical line, for keys and provenance."""
        return json.dumps(asdict(self), sort_keys=True)


def square(
    image: Image.Image,
    scaled: tuple[int, int],
    corner: tuple[int, int],
    size: int,
    way: Image.Resampling,
) -> Image.Image:
    """One square of a scaled picture. Of a very long picture nothing else is scaled.

    Args:
        image: to be scaled.
        scaled: its width and height then, both at least `size`.
        corner: left and top of the square in the scaled picture.
        size: side of the square in pixels.
        way: to interpolate, antialiased.

    Returns:
        `size` x `size` pixels. Up to `WHOLE` times as many, the scaled picture is made and cut, as
        torchvision does it; beyond, the numbers of the square are rounded in another order.
    """
    (left, top), (width, height) = corner, scaled
    box = (left, top, left + size, top + size)
    if width * height <= WHOLE * size**2:
        return image.resize(scaled, way).crop(box)
    x, y = image.width / width, image.height / height
    return image.resize((size, size), way, box=(box[0] * x, box[1] * y, box[2] * x, box[3] * y))
