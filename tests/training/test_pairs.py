"""The loop learns, repeats itself, leaves the towers alone, and stops when it must."""

import math

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers import training
from towers.losses import LOG_SCALE_MAX
from towers.metrics import recall_at_k

OPTIONS = {"steps": 150, "batch": 32, "lr": 2e-2, "weight_decay": 0.0, "warmup": 5}


def toy_problem(pairs=48, seed=0):
    """Images that are a rotated copy of one of their two texts: separable by construction."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(2 * pairs, toy_towers.WIDTH)).astype(np.float32)
    texts[1::2] = texts[::2] + 0.01 * rng.normal(size=(pairs, toy_towers.WIDTH))
    rotation = np.linalg.qr(rng.normal(size=(toy_towers.WIDTH, toy_towers.WIDTH)))[0]
    images = (texts[::2] @ rotation).astype(np.float32)
    return images, texts, [np.array([2 * i, 2 * i + 1]) for i in range(pairs)]


def fitted(seed=0, **changes):
    dual = toy_towers.dual(embed=toy_towers.WIDTH)
    return dual, training.fit(dual, *toy_problem(), **{**OPTIONS, "seed": seed, **changes})


def weights(dual):
    return torch.cat([tensor.detach().flatten() for tensor in dual.own_weights.values()])


def test_learns_a_separable_problem_completely():
    dual, history = fitted()
    images, texts, texts_of = toy_problem()
    with torch.no_grad():
        image_embeds = dual.embed_images(torch.from_numpy(images)).numpy()
        text_embeds = dual.embed_texts(torch.from_numpy(texts)).numpy()
    assert recall_at_k(image_embeds @ text_embeds.T, texts_of, [1]) == {1: 1.0}
    assert history.loss[-1] < 0.1 < history.loss[0]


def test_the_first_loss_is_near_chance():
    dual = toy_towers.dual()
    with torch.no_grad():
        dual.log_scale.zero_()  # at a scale of 1 the softmax is almost flat
    history = training.fit(dual, *toy_problem(), **{**OPTIONS, "steps": 6})
    assert history.loss[0] == pytest.approx(math.log(32), abs=0.5)


def test_a_seed_repeats_a_run_bit_by_bit_and_another_does_not():
    changes = {"steps": 20, "dropout": 0.2}
    first, seen = fitted(**changes)
    again, seen_again = fitted(**changes)
    other, seen_other = fitted(seed=1, **changes)
    assert torch.equal(weights(first), weights(again))
    assert seen == seen_again
    assert not torch.equal(weights(first), weights(other))
    assert seen.loss[0] != seen_other.loss[0]


def test_the_order_comes_from_the_seed():
    images, texts, texts_of = toy_problem()
    texts_of = [rows[:1] for rows in texts_of]  # nothing else is drawn
    first = [
        training.fit(
            toy_towers.dual(), images, texts, texts_of, **{**OPTIONS, "steps": 6, "seed": seed}
        ).loss[0]
        for seed in (0, 0, 1)
    ]
    assert first[0] == first[1] != first[2]


def test_the_towers_stay_as_they_were_bit_by_bit():
    before = {name: t.clone() for name, t in toy_towers.dual(toy_towers.WIDTH).state_dict().items()}
    dual, _ = fitted(steps=10)
    for name, tensor in dual.state_dict().items():
        own = name in dual.own_weights
        assert torch.equal(tensor, before[name]) != own, name


def test_the_history_follows_the_schedule_and_the_scale():
    _, history = fitted(steps=12, warmup=2)
    rates = [2e-2 * training.schedules.cosine(step, 12, 2) for step in range(12)]
    assert history.learning_rate == pytest.approx(rates)
    assert history.logit_scale[0] == pytest.approx(1 / 0.07)
    frame = history.frame()
    assert list(frame["step"]) == list(range(1, 13))
    assert list(frame["loss"]) == list(history.loss)


def test_the_scale_is_clipped_at_100_after_every_update():
    dual = toy_towers.dual()
    with torch.no_grad():
        dual.log_scale.fill_(LOG_SCALE_MAX + 1)
    history = training.fit(dual, *toy_problem(), **{**OPTIONS, "lr": 1e-6, "steps": 6})
    assert history.logit_scale[0] > 200
    assert history.logit_scale[1:] == pytest.approx([100] * 5, rel=1e-4)  # lr moves it by less


def test_weight_decay_shrinks_the_matrices():
    norms = [fitted(steps=20, weight_decay=decay)[0].image_proj.weight.norm() for decay in (0, 5)]
    assert norms[1] < 0.5 * norms[0]


def test_every_caption_of_a_picture_is_drawn_about_as_often():
    images, texts, texts_of = toy_problem()
    pairs = training.pairs.Pairs(images, texts, texts_of, training.order.Order((48,), 48, seed=0))
    row = {step: pairs.order.draw(step).rows.tolist().index(5) for step in range(400)}
    drawn = [pairs[step].texts[row[step]].numpy() for step in range(400)]
    first = sum(np.array_equal(text, texts[10]) for text in drawn)
    assert all(np.array_equal(text, texts[10]) or np.array_equal(text, texts[11]) for text in drawn)
    assert 140 <= first <= 260  # six standard deviations of a fair coin


def test_dropout_keeps_the_mean():
    dual = toy_towers.dual(embed=toy_towers.WIDTH)
    seen = []
    dual.embed_images = dual.embed_texts = lambda features: seen.append(features) or features
    training.pairs.Dropped(dual, 0.25)(torch.ones(1000, 20), torch.ones(1000, 20))
    assert seen[0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert seen[0].mean().item() == pytest.approx(1, abs=0.02)  # 5 standard errors
    assert not torch.equal(*seen)


def test_a_run_that_diverges_stops_with_one_line():
    with pytest.raises(training.TrainingFailed, match=r"at step 2 of 150; lower lr ") as caught:
        fitted(lr=1e30)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_updates_nothing(monkeypatch):
    losses = training.objectives.losses
    monkeypatch.setattr(losses, "sharded_clip_loss", lambda i, t, scale, _: scale * math.nan)
    dual = toy_towers.dual()
    before = weights(dual).clone()
    with pytest.raises(
        training.TrainingFailed, match=r"^expected a finite loss, got nan at step 1"
    ):
        training.fit(dual, *toy_problem(), **OPTIONS)
    assert torch.equal(weights(dual), before)


def test_fewer_pairs_than_a_batch_make_one_batch():
    images, texts, texts_of = toy_problem(pairs=3)
    history = training.fit(toy_towers.dual(), images, texts, texts_of, **{**OPTIONS, "steps": 6})
    assert len(history.loss) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t, of: (i[:1], t, of[:1]), "at least 2 images, got 1"),
        (lambda i, t, of: (i, t, of[1:]), "got 48 images and texts for 47"),
        (lambda i, t, of: (np.where(i > 1, np.nan, i), t, of), "got NaN or infinity"),
        (
            lambda i, t, of: (i, t, [*of[:-1], of[0][:0]]),
            "none for 1 .* number 47",
        ),
        (lambda i, t, of: (i, t[:50], of), "text rows from 0 to 49, got 0 to 95"),
    ],
)
def test_features_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(training.TrainingError, match=message):
        training.fit(toy_towers.dual(), *change(*toy_problem()), **OPTIONS)
