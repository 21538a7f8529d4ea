"""Projections in closed form: oracles, properties, and runs that begin with them."""

import numpy as np
import pytest
from scipy import linalg
from sklearn.cross_decomposition import CCA

from towers import models, training
from towers.training import correlations
from towers.training.errors import TrainingError

PAIRS = np.random.default_rng(0)
IMAGES = PAIRS.normal(size=(80, 6)) @ PAIRS.normal(size=(6, 6)) + 3
TEXTS = np.concatenate([IMAGES[:, :3], PAIRS.normal(size=(80, 2))], 1) @ PAIRS.normal(size=(5, 5))
TEXTS += PAIRS.normal(size=TEXTS.shape)


def mapped(features, found):
    return features @ found.weight.T + found.bias


def test_without_penalty_the_correlations_are_scikit_learns():
    image_map, text_map, found = correlations.correlate(IMAGES, TEXTS, 3, power=0)
    peer = CCA(3, max_iter=10_000, tol=1e-12).fit(IMAGES, TEXTS)
    theirs = [
        np.corrcoef(*axis)[0, 1]
        for axis in zip(*(s.T for s in peer.transform(IMAGES, TEXTS)), strict=True)
    ]
    assert found == pytest.approx(theirs, abs=1e-6)
    ours = mapped(IMAGES, image_map), mapped(TEXTS, text_map)
    for first, second, correlation in zip(*(side.T for side in ours), found, strict=True):
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(correlation)
    for side in ours:  # canonical variables are uncorrelated, of mean 0 and variance 1
        assert side.mean(0) == pytest.approx(np.zeros(3), abs=1e-9)
        assert side.T @ side / len(side) == pytest.approx(np.eye(3), abs=1e-9)


def test_with_penalties_it_solves_the_generalised_eigenproblem():
    penalties = 0.7, 0.05
    x, y = ((side - side.mean(0)) / side.std(0) for side in (IMAGES, TEXTS))
    xx, yy, xy = x.T @ x / 80 + 0.7 * np.eye(6), y.T @ y / 80 + 0.05 * np.eye(5), x.T @ y / 80
    both = np.block([[np.zeros((6, 6)), xy], [xy.T, np.zeros((5, 5))]])
    values, vectors = linalg.eigh(both, linalg.block_diag(xx, yy))
    image_map, text_map, found = correlations.correlate(IMAGES, TEXTS, 4, penalties, power=0)
    assert found == pytest.approx(values[::-1][:4])
    for axis in range(4):
        ours = np.concatenate(
            [image_map.weight[axis] * IMAGES.std(0), text_map.weight[axis] * TEXTS.std(0)]
        )
        theirs = vectors[:, -1 - axis] * np.sqrt(2)  # of unit length on both sides together
        assert abs(ours) == pytest.approx(abs(theirs))


def test_units_of_features_do_not_matter_and_axes_are_scaled_by_their_correlation():
    plain = correlations.correlate(IMAGES, TEXTS, 3, (1, 0.1), power=0)
    other = correlations.correlate(IMAGES * np.arange(1, 7) - 5, TEXTS, 3, (1, 0.1))
    for first, second, shift in zip(
        plain, other, (IMAGES * np.arange(1, 7) - 5, TEXTS), strict=False
    ):
        side = IMAGES if shift is not TEXTS else TEXTS
        assert mapped(shift, second) == pytest.approx(mapped(side, first) * plain[2] ** 0.5)


def test_a_feature_that_never_varies_has_no_part():
    still = np.concatenate([IMAGES, np.full((80, 1), 4.0)], 1)
    found = correlations.correlate(still, TEXTS, 3, (1, 0.1))
    assert found[0].weight[:, -1] == pytest.approx(np.zeros(3), abs=1e-12)
    assert mapped(still, found[0]) == pytest.approx(
        mapped(IMAGES, correlations.correlate(IMAGES, TEXTS, 3, (1, 0.1))[0])
    )


@pytest.mark.parametrize(
    ("images", "texts", "axes", "penalties", "fact"),
    [
        (IMAGES, TEXTS[:7], 2, (1, 1), "80 pictures, 7 texts"),
        (IMAGES[:1], TEXTS[:1], 2, (1, 1), "1 pictures, 1 texts"),
        (IMAGES, TEXTS, 2, (1, -0.1), "penalties of 0 or more"),
        (IMAGES, TEXTS, 6, (1, 1), "1 to 5 axes for these towers, got 6"),
        (IMAGES, TEXTS, 0, (1, 1), "got 0"),
        (IMAGES[:4], TEXTS[:4], 2, (0, 1), "penalty above 0, or more pairs"),
    ],
)
def test_what_has_no_solution_is_refused_in_a_line(images, texts, axes, penalties, fact):
    with pytest.raises(ValueError, match=fact) as caught:
        correlations.correlate(images, texts, axes, penalties)
    assert "\n" not in str(caught.value)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


SCENES = "scenes:train?count=60&size=32&objects=1"
RECIPE = training.Recipe(
    image="scratch:vit?image=32&patch=8&width=32&depth=1&heads=2",
    text="scratch:bow?width=24&context=16&vocabulary=600",
    data=(SCENES,), policy="projections", cache_features=True, penalties=(0.5, 0.5), embed=8,
    batch=20, warmup=0,
)  # fmt: skip


def test_a_run_of_no_updates_is_the_closed_form_and_others_begin_with_it(home):
    run = training.train(RECIPE, progress=False)
    assert run.steps == 0
    again = training.train(RECIPE, progress=False)
    assert again.dual.checksum == run.dual.checksum
    from towers import data

    shown = data.load(SCENES)
    texts = [text for item in shown for text in item.captions["en"]]
    rows = [row for row, item in enumerate(shown) for _ in item.captions["en"]]
    images = models.features(run.dual.image, shown, dtype="fp32")[rows]
    (image_map, text_map, _) = correlations.correlate(
        images, models.features(run.dual.text, texts, dtype="fp32"), 8, (0.5, 0.5)
    )
    assert run.dual.image_proj.weight.numpy() == pytest.approx(image_map.weight, abs=1e-4)
    assert run.dual.text_proj.bias.numpy() == pytest.approx(text_map.bias, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"penalties": (1.0,)}, "two penalties"),
        ({"penalties": (1.0, -1.0)}, "two penalties"),
        ({"cache_features": False}, "cache_features with dropout, apart, penalties"),
        ({"objective": "bag-of-words"}, "objective clip and embed above 0 with penalties"),
        ({"embed": 0}, "objective clip and embed above 0 with penalties"),
        ({"penalties": ()}, "either steps or epochs"),
    ],
)
def test_recipes_that_do_not_go_together_are_refused(changes, fact):
    with pytest.raises(TrainingError, match=fact):
        training.Recipe(**RECIPE.mapping() | changes)


def test_a_text_tower_that_moves_is_refused(home):
    moves = training.Recipe(**RECIPE.mapping() | {"policy": "image=locked,text=everything"})
    with pytest.raises(TrainingError, match="locked text tower"):
        training.train(moves, progress=False)


def test_more_axes_than_a_tower_has_end_in_a_line(home):
    with pytest.raises(TrainingError, match="axes for these towers, got 64"):
        training.train(training.Recipe(**RECIPE.mapping() | {"embed": 64}), progress=False)
