"""Near duplicates: copies are found, other pictures are not, groups are connected."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from towers.data import duplicates
from towers.data.images import shrink
from towers.data.items import Collection, Item
from towers.data.reports import Report


def picture(seed: int, size: int = 128) -> Image.Image:
    """A few random ellipses on white."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = random.integers(0, size * 3 // 4, 2)
        w, h = random.integers(size // 8, size // 2, 2)
        pen.ellipse([x, y, x + w, y + h], fill=tuple(int(c) for c in random.integers(0, 255, 3)))
    return image


def collection(name: str, pictures: list[Image.Image]) -> Collection:
    """A collection of pictures in memory."""
    items = []
    for index, image in enumerate(pictures):
        import io

        buffer = io.BytesIO()
        image.save(buffer, "png")
        items.append(Item(key=f"{name}{index}", name=f"{name}/{index}", image=buffer.getvalue()))
    return Collection(name, tuple(items), Report(len(items)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def test_resized_and_noisy_copies_are_near_and_others_are_not():
    copies = [picture(seed).resize((90, 90), Image.Resampling.BICUBIC) for seed in range(20)]
    first, second = collection("a", [picture(s) for s in range(40)]), collection("b", copies)
    assert duplicates.overlap(first, second, 6) == [(seed, seed) for seed in range(20)]


def test_pictures_are_compared_at_one_size_whatever_their_own():
    large = [picture(seed, 700) for seed in range(3)]
    found = duplicates.signatures(collection("a", large))
    small = [duplicates.signature(shrink(image, duplicates.SIDE)) for image in large]
    assert np.array_equal(found, small)


def test_the_same_shape_in_another_colour_is_no_duplicate():
    red, blue = (Image.new("RGB", (64, 64), "white") for _ in range(2))
    for image, colour in ((red, "#d00"), (blue, "#00d")):
        ImageDraw.Draw(image).rectangle([4, 4, 50, 60], fill=colour)
    known = [duplicates.signature(image)[None] for image in (red, blue)]
    assert len(duplicates.pairs(*known, distance=64)) == 0
    assert len(duplicates.pairs(known[0], known[0], distance=0)) == 1


def test_pairs_agree_with_brute_force():
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (60, 8 + 192), dtype=np.uint8)
    rows[30:] = rows[:30]
    rows[30:, 0] ^= random.integers(0, 256, 30, dtype=np.uint8)
    bits = np.unpackbits(rows[:, :8], axis=1).astype(int)
    colours = rows[:, 8:].astype(int)
    expected = [
        (i, j)
        for i in range(60)
        for j in range(60)
        if (bits[i] != bits[j]).sum() <= 4 and np.abs(colours[i] - colours[j]).mean() <= 20
    ]
    assert [tuple(pair) for pair in duplicates.pairs(rows, rows, 4)] == expected


def test_groups_are_connected_and_single_pictures_have_none():
    same = picture(1)
    found = duplicates.groups(collection("a", [same, picture(2), same.copy(), picture(3)]))
    assert found == ["a0", None, "a0", None]


def test_signatures_come_from_the_cache_the_second_time(monkeypatch):
    found = collection("a", [picture(1), picture(2)])
    first = duplicates.signatures(found)
    monkeypatch.setattr(duplicates, "signature", lambda _: pytest.fail("computed again"))
    np.testing.assert_array_equal(duplicates.signatures(found), first)


def test_what_others_show_is_left_out_and_nothing_else():
    ours = collection("a", [picture(seed) for seed in range(8)])
    theirs = [collection("b", [picture(2), picture(90)]), collection("c", [picture(5)])]
    kept = duplicates.without(ours, theirs)
    assert [item.key for item in kept] == [f"a{seed}" for seed in (0, 1, 3, 4, 6, 7)]
    assert kept.name == "a[without near duplicates]"
    assert duplicates.without(ours, [collection("d", [picture(90)])]) is ours
    assert duplicates.without(ours, []) is ours


@pytest.mark.parametrize("distance", [-1, 65])
def test_distance_out_of_range_is_refused(distance):
    rows = np.zeros((1, 200), np.uint8)
    with pytest.raises(ValueError, match="0 to 64"):
        duplicates.pairs(rows, rows, distance)
