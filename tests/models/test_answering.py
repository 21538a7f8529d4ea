"""A tower with a classifier over answers, shown questions above their pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import toy_towers
from towers.data.questions import Asked, Questions
from towers.data.scenes import Scenes
from towers.models import answering
from towers.models.answering import HEAD_STD, Answerer, Pages, TaskHead, frequent
from towers.models.counting import parameters
from towers.rendering import render_question

SCENES = Scenes(6, size=32)


def questions(*answers):
    asked = [Asked(row % 6, "is it?", "other", (each,)) for row, each in enumerate(answers)]
    return Questions("made up", asked, lambda rows: list(SCENES.pixels(np.array(rows))), "")


def tower(size=32):
    made = toy_towers.image_tower()
    made.transform = made.transform.__class__(size, made.transform.mean, made.transform.std)
    return made


def test_the_most_frequent_answers_come_first_and_the_rest_is_no_class():
    said = ["b", "b", "c", "c", "a", "d", "d"]
    assert frequent(said) == ("b", "c", "d", "a")
    assert frequent(said, 2) == ("b", "c")
    assert Answerer(tower(), frequent(said, 2)).classes(["c", "b", "b"]).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="at least two answers to choose among, got 1"):
        frequent(["a", "a"])


@pytest.mark.parametrize("room", [0, 2**20])
def test_pages_show_each_question_above_its_own_picture(monkeypatch, room):
    monkeypatch.setattr(answering, "KEPT", room)
    shown = Pages(questions("a", "b", "c"), 48)
    for rows in ([2, 0], [0, 1, 0], [1, 2]):
        for page, row in zip(shown[rows], rows, strict=True):
            np.testing.assert_array_equal(
                page, render_question(SCENES.pixels(np.array([row]))[0], "is it?", 48)
            )


def test_a_page_is_drawn_once_where_there_is_room(monkeypatch):
    seen, draw = [], Pages._draw
    monkeypatch.setattr(
        Pages, "_draw", lambda self, rows: seen.append(list(rows)) or draw(self, rows)
    )
    shown = Pages(questions("a", "b", "c"), 48)
    for rows in ([2, 0], [0, 1, 0], [1, 2]):
        shown[rows]
    assert seen == [[0, 2], [1]]


def test_few_pictures_are_held_while_pages_are_drawn(monkeypatch):
    """They may be photographs of any size."""
    monkeypatch.setattr(answering, "AT_ONCE", 2)
    asked, counts = questions(*"abcde"), []
    pictures = asked.pictures
    held = replace(asked, pictures=lambda rows: counts.append(len(rows)) or pictures(rows))
    assert np.array_equal(Pages(held, 48)[range(5)], Pages(asked, 48)[range(5)])
    assert counts[:3] == [2, 2, 1]


def test_first_weights_of_the_classifier_come_from_the_seed():
    first, again, other = (Answerer(tower(), "abc", seed).head for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert first.weight.std().item() == pytest.approx(HEAD_STD, rel=0.5)
    assert not first.bias.any()
    with pytest.raises(ValueError, match="different answers"):
        Answerer(tower(), ("a", "a"))


def test_the_greatest_score_is_the_answer_in_batches_of_any_size():
    asked = questions(*"abcabca")
    answerer = Answerer(tower(), frequent("abcabca")).eval()
    shown = torch.from_numpy(Pages(asked, 32)[range(7)])
    features = answerer.tower(answerer.tower.transform.normalised(shown))
    best = (features @ answerer.head.weight.T + answerer.head.bias).argmax(1)
    expected = [answerer.answers[place] for place in best]
    assert answerer.answer(asked, batch=3) == answerer.answer(asked, batch=100) == expected


def test_a_task_s_head_learns_scores_in_deviations_from_their_mean():
    head = TaskHead(3, np.array([1.0, 3.0, 8.0]), hidden=4)
    assert (head.mean, head.deviation) == (4, pytest.approx(13**0.5))  # (9 + 1 + 16) / (3 - 1)
    outputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([4.0, 4.0])
    assert head.loss(outputs, targets).item() == pytest.approx(0.5)
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        deviations = head.eval()(torch.from_numpy(rows))[:, 0].numpy()
    np.testing.assert_allclose(head.answers(rows), 4 + 13**0.5 * deviations, rtol=1e-6)
    classes = TaskHead(3, np.arange(2), hidden=4)
    with torch.no_grad():
        best = classes.eval()(torch.from_numpy(rows)).argmax(1)
    assert classes.answers(rows).tolist() == best.tolist()
    even = classes.loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert even.item() == pytest.approx(np.log(2))
    assert parameters(TaskHead(16, np.arange(3), hidden=8)) == 16 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3
