"""Photos and drawings are told apart by their pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from towers.data.errors import BadImage
from towers.data.stamps import FLAT, flatness


def saved(tmp_path, picture: Image.Image):
    path = tmp_path / "a.png"
    picture.save(path)
    return path


def test_flat_colours_are_a_drawing_and_noise_is_a_photo(tmp_path):
    drawing = Image.new("RGBA", (60, 40), "white")
    ImageDraw.Draw(drawing).ellipse((5, 5, 50, 35), "red", "black")
    assert flatness(saved(tmp_path, drawing)) > 0.9
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert flatness(saved(tmp_path, Image.fromarray(noise))) < 0.01 < FLAT


def test_only_opaque_neighbours_count(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    noise[..., 3] = 255
    noise[:, 30:] = (7, 7, 7, 0)
    assert flatness(saved(tmp_path, Image.fromarray(noise))) < 0.01
    noise[..., 3] = 0
    assert flatness(saved(tmp_path, Image.fromarray(noise))) == 0


def test_a_missing_picture_is_refused(tmp_path):
    with pytest.raises(BadImage):
        flatness(tmp_path / "none.png")
