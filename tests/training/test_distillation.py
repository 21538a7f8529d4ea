"""A student that learns to see as its teacher does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from towers import data, models, training
from towers.training import Distillation, TrainingError, TrainingFailed
from towers.training import distillation as module

STUDENT = "scratch:vit?image=16&patch=8&width=16&depth=1&heads=2"
TEACHER = "scratch:vit?image=16&patch=8&width=24&depth=1&heads=2&seed=5"
HOW = Distillation(
    STUDENT, TEACHER, ("digits",), steps=200, batch=32, lr=3e-3, warmup=5, dtype="fp32"
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def few(monkeypatch):
    digits = data.load("digits")
    monkeypatch.setattr(module.data, "load", lambda name: digits[:200])
    return digits[200:260]


def test_the_student_comes_to_see_as_its_teacher_does(few):
    teacher = models.image_tower(TEACHER)
    before = models.image_tower(STUDENT)
    after = training.distilled(HOW, progress=False)
    wanted = models.features(teacher, few, dtype="fp32", progress=False)
    told = [
        module.agreement(models.features(each, few, dtype="fp32", progress=False), wanted)[0]
        for each in (before, after)
    ]
    assert told[1] > told[0] + 0.1
    assert after.frozen
    assert not after.named


def test_the_second_time_the_cache_answers(home, monkeypatch):
    first = training.distilled(HOW, progress=False)
    monkeypatch.setattr(module, "_train", None)
    assert training.distilled(HOW, progress=False).checksum == first.checksum
    assert len(list((home / "distilled").glob("*.safetensors"))) == 1


@pytest.mark.parametrize("changes", [{"seed": 1}, {"lr": 1e-3}, {"teacher": f"{TEACHER[:-1]}6"}])
def test_what_would_come_out_otherwise_is_another_tower(changes):
    short = replace(HOW, steps=6, warmup=0)
    first = training.distilled(short, progress=False)
    assert training.distilled(replace(short, **changes), progress=False).checksum != first.checksum


def test_a_loss_that_is_no_number_ends_it_and_leaves_nothing(home, monkeypatch):
    monkeypatch.setattr(module, "_unit", lambda rows: rows * np.nan)
    with pytest.raises(TrainingFailed, match="expected a finite loss, got nan at step 1 of 200"):
        training.distilled(HOW, progress=False)
    assert not list((home / "distilled").glob("*.safetensors"))


@pytest.mark.parametrize("changes", [{"steps": 0}, {"lr": 0.0}, {"warmup": 200}, {"data": ()}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(TrainingError, match="expected data, steps, batch and lr above 0"):
        replace(HOW, **changes)


def test_agreement_is_one_for_a_rotation_and_none_for_noise():
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(50, 6)) + 3
    turn, _ = np.linalg.qr(draws.normal(size=(6, 6)))
    value, ends = module.agreement(rows @ turn * 2 + 1, rows)
    assert value == pytest.approx(1)
    assert ends == pytest.approx((1, 1))
    value, ends = module.agreement(draws.normal(size=(50, 6)), rows)
    assert abs(value) < 0.1
    assert ends.low < 0 < ends.high
    with pytest.raises(ValueError, match="expected features of the same 3 or more pictures"):
        module.agreement(rows[:2], rows[:2])


def test_mirrored_squares_are_read_from_right_to_left():
    squares = torch.arange(2 * 2 * 3 * 3, dtype=torch.uint8).reshape(2, 2, 3, 3)
    found = module._mirror(squares, torch.tensor([True, False]))
    assert torch.equal(found[0], squares[0].flip(1))
    assert torch.equal(found[1], squares[1])
