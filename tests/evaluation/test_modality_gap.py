"""Where modalities lie: records with intervals, projections, components of a patch embedding."""

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers import models
from towers.evaluation import modality_gap


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def apart():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(80, 6)), rng.normal(size=(80, 6))
    images[:, 0] += 3
    texts[:, 0] -= 3
    return unit(images), unit(texts)


def test_a_shift_between_the_modalities_shows_in_all_records(apart):
    rows = {row.metric: row for row in modality_gap.evaluate(*apart, model="m", name="d")}
    gap = rows["modality gap"]
    assert gap.low < gap.value < gap.high
    assert gap.value == pytest.approx(np.linalg.norm(apart[0].mean(0) - apart[1].mean(0)))
    assert rows["distance of pairs"].value > gap.value > 1
    assert {row.n for row in rows.values()} == {80}


@pytest.mark.parametrize("embed", [2, 64])
def test_two_samples_of_one_distribution_may_have_no_gap(embed):
    """The mean of resampled gaps is above the gap itself, and 0 below all of them; in many
    dimensions so far that a mirrored length would not come to 0 either."""
    rows = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sides = [unit(rng.normal(size=(50, embed))) for _ in range(2)]
        rows.append(modality_gap.evaluate(*sides, model="m", name="d", seed=seed)[0])
    assert all(row.low <= row.value <= row.high for row in rows)
    assert np.mean([row.low == 0 for row in rows]) >= 0.85  # 95 % of many samples


@pytest.mark.slow
def test_the_interval_of_a_gap_is_as_wide_as_gaps_scatter():
    """Over many samples of two distributions that lie apart; widths are those of 1.96 deviations
    up to the noise of 60 samples."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(60):
        sides = [rng.normal([far, 0, 0, 0], size=(50, 4)) for far in (0.0, 3.0)]
        rows.append(modality_gap.evaluate(*map(unit, sides), model="m", name="d", seed=seed)[0])
    values = np.array([row.value for row in rows])
    widths = np.array([row.high - row.low for row in rows])
    assert widths.mean() == pytest.approx(2 * 1.96 * values.std(ddof=1), rel=0.3)


def test_pairs_that_are_equal_have_no_distance_but_strangers_do(apart):
    images, _ = apart
    rows = {r.metric: r.value for r in modality_gap.evaluate(images, images, model="m", name="d")}
    assert rows["modality gap"] == rows["distance of pairs"] == 0
    expected = np.linalg.norm(images - np.roll(images, -1, axis=0), axis=1).mean()
    assert rows["distance of strangers"] == pytest.approx(expected)


def test_the_first_component_is_the_shift(apart):
    frame = modality_gap.projected(*apart)
    sides = frame.groupby("modality").x.agg(["min", "max"])
    assert list(frame.modality[[0, 80]]) == ["pictures", "captions"]
    low, high = sides.sort_values("min").to_numpy()
    assert low[1] < high[0]
    assert frame.x.var() > frame.y.var()


def test_embeddings_are_those_of_pictures_with_captions():
    dual = toy_towers.dual()
    collection = toy_towers.collection([("toy 1", "one"), ("toy 2", "two")])
    images, texts = modality_gap.embedded(dual, collection, dtype="fp32")
    assert images.shape == texts.shape == (2, dual.embed)
    with pytest.raises(ValueError, match="expected captions in 'xx'"):
        modality_gap.embedded(dual, collection, "xx")


def test_components_of_a_patch_embedding_are_those_of_a_svd():
    tower = models.image_tower("scratch:map?image=32&patch=8&width=16&depth=1&heads=2")
    pictures, shares = modality_gap.patch_components(tower.encoder, 5)
    kernels = tower.encoder.patch_embed.proj.weight.detach().double().flatten(1)
    values = torch.linalg.svdvals(kernels - kernels.mean(0)) ** 2
    np.testing.assert_allclose(shares, (values / values.sum())[:5].numpy(), rtol=1e-6)
    assert [picture.size for picture in pictures] == [(8, 8)] * 5
    extremes = [np.abs(np.asarray(p).astype(float) - 127.5).max() for p in pictures]
    np.testing.assert_allclose(extremes, 127.5, atol=0.5)


def test_a_network_without_patches_is_refused():
    tower = models.image_tower("scratch:resnet?image=32&width=8&layers=1,1,1,1")
    with pytest.raises(ValueError, match="expected a network with a patch embedding"):
        modality_gap.patch_components(tower.encoder)
    with pytest.raises(ValueError, match="expected a network with a patch embedding"):
        modality_gap.texture(tower.encoder, model="m", seed=0)


@pytest.mark.parametrize(("axis", "stripes"), [(0, 1.0), (1, 3.0)], ids=["columns", "rows"])
def test_stripes_run_where_they_run(axis, stripes):
    """Components that alternate along an axis, every row or column, with a slow wave across it."""
    tower = models.image_tower("scratch:map?image=32&patch=8&width=16&depth=1&heads=2")
    places = np.arange(8)
    fast, slow = (-1.0) ** places, np.cos(np.pi * (places + 0.5) / 8)
    pattern = np.outer(fast, slow) if axis else np.outer(slow, fast)
    strength = np.linspace(-1, 1, 16)[:, None, None, None]
    with torch.no_grad():
        kernels = strength * np.stack([pattern] * 3)
        tower.encoder.patch_embed.proj.weight.copy_(torch.from_numpy(kernels))
    unit = np.stack([pattern] * 3) / np.linalg.norm(np.stack([pattern] * 3))
    down, right = ((np.diff(unit, axis=way) ** 2).sum() for way in (1, 2))
    rows = modality_gap.texture(tower.encoder, model="m", seed=1, count=1)
    found = {row.metric: row.value for row in rows}
    assert found["stripes"] == pytest.approx(down / right, rel=1e-5)
    assert found["roughness"] == pytest.approx((down + right) / 2, rel=1e-5)
    assert (found["stripes"] > stripes) == (axis == 1)


def test_noise_has_no_direction_and_a_roughness_of_nearly_two():
    tower = models.image_tower("scratch:map?image=32&patch=16&width=96&depth=1&heads=2")
    rows = modality_gap.texture(tower.encoder, model="m", seed=0, count=96)
    stripes, roughness = (row.value for row in rows)
    assert stripes == pytest.approx(1, abs=0.05)
    assert roughness == pytest.approx(2 * 15 / 16, abs=0.05)
