"""`Preprocessing` against the transforms of timm and open_clip, and its own ways to a square."""

import numpy as np
import open_clip
import pytest
import timm.data
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from towers.models import Preprocessing, preprocessing
from towers.training.samples import Squares

HALF = (0.5, 0.5, 0.5)
COLOURS = ((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
sides = st.tuples(st.integers(8, 90), st.integers(8, 90), st.integers(0, 2**31 - 1))


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=40, deadline=None)
@given(sides, st.sampled_from(["center", "squash"]), st.sampled_from(["bilinear", "bicubic"]),
       st.sampled_from([0.875, 0.9, 0.95, 1.0]))  # fmt: skip
def test_it_is_timms_transform(side, mode, interpolation, fraction):
    theirs = timm.data.create_transform(
        (3, 32, 32), mean=COLOURS[0], std=COLOURS[1], interpolation=interpolation,
        crop_pct=fraction, crop_mode=mode,
    )  # fmt: skip
    resize = {"center": "crop", "squash": "squash"}[mode]
    ours = Preprocessing(32, *COLOURS, interpolation, resize, fraction)
    image = noise(*side)
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(sides, st.sampled_from(["shortest", "squash"]), st.sampled_from(["bilinear", "bicubic"]))
def test_it_is_open_clips_transform(side, mode, interpolation):
    theirs = open_clip.image_transform(
        32, is_train=False, mean=COLOURS[0], std=COLOURS[1], resize_mode=mode,
        interpolation=interpolation,
    )  # fmt: skip
    resize = {"shortest": "crop", "squash": "squash"}[mode]
    image = noise(*side)
    ours = Preprocessing(32, *COLOURS, interpolation, resize)
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (10, 40)])
def test_padding_keeps_the_whole_picture_on_white(width, height):
    black = Image.new("RGB", (width, height))
    padded = Preprocessing(20, (0,) * 3, (1,) * 3, resize="pad")(black)
    ink = (padded == 0).all(0)
    rows, columns = (5, 20) if width > height else (20, 5)
    assert ink.sum() == rows * columns  # 40 x 10 at half size
    assert padded[:, ~ink].min() == 1  # white
    assert ink.any(1).sum() == rows
    assert torch.equal(ink, ink.flip(0).flip(1)) or abs(rows - columns) % 2  # centred


def test_a_crop_loses_what_a_squash_keeps():
    image = Image.new("RGB", (60, 20))
    image.paste((255, 0, 0), (0, 0, 15, 20))  # red on the left quarter only
    red = {
        way: float(Preprocessing(20, (0,) * 3, (1,) * 3, "bilinear", way)(image)[0].mean())
        for way in ("crop", "squash")
    }
    assert red["crop"] == 0
    assert red["squash"] == pytest.approx(0.25, abs=0.01)  # antialiasing blurs the edge


@settings(max_examples=30, deadline=None)
@example(1, 300, "pad")
@example(300, 1, "pad")
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["crop", "pad", "squash"]))
def test_any_size_gives_the_square(width, height, way):
    # a crop of a 1 x 300 picture goes through 32 x 9600 pixels and back
    assert Preprocessing(32, HALF, HALF, resize=way)(noise(width, height)).shape == (3, 32, 32)


@pytest.fixture
def largest(monkeypatch):
    """Pixels of the largest picture that any resize makes."""
    made, usual = [0], Image.Image.resize

    def resize(image, size, *rest, **options):
        made[0] = max(made[0], size[0] * size[1])
        return usual(image, size, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", resize)
    return made


@pytest.mark.parametrize("sides", [(60_000, 1), (1, 60_000), (9_000, 40), (3, 7_000)])
@pytest.mark.parametrize(("way", "fraction"), [("crop", 0.875), ("pad", 1.0), ("squash", 0.875)])
@pytest.mark.parametrize("crop", [False, True])
def test_a_long_line_of_pixels_makes_nothing_large(largest, sides, way, fraction, crop):
    """60,000 x 1 pixels under a tower of 224 would be 3 billion when they are scaled first."""
    squares = Squares(Preprocessing(224, HALF, HALF, resize=way, crop_fraction=fraction), crop)
    assert squares(Image.new("RGB", sides, "teal"), 2**63 + 5).shape == (224, 224, 3)
    assert 0 < largest[0] <= preprocessing.WHOLE * 224**2


@pytest.mark.parametrize("sides", [(700, 20), (31, 900), (400, 300)])
@pytest.mark.parametrize("crop", [False, True])
def test_the_square_alone_is_what_a_cut_of_the_whole_gives(monkeypatch, sides, crop):
    """Smooth pictures differ by a level at most: both ways round once to 8 bits in between, in
    another order. A square that is one pixel off differs by more."""
    columns, rows = (np.linspace(0, 6 * side / min(sides), side) for side in sides)
    waves = np.sin(columns)[None, :, None] + np.cos(rows)[:, None, None] + np.linspace(0, 1, 3)
    image = Image.fromarray((60 * waves + 120).clip(0, 255).astype(np.uint8))
    squares = Squares(Preprocessing(48, HALF, HALF, crop_fraction=0.9), crop)
    found = []
    for most in (0, 10**9):
        monkeypatch.setattr(preprocessing, "WHOLE", most)
        found.append(squares(image, 77).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1
    assert np.abs(found[0] - np.roll(found[1], 1, axis=int(sides[0] > sides[1]))).max() > 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_modes_become_rgb(mode):
    image = noise(40, 40).convert(mode)
    transform = Preprocessing(32, HALF, HALF)
    assert torch.equal(transform(image), transform(image.convert("RGB")))


def test_another_resize_uses_the_whole_picture():
    own = Preprocessing(224, HALF, HALF, crop_fraction=0.875)
    assert own.resized(None) is own
    assert own.resized("crop") is own
    assert own.resized("pad").crop_fraction == own.resized("squash").crop_fraction == 1
    recipes = {own.recipe, own.resized("pad").recipe, own.resized("squash").recipe}
    assert len(recipes) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [({"resize": "stretch"}, "'stretch'"), ({"crop_fraction": 0}, "0"),
     ({"crop_fraction": 1.5}, "1.5"), ({"resize": "pad", "crop_fraction": 0.9}, "'pad'")],
)  # fmt: skip
def test_impossible_settings_are_refused(change, named):
    with pytest.raises(ValueError, match=named):
        Preprocessing(**{"size": 32, "mean": HALF, "std": HALF} | change)
