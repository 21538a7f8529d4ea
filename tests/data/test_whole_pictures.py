"""A tower sees the files themselves: of every source, and larger than any copy would be."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import toy_towers
from tests.data.made_up_files import make_tar, own_cache  # noqa: F401
from towers import data, models
from towers.data import custom, svg
from towers.data.items import Collection, Item
from towers.data.reports import Report
from towers.training import loading

PREPARED = models.Preprocessing(336, (0.5,) * 3, (0.5,) * 3, crop_fraction=0.9)


def photograph(path, kind="JPEG"):
    """Fine noise, of which any smaller copy loses the most; larger than the tower's input."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(3).integers(0, 256, (500, 730, 3), np.uint8)
    Image.fromarray(noise).save(path, kind, quality=90)
    return path


def folder(root):
    (root / "a.txt").write_text("noise")
    return photograph(root / "a.jpg"), f"folder:{root}"


def imagefolder(root):
    return photograph(root / "noise/a.png", "PNG"), f"imagefolder:{root}"


def coco(root):
    about = {"images": [{"id": 1, "file_name": "a.jpg"}],
             "annotations": [{"image_id": 1, "caption": "noise"}]}  # fmt: skip
    (root / "annotations").mkdir()
    (root / "annotations/captions_val2017.json").write_text(json.dumps(about))
    return photograph(root / "val2017/a.jpg"), f"coco:{root}"


def flickr30k(root):
    (root / "results_20130124.token").write_text("a.jpg#0\tnoise\n")
    return photograph(root / "images/a.jpg"), f"flickr30k:{root}"


def shards(root):
    file = photograph(root / "a.jpg")
    make_tar(root / "0.tar", [("a.jpg", file.read_bytes()), ("a.txt", b"noise")])
    return file, f"shards:{root}/0.tar"


def torchvision(root):
    return photograph(root / "eurosat/2750/Forest/a.png", "PNG"), f"torchvision:EuroSAT:{root}"


SOURCES = [folder, imagefolder, coco, flickr30k, shards, torchvision]


@pytest.mark.parametrize("source", SOURCES)
def test_a_towers_input_is_its_own_preparation_of_the_file(tmp_path, source):
    file, name = source(tmp_path)
    expected = PREPARED.pixels(Image.open(file))
    assert np.array_equal(PREPARED.pixels(data.load(name).image(0, PREPARED.scaled)), expected)


@pytest.mark.parametrize("source", [folder, coco, flickr30k, shards])
def test_so_is_what_it_trains_on(tmp_path, source):
    file, name = source(tmp_path)
    read = loading.load([name], PREPARED).read(np.array([0]), np.array([5], np.uint64))
    assert np.array_equal(read.images[0], PREPARED.pixels(Image.open(file)))


def test_features_follow_the_towers_own_size(tmp_path):
    """What is kept for a small tower is never what a large one gets."""
    file, name = folder(tmp_path)
    loaded, found = data.load(name), {}
    for side in (64, 336):
        transform = models.Preprocessing(side, (0.5,) * 3, (0.5,) * 3)
        encoder = toy_towers.image_tower().encoder
        tower = models.ImageTower("toy", encoder, toy_towers.WIDTH, transform).freeze()
        found[side] = models.features(tower, loaded, dtype="fp32", progress=False)[0]
        expected = tower(tower.transform(Image.open(file))[None])[0].detach().numpy()
        np.testing.assert_allclose(found[side], expected, atol=1e-6)  # rounding of float32
    assert np.abs(found[64] - found[336]).max() > 1e-3


STRIPES = "".join(f'<rect x="{x}" width="1" height="200"/>' for x in range(0, 400, 2))


@pytest.mark.parametrize("load", ["own", "embedded"])
def test_a_drawing_is_drawn_as_large_as_the_tower_needs(tmp_path, load):
    """200 stripes over 400 units are grey at 256 pixels, black and white at 672."""
    file = tmp_path / "a.svg"
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 200">{STRIPES}</svg>'
    )
    (tmp_path / "a.txt").write_text("stripes")
    loaded = custom.load(f"folder:{tmp_path}")
    if load == "embedded":
        item = Item("a", "a", svg.Raster(file), {"en": ("stripes",)})
        loaded = Collection("drawings", (item,), Report(1))
    transform = models.Preprocessing(336, (0.5,) * 3, (0.5,) * 3)
    truth = transform.pixels(svg.rasterise(file.read_bytes(), 672)).astype(float).ravel()
    right, copy = (
        transform.pixels(picture).astype(float).ravel()
        for picture in (loaded.image(0, transform.scaled), loaded.image(0))
    )
    assert np.corrcoef(truth, right)[0, 1] > 0.99
    assert np.corrcoef(truth, copy)[0, 1] < 0.9
