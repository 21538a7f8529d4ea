"""Fine-tuning on questions: it learns, repeats itself, and moves the head ten times as fast."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from towers import models
from towers.data.questions import Asked, Questions
from towers.training import answering
from towers.training.answering import FineTuning, chosen, fine_tune
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.schedules import cosine

HOW = FineTuning(steps=30, warmup=3, batch=16, lr=0.05, most=8)
TINY = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def questions(count=60, answers=None, name="colours"):
    """The colour of a picture, where nothing else is asked."""
    names = list(COLOURS)
    images = [Image.new("RGB", (8, 8), COLOURS[names[row % 3]]) for row in range(count)]
    asked = [Asked(row, "what?", "other", ((answers or names)[row % 3],)) for row in range(count)]
    return Questions(name, asked, lambda rows: [images[row] for row in rows], "")


def tower(broken=False):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
                            nn.Flatten())  # fmt: skip
    if broken:
        nn.init.constant_(encoder[0].weight, math.nan)
    preprocessing = models.Preprocessing(32, (0.5,) * 3, (0.5,) * 3)
    return models.ImageTower("toy", encoder, 6, preprocessing)


@pytest.mark.parametrize("how", [HOW, replace(HOW, optimiser="adamw", lr=0.01)])
def test_what_can_be_told_apart_is_learnt(how):
    given = tower()
    before = given.checksum
    tuned = fine_tune(given, questions(), how, progress=False)
    assert tuned.losses[0] == pytest.approx(math.log(3), abs=0.05)  # a head of small weights
    assert tuned.answerer.answer(questions()) == [each.answer for each in questions()]
    assert given.checksum == before
    assert not tuned.answerer.training


def test_the_same_seed_is_the_same_run():
    first, again, other = (
        fine_tune(tower(), questions(), replace(HOW, steps=4, seed=seed), progress=False)
        for seed in (0, 0, 1)
    )
    assert first.losses == again.losses != other.losses
    assert torch.equal(first.answerer.head.weight, again.answerer.head.weight)


def test_every_update_has_the_rate_of_the_schedule_and_the_head_ten_times_that(monkeypatch):
    """One plain SGD step a time: what moves is the rate times the clipped gradient."""
    rates, step = [], torch.optim.SGD.step

    def watched(self, *rest):
        before = [[w.detach().clone() for w in g["params"]] for g in self.param_groups]
        step(self, *rest)
        for group, old in zip(self.param_groups, before, strict=True):
            moved = sum(((w - o) ** 2).sum() for w, o in zip(group["params"], old, strict=True))
            length = sum((w.grad**2).sum() for w in group["params"])
            rates.append(float((moved / length).detach().sqrt()))

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    fine_tune(tower(), questions(), replace(HOW, steps=6, momentum=0.0), progress=False)
    expected = [HOW.lr * cosine(at, 6, 3) * factor for at in range(6) for factor in (1, 10)]
    np.testing.assert_allclose(rates, expected, rtol=1e-3)  # float32 differences of weights


def test_gradients_are_clipped_together(monkeypatch):
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def watched(weights, limit):
        weights = list(weights)
        clip(weights, limit)
        assert len(weights) == 4  # matrix and bias of the tower, and of the head
        norms.append(float(sum((w.grad**2).sum() for w in weights)) ** 0.5)
        return torch.tensor(1.0)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    fine_tune(tower(), questions(), replace(HOW, steps=4, clip_norm=1e-3), progress=False)
    assert norms == pytest.approx([1e-3] * 4, rel=1e-2)


def test_every_question_is_seen_once_before_any_is_seen_twice():
    order = answering._order(np.arange(5, 25), replace(HOW, steps=5, batch=8))
    assert len(order) >= 40
    assert sorted(order[:20]) == sorted(order[20:40]) == list(range(5, 25))
    assert list(order[:20]) != list(order[20:40])


def test_rare_answers_are_left_out():
    asked = questions(60, ["red", "green", "red"])
    rare = Questions("rare", (*asked, Asked(0, "?", "other", ("mauve",))), asked.pictures, "")
    tuned = fine_tune(tower(), rare, replace(HOW, steps=4, most=2), progress=False)
    assert tuned.answerer.answers == ("red", "green")


def test_the_rate_is_chosen_on_pictures_that_were_held_out(monkeypatch):
    seen, fine = [], answering.fine_tune

    def watched(tower, learnt, how, progress):
        seen.append((len(learnt), how.lr))
        return fine(tower, learnt, how, progress)

    monkeypatch.setattr(answering, "fine_tune", watched)
    best = chosen(tower(), questions(), HOW, [1e-9, 0.05, 1e-8], 0.3, progress=False)
    assert (best.lr, best.held) == (0.05, 1.0)
    assert {rate for _, rate in seen} == {1e-9, 0.05, 1e-8}
    assert {count for count, _ in seen} == {len(questions().parted(0.3, 0)[0])}
    assert all(count < 60 for count, _ in seen)


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(TrainingFailed, match="got nan and nan at step 1 of 30; lower lr"):
        fine_tune(tower(broken=True), questions(), HOW, progress=False)
    with pytest.raises(TrainingFailed, match="at step 1"):
        chosen(tower(broken=True), questions(), HOW, [0.1], progress=False)
    with pytest.raises(TrainingError, match="at least one learning rate"):
        chosen(tower(), questions(), HOW, [], progress=False)


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"warmup": 30}, {"lr": math.nan}, {"momentum": 1.0}, {"optimiser": "adam"},
     {"clip_norm": math.inf}],
)  # fmt: skip
def test_settings_that_cannot_be(change):
    with pytest.raises(TrainingError) as caught:
        replace(HOW, **change)
    assert "\n" not in str(caught.value)
