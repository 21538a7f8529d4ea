"""Fine-tuning is a run like others: it learns, resumes, and moves the head at a rate of its own."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import toy_towers
from tests.training import ranks
from towers import data, models, training
from towers.data import sentences
from towers.data.questions import Asked, Questions
from towers.data.sentences import Examples
from towers.papers import clippo
from towers.training import labelled, logs, loop
from towers.training.errors import TrainingFailed
from towers.training.schedules import cosine

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
ANSWERS = training.Recipe(
    "toy:image", "toy:text", ("colours",),
    **clippo.ANSWERS | {"steps": 30, "warmup": 3, "batch": 16, "lr": 0.05}, checkpoint_every=3,
)  # fmt: skip
TASK = clippo.on_task("letters", 256, image="toy:image", text="toy:text", lr=1e-2, hidden=32)


def questions(count=60):
    """The colour of a picture, where nothing else is asked."""
    names = list(COLOURS)
    images = [Image.new("RGB", (8, 8), COLOURS[names[row % 3]]) for row in range(count)]
    asked = [Asked(row, "what?", "other", (names[row % 3],)) for row in range(count)]
    return Questions("colours", asked, lambda rows: [images[row] for row in rows], "")


SOURCE = labelled.Labelled(
    questions(), labelled.Pages(questions(), 32), [one.answer for one in questions()], "toys"
)


def tower(broken=False):
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 4, stride=4), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )  # fmt: skip
    if broken:
        torch.nn.init.constant_(encoder[0].weight, math.nan)
    return models.ImageTower("toy", encoder, 6, models.Preprocessing(32, (0.5,) * 3, (0.5,) * 3))


def pair(broken=False):
    return models.DualTower(tower(broken), toy_towers.text_tower(), 6, "toy")


def tune(folder, recipe=ANSWERS, source=None, broken=False):
    return training.train(
        recipe, folder, dual=pair(broken), source=source or SOURCE, progress=False
    )


def examples(classes, count=256):
    """Words, by whether they begin early in the alphabet, or by how early."""
    letters = np.random.default_rng(0).integers(97, 123, count)
    texts = tuple(chr(letter) * 3 for letter in letters)
    targets = (letters < 110).astype(int) if classes else 1000.0 + 5 * letters
    return labelled.Labelled(Examples(texts, (), targets, texts), targets, list(texts), "toys")


@pytest.mark.parametrize("change", [{}, {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1}])
def test_answers_that_can_be_told_apart_are_learnt(tmp_path, change):
    done = tune(tmp_path, replace(ANSWERS, **change))
    assert logs.read(tmp_path)[0]["loss"] == pytest.approx(math.log(3), abs=0.05)  # small weights
    assert done.objective.head.answer(questions()) == [one.answer for one in questions()]


@pytest.mark.parametrize("classes", [2, 0], ids=["classes", "scores"])
def test_a_task_is_learnt_in_its_own_unit(tmp_path, classes):
    source = examples(classes)
    recipe = replace(TASK, steps=120, warmup=12)
    done = training.train(recipe, tmp_path, dual=toy_towers.dual(), source=source, progress=False)
    rows = models.features(done.dual.text.freeze(), source.said, dtype="fp32", progress=False)
    given, targets = done.objective.head.answers(rows), source.images
    if classes:
        assert (given == targets).all()
    else:
        assert np.abs(given - targets).mean() < 0.2 * targets.std()


def test_every_update_has_the_rate_of_the_schedule_and_the_head_ten_times_that(
    tmp_path, monkeypatch
):
    """One plain SGD step a time: what moves is the rate times the clipped gradient."""
    rates, step = {}, torch.optim.SGD.step

    def watched(self, *rest):
        before = [[w.detach().clone() for w in g["params"]] for g in self.param_groups]
        step(self, *rest)
        for group, old in zip(self.param_groups, before, strict=True):
            moved = [(w - o).norm() for w, o in zip(group["params"], old, strict=True)]
            slopes = [w.grad.norm() for w in group["params"] if w.grad is not None]
            if slopes:
                rate = float(sum(moved).detach() / sum(slopes))
                rates.setdefault(group["times"], []).append(rate)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    tune(tmp_path, replace(ANSWERS, steps=6, betas=(0.0, 0.9)))
    expected = [0.05 * cosine(at, 6, 3) for at in range(6)]
    for times in (1, 10):  # two groups each: kernels and biases
        measured = np.array(rates[times]).reshape(6, 2)
        np.testing.assert_allclose(measured.T, [np.array(expected) * times] * 2, rtol=1e-3)


def test_the_same_seed_is_the_same_run_however_often_it_stops(tmp_path, monkeypatch):
    short = replace(ANSWERS, steps=7)
    once, other = (tune(tmp_path / str(seed), replace(short, seed=seed)) for seed in (0, 1))
    update = loop.Trainer.update

    def stopping(self, step, batches):
        if step == 5:
            raise RuntimeError("stopped")
        return update(self, step, batches)

    monkeypatch.setattr(loop.Trainer, "update", stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        tune(tmp_path / "again", short)
    monkeypatch.undo()
    again = tune(tmp_path / "again", short)
    assert again.resumed == 3
    heads = [done.objective.head.head.weight for done in (once, again, other)]
    assert torch.equal(heads[0], heads[1])  # momentum has come back too
    assert not torch.equal(heads[0], heads[2])


def both(folder):
    """Runs on questions and on a task; their losses."""
    tune(folder / "answers", replace(ANSWERS, steps=4))
    task = replace(TASK, steps=4, warmup=1, dropout=0.0)
    training.train(task, folder / "task", dual=toy_towers.dual(), source=examples(2),
                   progress=False)  # fmt: skip
    return [line["loss"] for name in ("answers", "task") for line in logs.read(folder / name)]


@pytest.mark.slow
def test_two_ranks_learn_as_one_process_does(tmp_path):
    two = ranks.run(both, tmp_path / "two", ranks=2)
    assert [each.code for each in two] == [0, 0], two[0].said
    (one,) = ranks.run(both, tmp_path / "one")
    np.testing.assert_allclose(two[0].value, one.value, rtol=1e-4)  # means in another order


def test_a_loss_that_is_not_finite_is_an_error(tmp_path):
    with pytest.raises(TrainingFailed, match=r"finite loss, got nan at step 1 of 30; lower lr"):
        tune(tmp_path, broken=True)


SCENES = "scenes:train?count=40&size=32&objects=1&like=what colour *,is anything red?"


def test_questions_by_name():
    whole, held, rest, blind = (
        labelled.questions(f"{SCENES}{more}")
        for more in ("", "&held=true", "&held=false", "&hidden=picture")
    )
    assert {one.text.split(" ")[0] for one in whole} == {"what", "is"}
    assert len(held) + len(rest) == len(whole)
    assert not {one.picture for one in held} & {one.picture for one in rest}
    assert 0 < len(held) < 0.4 * len(whole)
    assert (blind.hidden, whole.hidden) == ("picture", "")
    stamps = labelled.questions("stamps[test]?nouns=animals:an animal,plants:a plant")
    assert {one.answer for one in stamps} == {"an animal", "a plant", "yes", "no"}


@pytest.mark.parametrize(
    ("name", "fact"),
    [(f"{SCENES}&hidden=all", "'all'"), (f"{SCENES}&held=1", "'1'"), (f"{SCENES}&likes=x", "likes"),
     ("vqav2:/nowhere[test]", "nowhere"), ("glue:/nowhere/X", "'X'")],
)  # fmt: skip
def test_names_that_are_none(name, fact):
    read = labelled.task if name.startswith("glue:") else labelled.questions
    with pytest.raises(ValueError, match=fact) as caught:
        read(name)
    assert "\n" not in str(caught.value)


def test_questions_with_rare_answers_are_left_out(monkeypatch):
    monkeypatch.setattr(labelled, "frequent", functools.partial(labelled.frequent, most=2))
    whole = labelled.questions(SCENES)
    kept = labelled.answered(SCENES, 32)
    assert len(set(kept.captions())) == 2
    assert len(kept) < len(whole)
    read = kept.read(np.array([0, len(kept) - 1]), np.array([0, 0], np.uint64))
    assert read.images.shape == (2, 32, 32, 3)
    assert set(read.texts) <= set(kept.captions())


def test_a_task_by_name_takes_as_many_examples_as_are_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "task", lambda name: sentences.Task(
        name, "accuracy", 2, examples(2).collection, {}))  # fmt: skip
    recipe = replace(TASK, most=64, steps=2, warmup=1)
    done = training.train(recipe, tmp_path, dual=toy_towers.dual(), progress=False)
    assert done.objective.head.classes == 2
    monkeypatch.undo()
    with pytest.raises(data.DataError, match="letters"):
        labelled.task("letters")


def test_the_papers_protocols_are_recipes():
    # "steps 8000, warmup 800, SGD with momentum 0.9, classifier's rate 10 times, clipped to 1"
    paper = training.Recipe("a", "b", ("c",), **clippo.ANSWERS)
    assert (paper.steps, paper.warmup, paper.optimiser, paper.betas[0]) == (8000, 800, "sgd", 0.9)
    assert (paper.head_rate, paper.clip_norm) == (10, 1)
    bert = clippo.on_task("glue:/x/MNLI", 392_702, image="a", text="b")
    assert (bert.steps, bert.warmup, bert.batch, bert.lr) == (3 * 12_271, 3681, 32, 3e-5)
    assert bert.rate(3681) == 3e-5
    assert bert.rate(bert.steps - 1) == pytest.approx(3e-5 / (bert.steps - 3681))
