"""A batch as the loss sees it: against the loss itself, and both softmaxes by hand."""

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers.evaluation import batches
from towers.losses import clip_loss

TEXTS = [("a red owl", "owl"), ("two boats",), ("cat",), ("the sea",)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


@pytest.fixture
def dual():
    dual = toy_towers.dual()
    with torch.no_grad():
        dual.log_scale.fill_(2.0)
    return dual


def view(dual):
    return batches.view(dual, toy_towers.collection(TEXTS), dtype="fp32")


def test_the_loss_is_the_towers_own(dual):
    toys = toy_towers.collection(TEXTS)
    with torch.no_grad():
        images = dual.embed_images(
            torch.stack([dual.image.transform(toys.image(i)) for i in range(4)])
        )
        texts = torch.cat([dual.embed_texts(dual.text.tokenize([t[0]])) for t in TEXTS])
        expected = clip_loss(images, texts, dual.logit_scale).item()
    batch = view(dual)
    assert batch.loss == pytest.approx(expected, rel=1e-5)
    assert batch.scale == pytest.approx(np.exp(2.0))
    assert batch.texts == [t[0] for t in TEXTS]
    np.testing.assert_allclose(batch.sims, (images @ texts.T).numpy(), rtol=1e-4, atol=1e-5)


def test_the_loss_is_read_off_both_diagonals(dual):
    batch = view(dual)
    guessed = np.concatenate([np.diag(batch.of_texts), np.diag(batch.of_images)])
    assert batch.loss == pytest.approx(-np.log(guessed).mean(), rel=1e-5)


def test_pictures_choose_along_rows_and_texts_along_columns(dual):
    batch = view(dual)
    np.testing.assert_allclose(batch.of_texts.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(batch.of_images.sum(0), 1, rtol=1e-5)
    raised = np.exp(batch.scale * batch.sims)
    np.testing.assert_allclose(batch.of_texts, raised / raised.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(batch.of_images, raised / raised.sum(0, keepdims=True), rtol=1e-4)


def test_measurements_say_who_finds_whom():
    of_texts = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.0, 0.1, 0.9]])
    of_images = np.array([[0.9, 0.6, 0.0], [0.1, 0.3, 0.6], [0.0, 0.1, 0.4]])
    sims = np.array([[0.5, 0.1, 0.0], [0.1, 0.2, 0.3], [0.0, 0.1, 0.5]])
    batch = batches.Batch([], ["a", "b", "c"], sims, of_texts, of_images, 10.0, 0.7)
    rows = {
        " ".join([row.metric, *map(str, row.at.values())]): row
        for row in batches.evaluate(batch, "model", "three")
    }
    assert rows["right picture to text"].value == pytest.approx(2 / 3)
    assert rows["right text to picture"].value == pytest.approx(1 / 3)
    assert rows["mean similarity of partners"].value == pytest.approx(0.4)
    assert rows["mean similarity of others"].value == pytest.approx(0.1)
    assert rows["loss at chance"].value == pytest.approx(np.log(3))
    assert (rows["loss"].value, rows["loss"].n, rows["loss"].data) == (0.7, 3, "three")


@pytest.mark.parametrize("texts", [[("one",)], [("one",), ()]])
def test_a_batch_without_partners_is_refused(dual, texts):
    with pytest.raises(ValueError, match="expected at least 2 items, all with an English caption"):
        batches.view(dual, toy_towers.collection(texts))
